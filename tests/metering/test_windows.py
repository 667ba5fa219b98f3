"""Aggregation: every event in its window exactly once, whatever happens around it, and windows that can be proved."""

import threading
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connections, transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from metering import operations, queries, windows
from metering.operations import UsageEventInput
from tests.metering.usage import MORNING, NOVEMBER, NOW, OCTOBER, advance, event, ingest

pytestmark = pytest.mark.usefixtures("metered")


def catch_up() -> operations.WindowAdvance:
    return operations.catch_up_windows(now=NOW)


def october() -> dict[str, Decimal]:
    return {total.meter_code: total.quantity for total in queries.totals(OCTOBER, NOVEMBER)}


def mismatches() -> list[queries.WindowMismatch]:
    return list(queries.verify_windows(OCTOBER, NOVEMBER))


def test_a_window_sums_its_events_by_hour_customer_meter_and_dimensions() -> None:
    ingest(
        event("e1", data={"input_tokens": 100}),
        event("e2", data={"input_tokens": Decimal("0.5")}, time=MORNING + timedelta(minutes=59, seconds=59.999999)),
        event("e3", data={"input_tokens": 7}, time=MORNING + timedelta(hours=1)),
        event("e4", data={"input_tokens": 9, "model": "claude-opus-5"}),
        event("e5", data={"input_tokens": 11}, subject="beta"),
    )

    catch_up()

    rows = [
        (row.window_start, row.dimensions["model"], row.quantity, row.event_count)
        for row in queries.windows_for("acme", OCTOBER, NOVEMBER)
        if row.meter_code == "input_tokens"
    ]
    assert rows == [
        (MORNING, "claude-opus-5", Decimal(9), 1),
        (MORNING, "claude-sonnet-5", Decimal("100.5"), 2),
        (MORNING + timedelta(hours=1), "claude-sonnet-5", Decimal(7), 1),
    ]
    assert mismatches() == []


def test_ranges_are_half_open_to_the_microsecond() -> None:
    ingest(event("e1", time=OCTOBER), event("e2", time=OCTOBER - timedelta(microseconds=1)))
    catch_up()

    assert october()["input_tokens"] == 100
    assert [row.window_start for row in queries.windows_for("acme", OCTOBER - timedelta(hours=1), OCTOBER)] == [
        OCTOBER - timedelta(hours=1)
    ] * 3


def test_nothing_is_taken_twice_and_late_events_are_added() -> None:
    ingest(event("e1"))
    first = catch_up()
    ingest(event("e2"))
    second = catch_up()

    assert (first.events, second.events, catch_up().events) == (1, 1, 0)
    assert october()["input_tokens"] == 200
    assert mismatches() == []


def test_a_missing_value_excludes_the_pair_and_says_so() -> None:
    ingest(event("e1"))  # has no cache_read_tokens
    catch_up()

    figures = queries.conservation()
    assert (figures.events, figures.pairs, figures.counted) == (1, 4, 3)
    assert figures.excluded == {"value_absent": 1, "value_invalid": 0, "filtered_out": 0}
    assert "cache_read_tokens" not in october()


def test_a_count_meter_counts_every_event_of_its_type() -> None:
    operations.define_meter(
        code="requests", event_type="llm.request", value_path="", aggregation="count", dimensions=[], unit="request"
    )
    ingest(event("e1"), event("e2"))
    catch_up()

    (window,) = [row for row in queries.windows_for("acme", OCTOBER, NOVEMBER) if row.meter_code == "requests"]
    assert (window.quantity, window.event_count) == (Decimal(2), 2)
    assert not window.dimensions
    assert mismatches() == []


def test_a_transaction_begun_before_and_committed_after_is_not_lost(app_connection: psycopg.Connection) -> None:
    """A cursor over time or over a sequence would have passed the early event by the time it became visible."""
    begun, release = threading.Event(), threading.Event()

    def send_slowly() -> None:
        try:
            with transaction.atomic():
                ingest(event("early"))
                begun.set()
                release.wait(timeout=60)
        finally:
            connections.close_all()

    sender = threading.Thread(target=send_slowly)
    sender.start()
    begun.wait(timeout=60)
    ingest(event("late"))

    held = operations.advance_windows(now=NOW)
    release.set()
    sender.join()

    assert (held.events, held.caught_up) == (0, False)
    assert catch_up().events == 2
    assert october()["input_tokens"] == 200
    assert mismatches() == []


