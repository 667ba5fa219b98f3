"""Usage over ranges equals an independent model of it, whatever was sent and voided, in which order, and asked."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count, pairwise

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from metering import operations, queries
from metering.models.meters import AGGREGATION_CODES
from metering.operations import UsageEventInput
from metering.spans import boundaries, zone_named
from tests.metering.usage_model import Sent, expected, total

# Berlin's clocks go back in this night; Lord Howe's change by half an hour, Kathmandu's offset is no whole hour.
NIGHT = datetime(2026, 10, 24, 22, tzinfo=UTC)
LATER = datetime(2026, 10, 30, tzinfo=UTC)
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York")
_customers = count()


@pytest.fixture
def sampled(committed_db: None) -> None:
    """One meter of each aggregation over the same value, told apart by model and region."""
    for kind in AGGREGATION_CODES:
        operations.define_meter(
            code=kind,
            event_type="sample",
            value_path="" if kind == "count" else "data.v",
            aggregation=kind,
            dimensions=["model", "at.region"],
            unit="u",
        )


def send(customer: str, sent: Sequence[Sent]) -> None:
    events = [
        UsageEventInput(
            id=each.event_id,
            source=f"{customer}/{each.source}",
            type="sample",
            subject=customer,
            time=each.time,
            data={"v": each.value, "model": each.series[0], "at": {"region": each.series[1]}},
        )
        for each in sent
    ]
    result = operations.ingest_events(events, received_at=LATER)
    assert result.accepted == len(sent), result.outcomes


def mark(customer: str, sent: Sequence[Sent]) -> None:
    """Void these events, or restore those that are void."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO metering_event_mark (key, event_time, position, sign, correction_id, marked_at)
            SELECT e.key, e.event_time, p.position, CASE mod(p.position, 2) WHEN 1 THEN -1 ELSE 1 END, 1, now()
              FROM metering_event AS e, LATERAL (SELECT coalesce(max(position), 0) + 1 AS position
                                                   FROM metering_event_mark AS m WHERE m.key = e.key) AS p
             WHERE e.customer_key = %s AND e.event_id = %s AND e.source = %s
            """,
            [(customer, each.event_id, f"{customer}/{each.source}") for each in sent],
        )


MOMENTS = st.one_of(
    st.integers(0, 7 * 60).map(lambda minutes: NIGHT + timedelta(minutes=minutes)),
    st.integers(0, 7).map(lambda hours: NIGHT + timedelta(hours=hours)),
    st.integers(0, 7 * 3600 * 10**6).map(lambda micros: NIGHT + timedelta(microseconds=micros)),
)
EVENTS = st.lists(
    st.builds(
        Sent,
        time=MOMENTS,
        event_id=st.sampled_from(["a", "B", "aa", "é", "Z9", "-", "b", "0"]),
        source=st.sampled_from(["s", "S", "t/1"]),
        value=st.sampled_from(["0", "1", "1.0", "2.5", "0.000000000001", "7", "123456789012345678.5", "3"]),
        series=st.sampled_from(["ax", "ay", "bx"]),
    ),
    min_size=1,
    max_size=14,
    unique_by=lambda each: (each.event_id, each.source),
)


@pytest.mark.usefixtures("sampled")
@settings(max_examples=40)
@given(
    events=EVENTS,
    cuts=st.lists(st.integers(0, 14), max_size=3),
    voided=st.lists(st.sets(st.integers(0, 13), max_size=5), max_size=3),
    ends=st.lists(MOMENTS, min_size=2, max_size=2, unique=True),
    size=st.sampled_from(["hour", "day", "month", "total"]),
    zone=st.sampled_from(ZONES),
    group_by=st.sampled_from([(), ("model",), ("at.region",), ("model", "at.region")]),
    where=st.sampled_from([{}, {"model": ["a"]}, {"at.region": ["x", "z"]}]),
)
def test_usage_equals_the_model(
    events: list[Sent],
    cuts: list[int],
    voided: list[set[int]],
    ends: list[datetime],
    size: queries.WindowSize,
    zone: str,
    group_by: tuple[str, ...],
    where: dict[str, list[str]],
) -> None:
    customer = f"model-{next(_customers)}"
    operations.register_subjects([customer])
    void: set[Sent] = set()
    steps = sorted({0, *(cut for cut in cuts if cut < len(events)), len(events)})
    turns = [events[first:last] for first, last in pairwise(steps)]
    for turn, sent in enumerate(turns):
        send(customer, sent)
        if turn % 2:  # several batches in one advance, and marks on events of the same advance
            operations.catch_up_windows(now=LATER)
        known = [event for each in turns[: turn + 1] for event in each]
        chosen = [known[place] for place in sorted(voided[turn]) if place < len(known)] if turn < len(voided) else []
        mark(customer, chosen)
        void ^= set(chosen)
    operations.catch_up_windows(now=LATER)
    counted = [event for event in events if event not in void]
    start, end = sorted(ends)

    for kind in AGGREGATION_CODES:
        rows = queries.usage(
            customer, kind, start, end, window_size=size, time_zone=zone, group_by=group_by, where=where
        )
        found = {
            (row.start, tuple(row.dimensions[name] for name in group_by)): (row.quantity, row.event_count)
            for row in rows
        }
        assert found == _model(kind, counted, boundaries(start, end, size, zone_named(zone)), group_by, where), kind
    assert list(queries.verify_windows(NIGHT, NIGHT + timedelta(hours=8), [customer])) == []


def _model(
    kind: str,
    events: Sequence[Sent],
    instants: Sequence[datetime],
    group_by: Sequence[str],
    where: dict[str, list[str]],
) -> dict[tuple[datetime, tuple[str, ...]], tuple[Decimal, int]]:
    names = {"model": 0, "at.region": 1}
    events = [event for event in events if all(event.series[names[name]] in where[name] for name in where)]
    groups = {tuple(event.series[names[name]] for name in group_by) for event in events}
    answers = {}
    for start, end in pairwise(instants):
        for group in groups:
            of_group = [event for event in events if tuple(event.series[names[name]] for name in group_by) == group]
            if (answer := expected(kind, of_group, start, end)) is not None:
                answers[start, group] = answer
    return answers


@pytest.mark.usefixtures("sampled")
@settings(max_examples=25)
@given(events=EVENTS, order=st.randoms(use_true_random=False), cuts=st.lists(st.integers(0, 14), max_size=4))
def test_any_split_and_order_of_arrival_gives_the_same_windows(
    events: list[Sent], order: object, cuts: list[int]
) -> None:
    one, other = f"model-{next(_customers)}", f"model-{next(_customers)}"
    operations.register_subjects([one, other])
    send(one, events)
    operations.catch_up_windows(now=LATER)
    shuffled = list(events)
    order.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives random.Random
    steps = sorted({0, *(cut for cut in cuts if cut < len(events)), len(events)})
    for first, last in pairwise(steps):
        send(other, shuffled[first:last])
        operations.catch_up_windows(now=LATER)

    def windows(customer: str) -> list[tuple[object, ...]]:
        found = queries.windows_for(customer, NIGHT, NIGHT + timedelta(hours=8))
        return [(w.window_start, w.meter_code, sorted(w.dimensions.items()), w.quantity, w.event_count) for w in found]

    assert windows(one) == windows(other)
    assert list(queries.verify_windows(NIGHT, NIGHT + timedelta(hours=8), [one, other])) == []


@pytest.mark.usefixtures("sampled")
@settings(max_examples=25)
@given(events=EVENTS, ends=st.lists(MOMENTS, min_size=2, max_size=2, unique=True))
def test_windows_between_hold_only_what_lies_inside(events: list[Sent], ends: list[datetime]) -> None:
    customer = f"model-{next(_customers)}"
    operations.register_subjects([customer])
    send(customer, events)
    operations.catch_up_windows(now=LATER)
    start, end = sorted(ends)

    found: dict[str, tuple[Decimal, int]] = {}
    for window in queries.windows_between(customer, start, end):
        quantity, number = found.get(window.meter_code, (Decimal(0), 0))
        found[window.meter_code] = (total([quantity, window.quantity]), number + window.event_count)

    for kind in ("sum", "count"):
        assert found.get(kind) == expected(kind, events, start, end)
    for window in queries.windows_between(customer, start, end):
        inside = [e for e in events if start <= e.time < end and [*e.series] == [*window.dimensions.values()]]
        span = max(window.window_start, start), min(window.window_start + timedelta(hours=1), end)
        if window.meter_code != "time_weighted_average":
            assert (window.quantity, window.event_count) == expected(window.meter_code, inside, *span)
