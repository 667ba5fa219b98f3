"""Meters: definitions that are frozen, filters that count once, and each aggregation's windows."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import errors

from metering import operations, queries
from metering.models import Meter, MeterTally
from tests.metering.test_usage import LATER, NIGHT, mark, sampled, send
from tests.metering.usage import NOVEMBER, NOW, OCTOBER, event, ingest
from tests.metering.usage_model import Sent, fingerprint_of_number, fingerprint_of_value

__all__ = ["sampled"]
CUSTOMER = "model-meters"


def define(code: str = "big", **changes: Any) -> operations.DefinedMeter:
    good: dict[str, Any] = {
        "code": code,
        "event_type": "llm.request",
        "value_path": "data.input_tokens",
        "aggregation": "sum",
        "dimensions": [],
        "unit": "token",
    }
    return operations.define_meter(**{**good, **changes})


@pytest.mark.usefixtures("metered")
def test_an_event_that_matches_several_alternatives_counts_once() -> None:
    """Lago 5916 counted it once for every filter that was a subset of another."""
    define(filters=[{"model": ["opus"]}, {"model": ["opus", "sonnet"], "tier.name": ["pro"]}])
    ingest(
        event("both", data={"model": "opus", "tier": {"name": "pro"}, "input_tokens": 1}),
        event("one", data={"model": "opus", "input_tokens": 2}),
        event("other", data={"model": "sonnet", "tier": {"name": "pro"}, "input_tokens": 4}),
        event("none", data={"model": "sonnet", "input_tokens": 8}),
        event("absent", data={"model": None, "input_tokens": 16}),
    )
    operations.catch_up_windows(now=NOW)

    (row,) = queries.usage("acme", "big", OCTOBER, NOVEMBER, window_size="total")
    tally = MeterTally.objects.get(meter__code="big")
    assert (row.quantity, row.event_count) == (7, 3)
    assert (tally.pairs, tally.counted, tally.excluded_filtered) == (5, 3, 2)
    assert queries.conservation().excluded["filtered_out"] == 2
    assert list(queries.verify_windows(OCTOBER, NOVEMBER)) == []


@pytest.mark.usefixtures("metered")
def test_the_same_filters_in_another_order_are_the_same_definition() -> None:
    first = define(filters=[{"a": ["x", "y"], "b": ["1"]}, {"c": ["z"]}])
    again = define(filters=[{"c": ["z", "z"]}, {"b": ["1"], "a": ["y", "x"]}, {"c": ["z"]}])
    other = define(filters=[{"c": ["z"]}])
    assert (first.created, again.created, other.created, other.version) == (True, False, True, 2)


@pytest.mark.usefixtures("committed_db")
@pytest.mark.parametrize(
    "filters", [{"model": ["x"]}, "model", [{}], [{"model": "x"}], [{"model": []}], [{"model": [1]}], [{"a..b": ["x"]}]]
)
def test_filters_that_cannot_be_matched_are_refused(filters: Any) -> None:
    with pytest.raises(operations.InvalidMeter, match=r"filter"):
        define(filters=filters)


@pytest.mark.usefixtures("committed_db")
def test_a_code_keeps_its_aggregation() -> None:
    define()
    with pytest.raises(operations.InvalidMeter, match="its aggregation is sum and stays"):
        define(aggregation="max")


@pytest.mark.parametrize(
    "change",
    [
        "value_path = 'data.other'",
        "aggregation = 'max'",
        "dimensions = '{member}'",
        'filters = \'[{"model": ["x"]}]\'',
        "unit = 'word'",
        "event_type = 'other'",
        "code = 'other'",
        "version = 9",
        "counts_from_xid = 3",
        "defined_at = now()",
    ],
)
def test_a_version_is_frozen(metered: None, owner_connection: psycopg.Connection, change: str) -> None:
    with pytest.raises(errors.RestrictViolation) as refusal:
        owner_connection.execute(f"UPDATE metering_meter SET {change} WHERE code = 'input_tokens'")
    assert refusal.value.diag.constraint_name == "metering_meter_version_is_frozen"


def test_the_end_of_a_version_is_written_once(metered: None, owner_connection: psycopg.Connection) -> None:
    define("input_tokens", value_path="data.other")
    with pytest.raises(errors.RestrictViolation) as refusal:
        owner_connection.execute("UPDATE metering_meter SET counts_before_xid = 5 WHERE NOT active")
    assert refusal.value.diag.constraint_name == "metering_meter_version_is_frozen"


def test_a_version_with_windows_is_not_deleted(metered: None, owner_connection: psycopg.Connection) -> None:
    ingest(event("e1"))
    operations.catch_up_windows(now=NOW)
    owner_connection.execute("DELETE FROM metering_meter_tally")
    with pytest.raises(errors.RestrictViolation) as refusal:
        owner_connection.execute("DELETE FROM metering_meter WHERE code = 'input_tokens'")
    owner_connection.execute("DELETE FROM metering_meter WHERE code = 'cache_read_tokens'")

    assert refusal.value.diag.constraint_name == "metering_meter_has_windows"
    assert not Meter.objects.filter(code="cache_read_tokens").exists()


@pytest.mark.usefixtures("sampled")
def test_each_aggregation_says_of_an_hour_what_its_events_say() -> None:
    operations.register_subjects([CUSTOMER])
    values = [("a", 0, "4"), ("b", 30, "1"), ("c", 45, "4"), ("d", 45, "0")]
    send(CUSTOMER, [Sent(NIGHT + timedelta(minutes=minute), name, "s", value, "ax") for name, minute, value in values])
    operations.catch_up_windows(now=LATER)

    found = {w.meter_code: w.quantity for w in queries.windows_for(CUSTOMER, NIGHT, NIGHT + timedelta(hours=1))}

    # 4 for 30 minutes, 1 for 15, 0 for the last 15, as d follows c in the same instant.
    assert found == {
        "sum": 9,
        "count": 4,
        "max": 4,
        "min": 0,
        "last": 0,
        "unique_count": 3,
        "time_weighted_average": Decimal("2.25"),
        "window_max": 4,
    }


@pytest.mark.usefixtures("sampled")
def test_the_fingerprint_is_what_an_independent_computation_says() -> None:
    operations.register_subjects([CUSTOMER])
    moments = [NIGHT + timedelta(microseconds=number * 12_345_678) for number in range(40)]
    values = ["0", "1", "0.000000000001", "123456789012345678.123456789012", "10000", "40000.5"]
    sent = [
        Sent(moment, f"é{number}" * (number % 5 + 1), "s" * (number + 1), values[number % len(values)], "ax")
        for number, moment in enumerate(moments)
    ]
    send(CUSTOMER, sent)
    operations.catch_up_windows(now=LATER)

    found = {w.meter_code: w.fingerprint for w in queries.windows_for(CUSTOMER, NIGHT, NIGHT + timedelta(hours=1))}

    named = [(f"{CUSTOMER}/{each.source}", each.event_id, each.time) for each in sent]
    numbers = sum(fingerprint_of_number(*name, Decimal(e.value)) for name, e in zip(named, sent, strict=True))
    assert found["sum"] == found["max"] == found["last"] == numbers
    assert found["count"] == sum(fingerprint_of_number(*name, Decimal(1)) for name in named)
    assert found["unique_count"] == sum(
        fingerprint_of_value(*name, e.value) for name, e in zip(named, sent, strict=True)
    )


@pytest.mark.usefixtures("sampled")
def test_voided_and_restored_pairs_are_counted_apart() -> None:
    operations.register_subjects([CUSTOMER])
    one, other = (Sent(NIGHT, name, "s", "3", "ax") for name in ("a", "b"))
    send(CUSTOMER, [one, other])
    operations.catch_up_windows(now=LATER)
    mark(CUSTOMER, [one, other])
    operations.catch_up_windows(now=LATER)
    emptied = queries.windows_for(CUSTOMER, NIGHT, NIGHT + timedelta(hours=1))
    mark(CUSTOMER, [one])
    advance = operations.catch_up_windows(now=LATER)

    assert {(w.quantity, w.event_count, w.fingerprint) for w in emptied} == {(0, 0, 0)}
    assert (advance.events, advance.marks) == (0, 1)
    figures = queries.conservation()
    assert (figures.pairs, figures.counted, figures.marks) == (16, 16, 3)
    assert (figures.voided, figures.restored) == (16, 8)
    assert {w.event_count for w in queries.windows_for(CUSTOMER, NIGHT, NIGHT + timedelta(hours=1))} == {1}
    assert list(queries.verify_windows(NIGHT, NIGHT + timedelta(hours=1))) == []


MARK = "INSERT INTO metering_event_mark (key, event_time, position, sign, correction_id, marked_at)"


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ("key, event_time, 2, 1", "metering_mark_in_order"),
        ("key, event_time, 1, 1", "metering_mark_sign"),
        ("key, event_time, 0, 1", "metering_mark_sign"),
        ("key, event_time + interval '1 s', 1, -1", "metering_mark_after_its_event"),
        ("gen_random_uuid(), event_time, 1, -1", "metering_mark_after_its_event"),
    ],
)
def test_a_wrong_mark_is_refused(metered: None, app_connection: psycopg.Connection, values: str, rule: str) -> None:
    ingest(event("e1"))
    with pytest.raises(errors.IntegrityError) as refusal:
        app_connection.execute(f"{MARK} SELECT {values}, 1, now() FROM metering_event")
    assert refusal.value.diag.constraint_name == rule


def test_a_mark_is_refused_in_the_transaction_of_its_event(metered: None, app_connection: psycopg.Connection) -> None:
    together = f"""
        DO $$ BEGIN
            INSERT INTO metering_event (event_time, received_at, key, source, event_id, event_type, customer_key, data)
            SELECT '2026-10-03 00:00Z', now(), gen_random_uuid(), 's', 'e', 't', 'acme', '{{}}';
            {MARK} SELECT key, event_time, 1, -1, 1, now() FROM metering_event;
        END $$
    """
    with pytest.raises(errors.IntegrityError) as refusal:
        app_connection.execute(together)
    assert refusal.value.diag.constraint_name == "metering_mark_after_its_event"


@pytest.mark.parametrize("statement", ["UPDATE {} SET sign = 1", "DELETE FROM {}", "TRUNCATE {}"])
def test_marks_stay(
    metered: None, app_connection: psycopg.Connection, owner_connection: psycopg.Connection, statement: str
) -> None:
    ingest(event("e1"))
    app_connection.execute(f"{MARK} SELECT key, event_time, 1, -1, 1, now() FROM metering_event")
    with pytest.raises(errors.InsufficientPrivilege):
        app_connection.execute(statement.format("metering_event_mark"))
    with pytest.raises(errors.RestrictViolation) as refusal:
        owner_connection.execute(statement.format("metering_event_mark"))
    assert refusal.value.diag.constraint_name == "metering_marks_are_immutable"


def test_the_application_may_not_say_when_a_mark_was_recorded(
    metered: None, app_connection: psycopg.Connection
) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        app_connection.execute(
            "INSERT INTO metering_event_mark (key, event_time, position, sign, correction_id, marked_at, recorded_xid)"
            " SELECT key, event_time, 1, -1, 1, now(), 3 FROM metering_event"
        )
