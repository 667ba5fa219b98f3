"""When the rules speak and when they stay silent: by table, and over simulated weeks of noise."""

import math
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering import alarms
from metering.alarms import HourFigures, SourceRecord

NOW = datetime(2026, 10, 21, 12, 0, tzinfo=UTC)  # a Wednesday
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def steady(source: str = "edge", *, minutes: int = 60, weeks: int = 5, until: datetime = NOW) -> SourceRecord:
    hours = {until - HOUR * number: minutes for number in range(1, weeks * 168)}
    return SourceRecord(source, hours, until - timedelta(seconds=30))


def office(until: datetime = NOW) -> SourceRecord:
    """Something comes every minute on working days from 8 to 18."""
    hours = {
        hour: 60
        for number in range(1, 5 * 168)
        if (hour := until - HOUR * number).weekday() < 5 and 8 <= hour.hour < 18
    }
    return SourceRecord("office", hours, until - timedelta(seconds=30))


class TestASilentSource:
    @pytest.mark.parametrize(("minutes", "speaks"), [(1, False), (9, False), (12, True), (60, True)])
    def test_speaks_as_soon_as_ten_arrivals_are_missing(self, minutes: int, speaks: bool) -> None:
        found = alarms.silent_source(steady(), NOW + timedelta(minutes=minutes))
        assert (found is not None) is speaks

    @pytest.mark.parametrize(("per_hour", "hours", "speaks"), [(10, 0.9, False), (10, 1.1, True), (2, 2.5, False)])
    def test_waits_longer_where_less_is_usual(self, per_hour: int, hours: float, speaks: bool) -> None:
        record = steady(minutes=per_hour)
        found = alarms.silent_source(record, NOW + timedelta(hours=hours))
        assert (found is not None) is speaks

    def test_nights_and_weekends_are_no_silence(self) -> None:
        friday = datetime(2026, 10, 23, 18, 0, tzinfo=UTC)
        record = office(friday)
        for hours in (1, 12, 24, 48, 61):
            assert alarms.silent_source(record, friday + HOUR * hours) is None
        monday = datetime(2026, 10, 26, 8, 30, tzinfo=UTC)
        assert alarms.silent_source(record, monday) is not None

    def test_a_nightly_job_is_missed_by_its_gaps(self) -> None:
        record = SourceRecord("job", {NOW - DAY * number: 1 for number in range(1, 30)}, NOW - DAY)
        assert alarms.silent_source(record, NOW + DAY) is None
        assert alarms.silent_source(record, NOW + DAY * 2 + HOUR) is not None

    def test_a_young_source_is_learned_first(self) -> None:
        hours = {NOW - HOUR * number: 60 for number in range(1, 48)}
        assert alarms.silent_source(SourceRecord("new", hours, NOW), NOW + HOUR * 5) is None

    def test_says_what_was_expected_and_seen(self) -> None:
        found = alarms.silent_source(steady(), NOW + HOUR)
        assert found is not None
        assert found.seen == "nothing for 60 min, since 2026-10-21 11:59 UTC"
        assert "quietest former hours" in found.expected


def figures(hour: datetime, quantity: int, events: int = 1000, *, weeks: int = 5) -> dict[datetime, HourFigures]:
    return {hour - HOUR * number: HourFigures(events, Decimal(quantity)) for number in range(1, weeks * 168)}


class TestTheShapeOfAMeter:
    SINCE = NOW - timedelta(weeks=5)

    @pytest.mark.parametrize(
        ("events", "quantity", "kind"),
        [
            (1000, 500, None),
            (0, 0, "meter_zero"),
            (1000, 49, "meter_slump"),
            (1000, 50, None),
            (1000, 5000, None),
            (1000, 5001, "meter_surge"),
            (29, 500_000, None),
        ],
    )
    def test_ten_times_up_or_down_or_nothing(self, events: int, quantity: int, kind: str | None) -> None:
        seen = {**figures(NOW, 500), NOW: HourFigures(events, Decimal(quantity))}
        found = alarms.changed_meter("tokens", NOW, seen, self.SINCE)
        assert (found.kind if found else None) == kind

    def test_few_events_say_nothing(self) -> None:
        assert alarms.changed_meter("tokens", NOW, figures(NOW, 5, events=29), self.SINCE) is None

    def test_a_young_meter_is_compared_with_days_and_a_new_one_with_nothing(self) -> None:
        seen = figures(NOW, 500, weeks=1)
        assert alarms.changed_meter("tokens", NOW, seen, NOW - DAY * 4) is not None
        assert alarms.changed_meter("tokens", NOW, seen, NOW - DAY * 2) is None