def test_waiting_for_an_open_transaction_ends_with_a_clear_error(app_connection: psycopg.Connection) -> None:
    with app_connection.transaction(force_rollback=True):
        app_connection.execute("SELECT pg_current_xact_id()")
        ingest(event("e1"))

        with pytest.raises(operations.WindowsLagBehind):
            operations.catch_up_windows(now=NOW, patience_seconds=0.2)

    assert catch_up().events == 1


def test_a_crash_between_ingest_and_aggregation_loses_nothing(
    app_connection: psycopg.Connection, owner_connection: psycopg.Connection
) -> None:
    """The aggregator dies after it wrote its windows, before it committed: the next one does all of it, once."""
    ingest(event("e1"), event("e2"))
    died = threading.Event()

    def advance_and_die() -> None:
        try:
            with transaction.atomic():
                connection = connections["default"]
                windows.advance(now=NOW, max_events=100)
                pid = connection.connection.info.backend_pid
                owner_connection.execute("SELECT pg_terminate_backend(%s)", [pid])
                connection.cursor().execute("SELECT 1")
        except Exception:  # noqa: BLE001  (whatever the driver calls a server that is gone)
            died.set()
        finally:
            connections.close_all()

    thread = threading.Thread(target=advance_and_die)
    thread.start()
    thread.join()

    assert died.is_set()
    assert october() == {}
    assert catch_up().events == 2
    assert october()["input_tokens"] == 200


def test_several_aggregators_at_once_take_each_event_once() -> None:
    for number in range(20):
        ingest(*[event(f"e{number}-{place}") for place in range(10)])
    taken: list[int] = []

    def work() -> None:
        try:
            while not (taking := operations.advance_windows(now=NOW, max_events=15)).caught_up:
                taken.append(taking.events)
            taken.append(taking.events)
        finally:
            connections.close_all()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sum(taken) == 200
    assert october()["input_tokens"] == 20_000
    assert mismatches() == []


def test_a_transaction_larger_than_the_chunk_is_taken_whole() -> None:
    ingest(*[event(f"e{number}") for number in range(30)])
    ingest(event("last"))

    first = advance(max_events=10)

    assert (first.events, first.caught_up) == (30, False)
    assert catch_up().events == 1


def test_the_watermark_stands_at_the_oldest_receipt_not_aggregated_yet(app_connection: psycopg.Connection) -> None:
    ingest(event("e1"), received_at=NOW)
    operations.catch_up_windows(now=NOW + timedelta(minutes=1))
    assert queries.aggregated_through() == NOW + timedelta(minutes=1)

    with app_connection.transaction(force_rollback=True):
        app_connection.execute("SELECT pg_current_xact_id()")
        ingest(event("e2"), received_at=NOW + timedelta(minutes=5))
        operations.advance_windows(now=NOW + timedelta(minutes=9))
        assert queries.aggregated_through() == NOW + timedelta(minutes=5)
        assert queries.ingest_lag_seconds(NOW + timedelta(minutes=9)) == 240


def test_customers_with_changes_are_told_once() -> None:
    assert queries.customers_with_changes_since(0) == ([], 0)
    ingest(event("e1"))
    catch_up()
    keys, cursor = queries.customers_with_changes_since(0)
    assert keys == ["acme"]
    assert queries.customers_with_changes_since(cursor) == ([], cursor)

    ingest(event("e2", subject="beta"))
    catch_up()

    assert queries.customers_with_changes_since(cursor)[0] == ["beta"]
    assert queries.customers_with_changes_since(0)[0] == ["acme", "beta"]


def test_a_new_version_of_a_meter_counts_from_where_it_was_defined() -> None:
    ingest(event("e1", data={"input_tokens": 100, "member": "u1"}))
    defined = operations.define_meter(
        code="input_tokens",
        event_type="llm.request",
        value_path="data.input_tokens",
        aggregation="sum",
        dimensions=["model", "member"],
        unit="token",
    )
    ingest(event("e2", data={"input_tokens": 7, "member": "u1"}))
    catch_up()

    rows = [row for row in queries.windows_for("acme", OCTOBER, NOVEMBER) if row.meter_code == "input_tokens"]
    assert (defined.version, defined.created) == (2, True)
    assert [(row.meter_version, dict[str, object](row.dimensions), row.quantity) for row in rows] == [
        (1, {"model": "claude-sonnet-5"}, Decimal(100)),
        (2, {"model": "claude-sonnet-5", "member": "u1"}, Decimal(7)),
    ]
    assert mismatches() == []


