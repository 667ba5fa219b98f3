"""Where billing periods begin and end: half-open, without gap, whatever the month, the year or the clocks do."""

import random
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.subscriptions.periods import (
    INTERVALS,
    Cadence,
    Span,
    boundary,
    floor_hour,
    last_instant,
    start_of_day,
    timeline,
)

EARLIEST, LATEST = datetime(2000, 1, 1), datetime(2060, 12, 31, 23, 59, 59)  # noqa: DTZ001  (hypothesis adds the zone)
instants = st.datetimes(EARLIEST, LATEST, timezones=st.just(UTC))
ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Paris",
    "Asia/Kolkata",
    "Pacific/Auckland",
    "Australia/Lord_Howe",  # half an hour of summer time
    "America/Sao_Paulo",  # its clocks jumped over midnight until 2019
    "America/Havana",  # its midnight happens twice
    "Pacific/Apia",  # had no 30th of December 2011
    "Pacific/Kiritimati",  # UTC+14
)
cadences = st.builds(
    Cadence,
    instants,
    st.sampled_from(INTERVALS),
    st.integers(1, 14),
    st.sampled_from([None, *ZONES]),
)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


class TestBoundary:
    @pytest.mark.parametrize("day", [29, 30, 31])
    def test_is_clamped_in_a_short_month_and_restored_after_it(self, day: int) -> None:
        starts = [boundary(utc(2026, 1, day, 12), months) for months in range(5)]

        assert starts == [
            utc(2026, 1, day, 12),
            utc(2026, 2, 28, 12),
            utc(2026, 3, day, 12),
            utc(2026, 4, min(day, 30), 12),
            utc(2026, 5, day, 12),
        ]

    def test_knows_leap_years(self) -> None:
        assert boundary(utc(2024, 1, 31), 1) == utc(2024, 2, 29)
        assert boundary(utc(2024, 2, 29), 12) == utc(2025, 2, 28)
        assert boundary(utc(2024, 2, 29), 48) == utc(2028, 2, 29)

    def test_goes_back_as_well(self) -> None:
        assert boundary(utc(2026, 3, 31), -1) == utc(2026, 2, 28)

    @given(instants, st.integers(-120, 120))
    def test_follows_the_one_before_in_the_next_month(self, anchor: datetime, months: int) -> None:
        before, after = boundary(anchor, months), boundary(anchor, months + 1)

        assert (after.year * 12 + after.month) - (before.year * 12 + before.month) == 1
        assert after.timetz() == anchor.timetz()

    @pytest.mark.parametrize(
        "anchor", [EARLIEST, datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Paris"))], ids=["naive", "Paris"]
    )
    def test_refuses_an_anchor_that_is_not_in_utc(self, anchor: datetime) -> None:
        with pytest.raises(ValueError, match="UTC"):
            boundary(anchor, 1)

    def test_does_not_follow_the_summer_of_a_zone_that_is_utc_in_winter(self) -> None:
        winter = datetime(2026, 1, 15, 12, tzinfo=ZoneInfo("Europe/London"))

        assert boundary(winter, 6) == utc(2026, 7, 15, 12)


class TestCadence:
    @given(cadences, instants)
    def test_one_period_holds_each_instant_and_its_neighbours_touch_it(self, cadence: Cadence, at: datetime) -> None:
        starts_at, ends_at = cadence.containing(at)

        assert starts_at <= at < ends_at
        assert cadence.containing(starts_at) == (starts_at, ends_at)
        assert cadence.containing(last_instant(ends_at)) == (starts_at, ends_at)
        assert cadence.containing(ends_at)[0] == ends_at == cadence.after(at)
        assert cadence.containing(last_instant(starts_at))[1] == starts_at
        assert cadence.nearest(starts_at) == starts_at

    def test_a_hundred_thousand_anchors_leave_no_gap(self) -> None:
        """Every boundary is the next one's start, by the number and by the instant; worked out for 10^5 anchors."""
        chance = random.Random(20260831)
        for _ in range(100_000):
            anchor = utc(2000, 1, 1) + timedelta(seconds=chance.randrange(60 * 366 * 86_400))
            interval = chance.choice(("week", "month", "year"))
            cadence = Cadence(anchor, interval, chance.choice((1, 1, 2, 3, 6)))
            number = chance.randrange(-40, 400)
            start, end = cadence.boundary(number), cadence.boundary(number + 1)

            assert start < end
            assert cadence.containing(start) == (start, end)
            if interval != "week":
                # Worked out another way: the anchor's day, or the last of a month that has fewer.
                assert start.day == anchor.day or (start + timedelta(days=1)).day == 1 < start.day < anchor.day

    def test_four_thousand_anchors_in_ten_zones_leave_no_gap(self) -> None:
        chance = random.Random(7)
        for _ in range(4_000):
            zone = chance.choice(ZONES)
            at = utc(2000, 1, 1) + timedelta(seconds=chance.randrange(40 * 366 * 86_400))
            cadence = Cadence(at, chance.choice(("week", "month", "year")), chance.choice((1, 1, 2, 3)), zone)

            start, end = cadence.containing(at)

            assert start <= at < end == cadence.containing(end)[0]
            here = start.astimezone(ZoneInfo(zone))
            # Midnight, or the end of the hour that clocks jumped over.
            assert (here.hour, here.minute) in ((0, 0), (1, 0))
            assert here.isoweekday() == 1 if cadence.interval == "week" else here.day == 1

    @pytest.mark.parametrize(
        ("terms", "wrong"),
        [
            ({"interval": "hour"}, "interval"),
            ({"count": 0}, "interval_count"),
            ({"zone": "Europe/Atlantis"}, "Europe/Paris"),
            ({"zone": "../../etc/passwd"}, "time zone"),
            ({"zone": "a\0b"}, "time zone"),
            ({"zone": ""}, "time zone"),
        ],
        ids=str,
    )
    def test_nonsense_is_refused_by_name(self, terms: dict[str, object], wrong: str) -> None:
        with pytest.raises(ValueError, match=wrong):
            Cadence(utc(2026, 1, 1), **terms)  # type: ignore[arg-type]


class TestCalendar:
    def test_months_of_paris_begin_at_its_midnight_in_winter_and_in_summer(self) -> None:
        cadence = Cadence(utc(2026, 1, 20), "month", 1, "Europe/Paris")

        assert [cadence.boundary(number) for number in range(5)] == [
            utc(2025, 12, 31, 23),
            utc(2026, 1, 31, 23),
            utc(2026, 2, 28, 23),
            utc(2026, 3, 31, 22),  # summer time began on the 29th
            utc(2026, 4, 30, 22),
        ]

    def test_quarters_and_half_years_are_the_calendar_s_own(self) -> None:
        quarter = Cadence(utc(2026, 2, 14), "month", 3, "UTC")
        half = Cadence(utc(2026, 8, 14), "month", 6, "UTC")

        assert quarter.containing(utc(2026, 2, 14)) == (utc(2026, 1, 1), utc(2026, 4, 1))
        assert half.containing(utc(2026, 8, 14)) == (utc(2026, 7, 1), utc(2027, 1, 1))

    def test_weeks_begin_on_monday(self) -> None:
        cadence = Cadence(utc(2026, 11, 22), "week", 1, "America/New_York")

        assert cadence.containing(utc(2026, 11, 22)) == (utc(2026, 11, 16, 5), utc(2026, 11, 23, 5))

    @pytest.mark.parametrize(
        ("zone", "day", "hours"),
        [
            ("America/New_York", date(2026, 11, 1), 25),
            ("Europe/Paris", date(2026, 3, 29), 23),
            ("Asia/Kolkata", date(2026, 3, 29), 24),
            ("America/Sao_Paulo", date(2017, 10, 15), 23),
            ("America/Havana", date(2026, 11, 1), 25),
            ("Pacific/Apia", date(2011, 12, 30), 0),
        ],
    )
    def test_days_are_as_long_as_the_clocks_make_them(self, zone: str, day: date, hours: int) -> None:
        assert start_of_day(day + timedelta(days=1), zone) - start_of_day(day, zone) == hours * HOUR

    def test_the_first_midnight_counts_where_it_happens_twice(self) -> None:
        assert start_of_day(date(2026, 11, 1), "America/Havana") == utc(2026, 11, 1, 4)


class TestTimeline:
    @given(
        cadences,
        instants,
        st.integers(1, 90),
        st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 10**7)), max_size=4),
    )
    def test_is_half_open_and_gapless_through_trial_and_pauses(
        self, cadence: Cadence, starts_at: datetime, trial_days: int, gaps: list[tuple[int, int]]
    ) -> None:
        trial_ends_at = starts_at + timedelta(days=trial_days)
        pauses, at = [], trial_ends_at
        for wait, length in gaps:
            pauses.append((at + wait * SECOND, at + (wait + length) * SECOND))
            at = pauses[-1][1]
        until = starts_at + timedelta(days=400)

        spans = list(
            timeline(cadence, starts_at=starts_at, until=until, trial_ends_at=trial_ends_at, pauses=pauses[::-1])
        )

        assert spans[0] == Span(starts_at, trial_ends_at, "trial")
        assert all(before.ends_at == after.starts_at for before, after in pairwise(spans))
        assert all(span.starts_at < span.ends_at for span in spans)
        assert spans[-1].ends_at > until >= spans[-1].starts_at or spans[-1].kind == "paused"
        seen = [(span.starts_at, span.ends_at) for span in spans if span.kind == "paused"]
        assert seen == pauses[: len(seen)]
        # A regular span ends with a boundary, or where a pause begins.
        starts_of_pauses = {start for start, _ in pauses}
        for span in spans:
            if span.kind == "regular":
                assert span.ends_at in starts_of_pauses or cadence.containing(span.ends_at)[0] == span.ends_at
                assert span.ends_at <= cadence.after(span.starts_at)

    def test_boundaries_stay_where_they_were_after_a_pause(self) -> None:
        spans = timeline(
            Cadence(utc(2026, 1, 31)),
            starts_at=utc(2026, 1, 31),
            until=utc(2026, 3, 30),
            pauses=[(utc(2026, 2, 10), utc(2026, 3, 5))],
        )

        assert [(span.starts_at.date().isoformat(), span.kind) for span in spans] == [
            ("2026-01-31", "regular"),
            ("2026-02-10", "paused"),
            ("2026-03-05", "regular"),
        ]

    @pytest.mark.parametrize(
        "pauses",
        [
            [(utc(2026, 2, 1), utc(2026, 2, 1))],
            [(utc(2026, 2, 1), utc(2026, 2, 9)), (utc(2026, 2, 8), utc(2026, 2, 10))],
            [(utc(2026, 1, 1), utc(2026, 2, 1))],
        ],
        ids=["empty", "overlap", "before"],
    )
    def test_pauses_that_cannot_be_are_refused(self, pauses: list[tuple[datetime, datetime]]) -> None:
        cadence = Cadence(utc(2026, 1, 15))

        with pytest.raises(ValueError, match="pause"):
            list(timeline(cadence, starts_at=utc(2026, 1, 15), until=utc(2026, 6, 1), pauses=pauses))

    def test_a_trial_has_a_length(self) -> None:
        with pytest.raises(ValueError, match="trial"):
            list(timeline(Cadence(utc(2026, 1, 1)), starts_at=utc(2026, 1, 1), until=utc(2026, 2, 1),
                          trial_ends_at=utc(2026, 1, 1)))  # fmt: skip


def test_the_full_hour_is_utc_s() -> None:
    twice = datetime(2026, 11, 1, 1, 30, fold=1, tzinfo=ZoneInfo("America/New_York"))

    assert floor_hour(twice.astimezone(UTC)) == utc(2026, 11, 1, 6)


def test_the_last_instant_is_inside_the_period() -> None:
    assert last_instant(utc(2026, 11, 1)) == utc(2026, 11, 1) - timedelta(microseconds=1)
