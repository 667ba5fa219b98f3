"""Bugs of boundaries, zones and clock changes that reached customers elsewhere, each with what must be true here."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from metering import operations, queries
from metering.queries import InvalidRange, UnknownDimension, UnknownMeter
from metering.spans import boundaries, cut_hours, zone_named
from tests.metering.test_usage import LATER, NIGHT, sampled, send
from tests.metering.usage_model import Sent

__all__ = ["sampled"]
CUSTOMER = "model-time"
MICROSECOND = timedelta(microseconds=1)


def sent(time: datetime, value: str = "1", event_id: str = "", source: str = "s", series: str = "ax") -> Sent:
    return Sent(time, event_id or time.isoformat(), source, value, series)


def aggregate(*events: Sent) -> None:
    operations.register_subjects([CUSTOMER])
    send(CUSTOMER, events)
    operations.catch_up_windows(now=LATER)


def used(meter: str, start: datetime, end: datetime) -> Decimal:
    return sum((row.quantity for row in queries.usage(CUSTOMER, meter, start, end, window_size="total")), Decimal(0))


@pytest.mark.usefixtures("sampled")
def test_lago_5104_an_event_within_the_millisecond_of_the_boundary_lies_on_its_own_side() -> None:
    """The event at ….417918 lies before a period that begins at ….918285, however times are cut to milliseconds; and
    one microsecond decides."""
    start = NIGHT + timedelta(seconds=3, microseconds=918_285)
    aggregate(sent(start - MICROSECOND, "5"), sent(start, "7"), sent(start + MICROSECOND, "11"))
    end = start + timedelta(microseconds=4)

    assert used("sum", start, end) == 18
    assert used("sum", NIGHT, start) == 5
    # 7 for one microsecond, 11 for three; the 5 before the start was replaced at once.
    assert used("time_weighted_average", start, end) == Decimal(10)
    assert [window.event_count for window in queries.windows_between(CUSTOMER, start, end)] == [2] * 8


@pytest.mark.usefixtures("sampled")
def test_lago_4454_events_of_one_instant_have_one_order_however_they_arrived() -> None:
    """By id, then by source, as bytes: capitals before small letters, whatever the database's language."""
    instant = NIGHT + timedelta(minutes=5)
    aggregate(sent(instant, "1", "b", "Z"), sent(instant, "2", "B", "z"))
    aggregate(sent(instant, "3", "b", "A"))

    assert used("last", NIGHT, NIGHT + timedelta(hours=1)) == 1
    aggregate(sent(instant, "4", "b", "a"))
    assert used("last", NIGHT, NIGHT + timedelta(hours=1)) == 4
    assert list(queries.verify_windows(NIGHT, NIGHT + timedelta(hours=1))) == []


@pytest.mark.usefixtures("sampled")
def test_openmeter_2955_the_start_of_a_period_is_in_it_and_its_end_is_in_the_next() -> None:
    middle = NIGHT + timedelta(minutes=30)
    aggregate(sent(NIGHT, "1"), sent(middle, "2"), sent(NIGHT + timedelta(hours=1), "4"))

    assert used("sum", NIGHT, middle) == 1
    assert used("sum", middle, NIGHT + timedelta(hours=1)) == 2
    assert used("sum", NIGHT + timedelta(hours=1), NIGHT + timedelta(hours=2)) == 4


@pytest.mark.usefixtures("sampled")
@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("Asia/Kathmandu", datetime(2026, 10, 24, 18, 15, tzinfo=UTC)),
        ("Asia/Kolkata", datetime(2026, 10, 24, 18, 30, tzinfo=UTC)),
        ("America/St_Johns", datetime(2026, 10, 25, 2, 30, tzinfo=UTC)),
        ("Australia/Eucla", datetime(2026, 10, 24, 15, 15, tzinfo=UTC)),
    ],
)
def test_openmeter_3574_3313_days_of_zones_whose_offset_is_no_whole_hour(zone: str, midnight: datetime) -> None:
    aggregate(sent(midnight - MICROSECOND, "1"), sent(midnight, "2"), sent(midnight + timedelta(minutes=40), "4"))

    rows = queries.usage(
        CUSTOMER,
        "sum",
        midnight - timedelta(days=1),
        midnight + timedelta(days=1),
        window_size="day",
        time_zone=zone,
    )

    assert [(row.start, row.quantity) for row in rows] == [(midnight - timedelta(days=1), 1), (midnight, 6)]


@pytest.mark.usefixtures("sampled")
def test_openmeter_4657_days_have_23_and_25_hours_and_late_events_are_seen_at_once() -> None:
    """Berlin's 25 October 2026 has 25 hours; a day of 24 hours would give its last hour to the next day. There is no
    cache that a late event would have to be told to."""
    last_hour = datetime(2026, 10, 25, 22, 30, tzinfo=UTC)
    aggregate(sent(last_hour, "3"))
    start, end = datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 26, 23, tzinfo=UTC)

    def days() -> list[tuple[datetime, timedelta, Decimal]]:
        rows = queries.usage(CUSTOMER, "sum", start, end, window_size="day", time_zone="Europe/Berlin")
        return [(row.start, row.end - row.start, row.quantity) for row in rows]

    assert days() == [(start, timedelta(hours=25), 3)]
    aggregate(sent(start, "4"), sent(last_hour + timedelta(minutes=30), "5"))
    assert days() == [(start, timedelta(hours=25), 7), (end - timedelta(hours=24), timedelta(hours=24), 5)]
    spring = boundaries(
        datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 30, 22, tzinfo=UTC), "day", zone_named("Europe/Berlin")
    )
    assert [later - earlier for earlier, later in pairwise(spring)] == [
        timedelta(hours=23),
        timedelta(hours=24),
    ]