def test_a_meter_defined_later_does_not_reach_back() -> None:
    ingest(event("e1", data={"seconds": "slow"}))
    operations.define_meter(
        code="seconds", event_type="llm.request", value_path="data.seconds", aggregation="sum", dimensions=[], unit="s"
    )
    ingest(event("e2", data={"seconds": "1.25"}))
    catch_up()

    assert october()["seconds"] == Decimal("1.25")
    assert mismatches() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"code": ""},
        {"aggregation": "median"},
        {"value_path": ""},
        {"value_path": "input_tokens"},
        {"value_path": "data."},
        {"aggregation": "count"},
        {"dimensions": ["model", "model"]},
        {"dimensions": [""]},
    ],
)
def test_a_meter_that_cannot_be_aggregated_is_refused(wrong: dict[str, object]) -> None:
    good: dict[str, Any] = {
        "code": "m",
        "event_type": "t",
        "value_path": "data.v",
        "aggregation": "sum",
        "dimensions": [],
        "unit": "u",
    }
    with pytest.raises(operations.InvalidMeter):
        operations.define_meter(**{**good, **wrong})


def test_a_transaction_counter_that_went_back_stops_aggregation(owner_connection: psycopg.Connection) -> None:
    catch_up()
    owner_connection.execute("UPDATE metering_cursor SET next_xid = next_xid + 1000000000")

    with pytest.raises(operations.TransactionCounterWentBack):
        operations.advance_windows(now=NOW)


SENT = st.builds(
    lambda number, minute, subject, model, tokens, source: event(
        f"e{number}",
        time=MORNING + timedelta(minutes=minute),
        subject=subject,
        source=source,
        data={"model": model, "input_tokens": tokens},
    ),
    number=st.integers(0, 25),
    minute=st.integers(0, 240),
    subject=st.sampled_from(["acme", "beta"]),
    model=st.sampled_from(["claude-sonnet-5", "claude-opus-5"]),
    tokens=st.decimals(0, 1000, places=3),
    source=st.sampled_from(["a", "b"]),
)


@pytest.mark.usefixtures("metered")
@settings(max_examples=25)
@given(batches=st.lists(st.lists(SENT, max_size=12), max_size=6), advance_after=st.sets(st.integers(0, 5)))
def test_windows_equal_an_independent_count_of_whatever_was_sent(
    batches: list[list[UsageEventInput]], advance_after: set[int]
) -> None:
    """A model of a few lines: the first body of each (source, id) counts. Examples add to what was sent before."""
    prefix = f"run{next(_EXAMPLE)}-"
    first: dict[tuple[str, str], UsageEventInput] = {}
    before = _windows()
    for number, batch in enumerate(batches):
        sent = [
            UsageEventInput(**{name: getattr(e, name) for name in e.__struct_fields__} | {"id": prefix + e.id})
            for e in batch
        ]
        new = {(e.source, e.id): e for e in reversed(sent) if (e.source, e.id) not in first}
        result = ingest(*sent)
        assert result.accepted == len(new)
        assert result.accepted + result.duplicates + result.conflicts == len(sent)
        first |= new
        if number in advance_after:
            catch_up()
    catch_up()

    expected = defaultdict(Decimal, before)
    for sent_event in first.values():
        hour = sent_event.time.replace(minute=0)
        expected[(sent_event.subject, hour, sent_event.data["model"])] += sent_event.data["input_tokens"]
    assert {key: value for key, value in _windows().items() if value} == {k: v for k, v in expected.items() if v}
    assert mismatches() == []


def _windows() -> dict[tuple[str, datetime, str], Decimal]:
    figures: dict[tuple[str, datetime, str], Decimal] = defaultdict(Decimal)
    for row in queries.windows_for_many(["acme", "beta"], OCTOBER, NOVEMBER):
        if row.meter_code == "input_tokens":
            figures[(row.customer_key, row.window_start, str(row.dimensions["model"]))] += row.quantity
    return figures


_EXAMPLE = iter(range(1_000_000))
