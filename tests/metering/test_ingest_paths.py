"""Events go into the database in two ways, many at once or one by one, and nobody can tell afterwards which it was; and
what is judged at a glance is judged as by a close look.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import msgspec
import pytest
from django.db import connection
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metering import operations
from metering.event_times import microseconds_since_1970, parse_time, parse_utc
from metering.events import EventChecker, Refusal, TypeRule, UsageEvent, UsageEventInput, check_event
from metering.models import EventConflict, EventKey
from metering.models import UsageEvent as StoredEvent
from tests.metering.usage import MORNING, NOW, event, ingest

HORIZON = NOW - timedelta(days=396)
RULES = {
    "llm.request": TypeRule((("input_tokens",), ("output_tokens",)), (("model",),)),
    "deep": TypeRule((("usage", "tokens"),), (("usage", "model"),)),
}
MANY = 40  # more than go in by one statement
_numbers = count()

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**19), 10**19)
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-1000, max_value=1000, places=4)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
datas = st.fixed_dictionaries(
    {},
    optional={
        "input_tokens": json_values | st.integers(0, 100),
        "output_tokens": st.integers(0, 100),
        "model": json_values | st.sampled_from(["a", "b" * 201]),
        "usage": json_values,
        'odd "\\ \u00e9\U0001f600': json_values,
    },
)
times: st.SearchStrategy[Any] = (
    st.datetimes(datetime(2025, 10, 1), datetime(2026, 10, 21), timezones=st.just(UTC)).map(datetime.isoformat)  # noqa: DTZ001
    | st.sampled_from([None, "", 7, "2026-10-03T10:00:00Z", "2026-10-03T12:00:00.0000009+02:00", MORNING, "soon"])
)
inputs = st.builds(
    UsageEventInput,
    id=st.sampled_from(["1", "2", "order-3", 'q"\\u', "\u00e9", "x" * 256, "", "n\x00"]) | st.just(None),
    source=st.sampled_from(["edge", "", 3, "\U0001f600"]),
    type=st.sampled_from(["llm.request", "deep", "nobody.counts", None]),
    subject=st.sampled_from(["acme", "beta", "nobody", "a\ud800", 'no "one" \\', ["acme"]]),
    time=times,
    data=datas | st.sampled_from([None, [1]]),
)


@given(text=st.from_regex(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,8})?([Zz]|[+-]\d\d:?\d\d)?", fullmatch=True))
@example("2026-10-03T10:00:00.1234567Z")
@example("2026-10-03T10:00:00.12345678+00:00")
@example("2026-10-03T10:00:00.999999+00:00")
@example("2026-10-03T10:00:60Z")
@example("2026-10-03 10:00:00.5Z")
@example("2026-10-03T10:00:00+0000")
def test_a_time_that_is_read_quickly_is_read_right(text: str) -> None:
    quick = parse_utc(text)

    assert quick is None or (quick, quick.tzinfo) == (parse_time(text), UTC)


def test_times_as_services_write_them_are_read_quickly() -> None:
    for text in (
        MORNING.isoformat(),
        "2026-10-03T10:00:00Z",
        "2026-10-03T10:00:00.123Z",
        "2026-10-03T10:00:00.123456Z",
    ):
        assert parse_utc(text) is not None


@given(time=st.datetimes(timezones=st.just(UTC)))
def test_microseconds_are_counted_exactly(time: datetime) -> None:
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds_since_1970(time)) == time


@given(batch=st.lists(inputs, max_size=12))
def test_what_an_event_comes_with_does_not_change_how_it_is_judged(batch: list[UsageEventInput]) -> None:
    together = EventChecker(received_at=NOW, oldest=HORIZON, rules=RULES)

    for given_event in batch:
        alone = check_event(given_event, received_at=NOW, oldest=HORIZON, rules=RULES)
        assert together.check(given_event) == alone


@given(data=datas)
def test_values_are_judged_at_a_glance_as_they_are_below_another_name(data: dict[str, Any]) -> None:
    """The second rule asks for the same values through a path, which always takes the close look."""
    nested = {"llm.request": TypeRule((("in", "input_tokens"), ("in", "output_tokens")), (("in", "model"),))}

    flat = check_event(event(data=data), received_at=NOW, oldest=HORIZON, rules=RULES)
    full = {**event(data=data).data}
    deep = check_event(
        msgspec.structs.replace(event(), data={"in": full}), received_at=NOW, oldest=HORIZON, rules=nested
    )

    assert isinstance(flat, Refusal) == isinstance(deep, Refusal)
    if isinstance(flat, Refusal) and isinstance(deep, Refusal) and flat.field != "data":
        assert (deep.field.replace("data.in.", "data."), deep.reason) == (flat.field, flat.reason)


def rows_of(source: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT event_id, event_type, customer_key, e.event_time, received_at, data::text, k.event_time, k.digest"
            " FROM metering_event AS e JOIN metering_event_key AS k USING (key)"
            " WHERE source LIKE %s ORDER BY source, event_id",
            [f"{source}%"],
        )
        return list(cursor.fetchall())


def from_source(batch: Sequence[UsageEventInput], name: str) -> list[UsageEventInput]:
    return [
        msgspec.structs.replace(one, source=f"{name}{one.source}")
        if isinstance(one.source, str) and one.source
        else one
        for one in batch
    ]


@pytest.mark.usefixtures("metered")
@settings(max_examples=30)
@given(batch=st.lists(inputs, min_size=1, max_size=12), cut=st.integers(0, 12))
def test_a_batch_and_its_events_one_by_one_end_in_the_same_rows_and_answers(
    batch: list[UsageEventInput], cut: int
) -> None:
    run = next(_numbers)
    filling = [event(f"filling-{run}-{number}") for number in range(MANY)]
    at_once, one_by_one = from_source(batch, f"many-{run}-"), from_source(batch, f"few-{run}-")

    ingest(*at_once[:cut])  # so that some are there already, and the COPY must be undone
    many = ingest(*at_once, *filling)
    answers = {outcome.index: outcome.status for outcome in many.outcomes}
    few: dict[int, str] = {}
    for one in one_by_one[:cut]:
        ingest(one)
    for index, one in enumerate(one_by_one):
        for outcome in ingest(one).outcomes:
            few[index] = outcome.status

    assert answers == few
    assert rows_of(f"many-{run}-") == rows_of(f"few-{run}-")
    assert many.accepted == len(batch) - len(few) + MANY


@pytest.mark.usefixtures("metered")
def test_a_half_new_batch_is_taken_by_halves_and_its_conflicts_kept() -> None:
    events = [event(f"e{number}") for number in range(100)]
    assert ingest(*events).accepted == 100

    changed = [event(f"e{number}", data={"input_tokens": 7}) for number in range(10)]
    result = ingest(*events, *changed, *[event(f"n{number}") for number in range(100)])

    assert (result.accepted, result.duplicates, result.conflicts) == (100, 100, 10)
    assert StoredEvent.objects.count() == EventKey.objects.count() == 200
    assert EventConflict.objects.count() == 10


@pytest.mark.usefixtures("metered")
@pytest.mark.parametrize("size", [1, MANY])
def test_an_event_without_a_time_happens_when_it_arrives_and_a_retry_is_a_duplicate(size: int) -> None:
    events = [event(f"e{number}", time=None) for number in range(size)]

    first = ingest(*events)
    again = ingest(*events, received_at=NOW + timedelta(hours=5))

    assert (first.accepted, again.duplicates, again.conflicts) == (size, size, 0)
    assert set(StoredEvent.objects.values_list("event_time", flat=True)) == {NOW}


@pytest.mark.usefixtures("metered")
@pytest.mark.parametrize("size", [1, MANY])
def test_every_month_gets_its_partition_however_many_events_come(size: int) -> None:
    later = NOW + timedelta(days=400)

    result = ingest(*[event(f"e{number}", time=later) for number in range(size)], received_at=later)

    assert result.accepted == size
    assert StoredEvent.objects.count() == EventKey.objects.count() == size


@pytest.mark.usefixtures("metered")
def test_numbers_are_stored_digit_by_digit_whichever_way_they_come() -> None:
    exact = Decimal("123456789012345678.000000000001")
    ingest(event("one", data={"input_tokens": exact}))
    ingest(*[event(f"e{number}", data={"input_tokens": exact}) for number in range(MANY)])

    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT (data->>'input_tokens')::numeric, count(*) FROM metering_event GROUP BY 1")
        assert cursor.fetchall() == [(exact, MANY + 1)]


@pytest.mark.usefixtures("metered")
def test_a_value_to_be_told_apart_may_be_any_plain_text() -> None:
    """A unique count asks for no number; it is no reason to refuse an event either."""
    operations.define_meter(
        code="users",
        event_type="llm.request",
        value_path="data.user.id",
        aggregation="unique_count",
        dimensions=[],
        unit="user",
    )

    result = ingest(event("e1", data={"user": {"id": "ada"}}), event("e2", data={"user": {"id": ["ada"]}}))

    assert result.accepted == 1
    assert [(refused.index, refused.field) for refused in result.refused] == [(1, "data.user.id")]


def test_a_checked_event_counts_its_time_in_microseconds() -> None:
    checked = check_event(event(), received_at=NOW, oldest=HORIZON, rules=RULES)

    assert isinstance(checked, UsageEvent)
    assert checked.epoch_us == microseconds_since_1970(MORNING)