@pytest.mark.usefixtures("sampled")
def test_flexprice_74a058381_the_hour_that_comes_twice_is_two_hours() -> None:
    """New York, 1 November 2026: 05:30Z and 06:30Z are both 01:30 on the wall."""
    first, second = datetime(2026, 11, 1, 5, 30, tzinfo=UTC), datetime(2026, 11, 1, 6, 30, tzinfo=UTC)
    instants = boundaries(
        first - timedelta(hours=1, minutes=30), second + timedelta(hours=1), "hour", zone_named("America/New_York")
    )
    assert [instant.hour for instant in instants] == [4, 5, 6, 7, 7]

    berlin = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30, and an hour later 02:30 again
    aggregate(sent(berlin, "1"), sent(berlin + timedelta(hours=1), "2"))
    rows = queries.usage(
        CUSTOMER, "sum", NIGHT, NIGHT + timedelta(hours=6), window_size="hour", time_zone="Europe/Berlin"
    )
    assert [(row.start.hour, row.quantity) for row in rows] == [(0, 1), (1, 2)]


def test_clocks_that_change_by_half_an_hour_lose_no_instant() -> None:
    """Lord Howe goes back from 02:00 to 01:30 on 5 April 2026 and on from 02:00 to 02:30 on 4 October 2026."""
    zone = zone_named("Australia/Lord_Howe")
    back = boundaries(datetime(2026, 4, 4, 13, tzinfo=UTC), datetime(2026, 4, 4, 17, 30, tzinfo=UTC), "hour", zone)
    assert [f"{instant:%H:%M}" for instant in back] == ["13:00", "14:00", "15:00", "15:30", "16:30", "17:30"]
    on = boundaries(datetime(2026, 10, 3, 13, 30, tzinfo=UTC), datetime(2026, 10, 3, 17, tzinfo=UTC), "hour", zone)
    assert [f"{instant:%H:%M}" for instant in on] == ["13:30", "14:30", "15:30", "16:00", "17:00"]
    assert cut_hours(on) == [datetime(2026, 10, 3, hour, tzinfo=UTC) for hour in (13, 14, 15)]


def test_a_day_whose_midnight_is_skipped_begins_when_it_is_skipped() -> None:
    """Beirut's clocks go from 00:00 to 01:00 on 29 March 2026."""
    instants = boundaries(
        datetime(2026, 3, 27, 22, tzinfo=UTC), datetime(2026, 3, 29, 21, tzinfo=UTC), "day", zone_named("Asia/Beirut")
    )
    assert [f"{instant:%d %H:%M}" for instant in instants] == ["27 22:00", "28 22:00", "29 21:00"]


def test_months_begin_at_local_midnight() -> None:
    instants = boundaries(
        datetime(2026, 9, 30, tzinfo=UTC), datetime(2026, 11, 30, 23, tzinfo=UTC), "month", zone_named("Europe/Berlin")
    )
    assert [f"{instant:%m-%d %H:%M}" for instant in instants] == [
        "09-30 00:00",
        "09-30 22:00",
        "10-31 23:00",
        "11-30 23:00",
    ]


@pytest.mark.usefixtures("sampled")
def test_a_gauge_holds_its_value_across_hours_days_and_the_start_of_the_range() -> None:
    """2 GB from 22:00, 6 GB from 01:00: (2 × 3 h + 6 × 1 h) / 4 h = 3; the next day, without any event, 6."""
    aggregate(sent(NIGHT, "2"), sent(NIGHT + timedelta(hours=3), "6"))

    assert used("time_weighted_average", NIGHT, NIGHT + timedelta(hours=4)) == 3
    day = NIGHT + timedelta(days=1)
    (row,) = queries.usage(CUSTOMER, "time_weighted_average", day, day + timedelta(days=1), window_size="total")
    assert (row.quantity, row.event_count) == (6, 0)
    half = queries.usage(CUSTOMER, "time_weighted_average", NIGHT - timedelta(hours=1), NIGHT, window_size="total")
    assert half == []


@pytest.mark.usefixtures("sampled")
def test_a_month_of_unique_values_is_not_the_sum_of_its_hours() -> None:
    aggregate(*[sent(NIGHT + timedelta(hours=hour), value) for hour, value in enumerate(["1", "2", "1", "1"])])

    assert used("unique_count", NIGHT, NIGHT + timedelta(hours=4)) == 2
    assert len(queries.usage(CUSTOMER, "unique_count", NIGHT, NIGHT + timedelta(hours=4), window_size="hour")) == 4


@pytest.mark.usefixtures("sampled")
def test_questions_that_have_no_answer_are_refused() -> None:
    end = NIGHT + timedelta(hours=1)

    def ask(meter: str = "sum", start: datetime = NIGHT, end: datetime = end, **options: object) -> object:
        return queries.usage("x", meter, start, end, **{"window_size": "total", **options})  # type: ignore[arg-type]

    for refused in (
        {"end": NIGHT},
        {"start": NIGHT.replace(tzinfo=None)},
        {"window_size": "week"},
        {"time_zone": "Mars/Olympus"},
        {"time_zone": "../etc/passwd"},
        {"start": datetime(1, 1, 1, tzinfo=UTC), "window_size": "hour"},
        {"end": datetime.max.replace(tzinfo=UTC), "window_size": "day"},
        {"start": datetime(9999, 12, 30, tzinfo=UTC), "end": datetime(9999, 12, 31, tzinfo=UTC), "window_size": "day"},
    ):
        with pytest.raises(InvalidRange):
            ask(**refused)
    with pytest.raises(UnknownMeter):
        ask("nothing")
    with pytest.raises(UnknownDimension, match=r"it has at\.region, model"):
        ask(group_by=["colour"])
