"""Bugs by which others added events up wrongly: each told, and that it cannot be here.

The names are those of public threads: L is getlago/lago-api, OM openmeterio/openmeter, A Autumn's incident of that day.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest

from metering import operations, queries
from metering.operations import UsageEventInput
from tests.metering.usage import MORNING, NOVEMBER, NOW, OCTOBER, event, ingest

pytestmark = pytest.mark.usefixtures("metered")
KINDS = ("count", "sum", "max", "min", "last", "unique_count", "time_weighted_average", "window_max")


def meter(
    code: str, aggregation: str, *, dimensions: Sequence[str] = (), filters: Sequence[Mapping[str, Sequence[str]]] = ()
) -> None:
    operations.define_meter(
        code=code,
        event_type="seat.changed",
        value_path="" if aggregation == "count" else "data.seats",
        aggregation=aggregation,
        dimensions=dimensions,
        unit="seat",
        filters=filters,
    )


def seats(event_id: str, value: Any, time: datetime = MORNING, **data: Any) -> UsageEventInput:
    return event(event_id, type="seat.changed", time=time, data={"seats": value, **data})


def usage(code: str, start: datetime = OCTOBER, end: datetime = NOVEMBER, **options: Any) -> list[queries.UsageRow]:
    operations.catch_up_windows(now=NOW)
    assert list(queries.verify_windows(OCTOBER, NOVEMBER)) == []
    return queries.usage("acme", code, start, end, **{"window_size": "total", **options})


def quantity(code: str, start: datetime = OCTOBER, end: datetime = NOVEMBER) -> Decimal | None:
    rows = usage(code, start, end)
    return rows[0].quantity if rows else None


@pytest.mark.parametrize("order", list(permutations(["0", "0", "2"]))[:4])
def test_21_l5740_l5861_events_of_one_instant_are_one_quantity(order: tuple[str, ...]) -> None:
    """There three events at one instant, of 0, 0 and 2 units on a graduated price, were billed as 6: each event was
    joined with every other of its time.

    Here an event is one row with one place in the order (time, id, source): the sum is 2, the last is one of them.
    """
    for kind in ("sum", "last", "max", "unique_count"):
        meter(kind, kind)
    values = dict(zip(("a", "b", "c"), order, strict=True))
    for event_id in ("b", "c", "a"):
        ingest(seats(event_id, int(values[event_id])))

    assert quantity("sum") == 2
    assert quantity("last") == int(values["c"])
    assert quantity("max") == quantity("unique_count") == 2
    assert usage("sum")[0].event_count == 3


def test_23_l5916_an_event_that_matches_a_filter_and_its_subset_counts_once() -> None:
    """There a filter whose values were a subset of another's counted the events of both in both.

    Here the filters of a meter are alternatives: an event matches any of them or none, and counts once or not at all.
    """
    wide: Mapping[str, Sequence[str]] = {"plan": ["pro", "team"]}
    narrow: Mapping[str, Sequence[str]] = {"plan": ["pro"], "region": ["eu"]}
    meter("filtered", "sum", filters=[wide, narrow])
    meter("filtered_count", "count", filters=[narrow, wide, wide])
    ingest(
        seats("both", 5, plan="pro", region="eu"),
        seats("wide only", 7, plan="team", region="eu"),
        seats("neither", 100, plan="free", region="eu"),
    )

    assert quantity("filtered") == 12
    assert quantity("filtered_count") == 2


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"count", "unique_count"}])
def test_23_l5906_usage_cannot_become_negative_and_so_cannot_inflate(kind: str) -> None:
    """There an event took the state below zero, the negative was subtracted, and units nobody used were billed.

    Here usage is never negative: such an event is refused by field, and a mistake is corrected by voiding the event.
    """
    meter("seats", kind)
    ingest(seats("e1", 20))
    before = quantity("seats")

    result = ingest(seats("e2", -25, MORNING + timedelta(minutes=1)), seats("e3", "-0.000000000001"))

    assert [(outcome.status, outcome.field) for outcome in result.outcomes] == [("refused", "data.seats")] * 2
    assert quantity("seats") == before


def test_23_l4399_a_value_that_comes_and_goes_within_a_day_is_one_unique_value_of_it() -> None:
    """There a value added and removed and added again in one day was counted for each time.

    Here a unique count is the number of different values of the range asked for, whatever the hours say.
    """
    meter("users", "unique_count")
    day = timedelta(days=1)
    for number, (offset, user) in enumerate(
        [(0, "u1"), (2, "u2"), (5, "u1"), (9, "u1"), (24, "u1"), (30, "u3"), (31, "u1")]
    ):
        ingest(seats(f"e{number}", user, MORNING + timedelta(hours=offset)))

    midnight = datetime(2026, 10, 3, tzinfo=UTC)
    assert quantity("users", midnight, midnight + day) == 2
    assert quantity("users", midnight + day, midnight + 2 * day) == 2
    assert quantity("users") == 3


@pytest.mark.parametrize("kind", KINDS)
def test_23_l4435_what_is_sent_afterwards_ends_at_what_sending_in_order_gives(kind: str) -> None:
    """There a backfilled event changed prorations that had been settled for other days.

    Here every figure is a function of the events, not of the order of their arrival: late ones change exactly what
    their own time has to do with.
    """
    meter("in_order", kind)
    operations.define_meter(
        code="late",
        event_type="seat.changed.late",
        value_path="" if kind == "count" else "data.seats",
        aggregation=kind,
        dimensions=[],
        unit="seat",
    )
    sent = [(0, 5), (1, 3), (7, 9), (26, 4), (26, 1), (51, 6)]
    for number, (offset, value) in enumerate(sent):
        ingest(seats(f"e{number}", value, MORNING + timedelta(hours=offset)))
    for number in (3, 0, 5, 1, 4, 2):
        offset, value = sent[number]
        late = event(f"l{number}", type="seat.changed.late", time=MORNING + timedelta(hours=offset))
        ingest(UsageEventInput(**{**_fields(late), "data": {"seats": value}}))
        operations.catch_up_windows(now=NOW)

    for size in ("hour", "day", "month", "total"):
        expected, found = (usage(code, window_size=size) for code in ("in_order", "late"))
        assert [(row.start, row.quantity, row.event_count) for row in found] == [
            (row.start, row.quantity, row.event_count) for row in expected
        ]


def test_23_l5549_versions_of_a_meter_do_not_both_count_an_event() -> None:
    """There a charge that was overridden for one customer was charged beside the one it stood for.

    Here an event counts in the version that was in force when it was recorded, and in no other.
    """
    for version, dimensions in enumerate(([], ["plan"], ["plan", "region"], [])):
        meter("seats", "sum", dimensions=dimensions)
        ingest(seats(f"e{version}", 10, plan="pro", region="eu"), seats(f"f{version}", 1))

    assert quantity("seats") == 44
    assert usage("seats")[0].event_count == 8


@pytest.mark.parametrize("kind", KINDS)
def test_25_om3830_no_value_at_all_is_no_usage_and_no_error(kind: str) -> None:
    """There a sum over events without the property was NULL, and reading the meter failed.

    Here such a pair is excluded with its reason, and a range without usage has no row.
    """
    meter("seats", kind)
    ingest(event("e1", type="seat.changed", data={"seats": None}))

    counted = 1 if kind == "count" else 0
    assert len(usage("seats")) == counted
    said = queries.conservation()
    assert (said.pairs, said.counted, said.excluded["value_absent"]) == (1, counted, 1 - counted)


def test_28_a_2026_07_30_usage_by_member_adds_up_to_the_customers() -> None:
    """There usage of an entity was counted for the entity and once more for the customer it belongs to.

    Here a member is a dimension: the customer's usage is the sum over members, those without one included.
    """
    meter("seats", "sum", dimensions=["member"])
    ingest(seats("e1", 5, member="ada"), seats("e2", 7, member="bob"), seats("e3", 11, member="ada"), seats("e4", 2))

    by_member = {row.dimensions["member"]: row.quantity for row in usage("seats", group_by=["member"])}
    assert by_member == {"ada": 16, "bob": 7, None: 2}
    assert quantity("seats") == sum(by_member.values()) == 25
    assert [row.quantity for row in usage("seats", where={"member": ["ada", "bob"]})] == [23]


def _fields(sent: UsageEventInput) -> dict[str, Any]:
    return {name: getattr(sent, name) for name in ("id", "source", "type", "subject", "time")}