class TestWhatIsNew:
    def new(self, **changes: object) -> alarms.Finding | None:
        told = {"first_seen_at": NOW, "known_since": NOW - timedelta(days=30), "values": 5, "now": NOW}
        return alarms.new_value("tokens.model", "opus-9", **{**told, **changes})  # type: ignore[arg-type]

    def test_is_told_for_a_day(self) -> None:
        assert self.new() is not None
        assert self.new(first_seen_at=NOW - timedelta(hours=25)) is None

    def test_not_while_everything_is_new(self) -> None:
        assert self.new(known_since=NOW - timedelta(days=6)) is None

    def test_not_of_identities(self) -> None:
        assert self.new(values=201) is None


@pytest.mark.parametrize(
    ("arrived", "oldest", "speaks"), [(0, None, False), (9, HOUR, False), (10, HOUR, True), (0, DAY * 2, True)]
)
def test_the_quarantine_grows_or_is_forgotten(arrived: int, oldest: timedelta | None, speaks: bool) -> None:
    found = alarms.quarantine(arrived, arrived, None if oldest is None else NOW - oldest, NOW)
    assert (found is not None) is speaks


def test_what_should_never_be() -> None:
    assert alarms.counted("conflicts", "edge", 0) is None
    assert alarms.counted("conflicts", "edge", 3) is not None
    assert alarms.held_back(timedelta(minutes=4), "") is None
    assert alarms.held_back(timedelta(minutes=6), "process 5") is not None
    assert alarms.too_few_months(1) is None
    assert alarms.too_few_months(0) is not None
    assert [each.subject for each in alarms.overdue([("2025-01", NOW - DAY * 4), ("2025-02", NOW)], NOW)] == ["2025-01"]


def rate_at(hour: datetime, base: float) -> float:
    """A day and a week, as offices make them: nights a quarter, weekends a half."""
    daily = 0.625 + 0.375 * math.sin((hour.hour - 9) * math.pi / 12)
    return base * daily * (0.5 if hour.weekday() >= 5 else 1)


def poisson(chance: random.Random, mean: float) -> int:
    return max(0, round(chance.gauss(mean, math.sqrt(mean)))) if mean > 50 else _small_poisson(chance, mean)


def _small_poisson(chance: random.Random, mean: float) -> int:
    number, product, limit = 0, chance.random(), math.exp(-mean)
    while product > limit:
        number, product = number + 1, product * chance.random()
    return number


@pytest.mark.parametrize("base", [1.0, 20.0, 200.0, 5000.0])
def test_a_steady_noisy_stream_raises_no_false_alarm_in_four_weeks(base: float) -> None:
    """Arrivals by chance around a daily and weekly shape, checked every quarter of an hour: at most one false
    alarm of each kind in four weeks of 2,688 checks, after six weeks of learning."""
    chance = random.Random(f"{base}")
    start, learned, end = NOW - timedelta(weeks=10), NOW - timedelta(weeks=4), NOW
    active: dict[datetime, int] = {}
    arrivals: list[datetime] = []
    shapes: dict[datetime, HourFigures] = {}
    hour = start
    while hour < end:
        number = poisson(chance, rate_at(hour, base))
        minutes = sorted({chance.randrange(60) for _ in range(min(number, 2000))})
        if minutes:
            active[hour] = len(minutes)
            arrivals.extend(hour + timedelta(minutes=minute) for minute in minutes)
        shapes[hour] = HourFigures(number, Decimal(number) * chance.randrange(80, 120))
        hour += HOUR
    silent = wrong_shape = place = 0
    was_silent = False
    checked = learned
    while checked < end:
        while place + 1 < len(arrivals) and arrivals[place + 1] <= checked:
            place += 1
        recent = {each: active[each] for each in _hours(checked) if each in active}
        is_silent = alarms.silent_source(SourceRecord("s", recent, arrivals[place]), checked) is not None
        silent += is_silent and not was_silent
        was_silent = is_silent
        if checked.minute == 15:
            hour = checked.replace(minute=0) - HOUR
            wrong_shape += alarms.changed_meter("m", hour, shapes, start) is not None
        checked += timedelta(minutes=15)
    print(f"base {base:g} an hour: {silent} false silences, {wrong_shape} false shapes in four weeks")
    assert silent <= 1
    assert wrong_shape == 0


def _hours(now: datetime) -> list[datetime]:
    hour = now.replace(minute=0, second=0, microsecond=0)
    return [hour - HOUR * number for number in range(28 * 24 + 1)]


@given(minutes=st.integers(20, 60), weeks=st.integers(3, 5), hour=st.integers(0, 167))
def test_a_stop_of_a_busy_source_is_noticed_within_an_hour(minutes: int, weeks: int, hour: int) -> None:
    until = NOW + HOUR * hour
    record = steady(minutes=minutes, weeks=weeks, until=until)
    assert alarms.silent_source(record, until) is None
    assert alarms.silent_source(record, record.last_received_at + HOUR) is not None
