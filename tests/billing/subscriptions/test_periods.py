"""Where billing periods begin and end."""

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.subscriptions.periods import boundary, floor_hour, last_instant, period_containing

CASES = Path(__file__).resolve().parents[4] / "shared" / "data" / "cases" / "cases.json"
EARLIEST, LATEST = datetime(2000, 1, 1), datetime(2060, 12, 31, 23, 59, 59)  # noqa: DTZ001  (hypothesis adds the zone)
anchors = st.datetimes(EARLIEST, LATEST, timezones=st.just(UTC))
MONTHS = {"month": 1, "year": 12}


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

    @given(anchors, st.integers(-120, 120))
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


class TestPeriodContaining:
    @given(anchors, anchors)
    def test_holds_the_instant(self, anchor: datetime, at: datetime) -> None:
        starts_at, ends_at = period_containing(anchor, at)

        assert starts_at <= at < ends_at

    @given(anchors, anchors)
    def test_neighbours_share_a_boundary(self, anchor: datetime, at: datetime) -> None:
        starts_at, ends_at = period_containing(anchor, at)

        assert period_containing(anchor, ends_at)[0] == ends_at
        assert period_containing(anchor, last_instant(ends_at)) == (starts_at, ends_at)
        assert period_containing(anchor, last_instant(starts_at))[1] == starts_at

    def test_a_boundary_belongs_to_the_period_it_begins(self) -> None:
        assert period_containing(utc(2026, 1, 31), utc(2026, 2, 28)) == (utc(2026, 2, 28), utc(2026, 3, 31))


def cases_of(calc: str) -> list[Any]:
    if not CASES.exists():
        return []
    cases = json.loads(CASES.read_text())["cases"]
    return [pytest.param(case["input"], case["expected"], id=case["id"]) for case in cases if case["calc"] == calc]


def midnight(text: str) -> datetime:
    return datetime.combine(date.fromisoformat(text), datetime.min.time(), tzinfo=UTC)


@pytest.mark.skipif(not CASES.exists(), reason="../shared/data/cases is absent")
class TestPublicCases:
    @pytest.mark.parametrize(("given_", "expected"), cases_of("next_period"))
    def test_next_period(self, given_: dict[str, Any], expected: dict[str, Any]) -> None:
        anchor, current = midnight(given_["anchor"]), midnight(given_["current"])
        step = given_["count"] * MONTHS[given_["interval"]]

        following = next(b for n in range(1, 100) if (b := boundary(anchor, n * step)) > current)

        assert following == midnight(expected["next"])

    @pytest.mark.parametrize(("given_", "expected"), cases_of("chain_no_gap"))
    def test_chain_without_gap(self, given_: dict[str, Any], expected: dict[str, Any]) -> None:
        anchor = midnight(given_["anchor"])

        starts = [boundary(anchor, n * given_["count"]) for n in range(given_["periods"])]

        assert starts == [midnight(start) for start in expected["starts"]]
        assert all(period_containing(anchor, start) == (start, end) for start, end in pairwise(starts))

    @pytest.mark.parametrize(("given_", "expected"), cases_of("first_bcd_after"))
    def test_first_billing_day_after(self, given_: dict[str, Any], expected: dict[str, Any]) -> None:
        start = midnight(given_["from"])
        # Any month of 31 days before will do: the day is restored from it.
        anchor = utc(start.year - 1, 12, given_["billing_cycle_day"])

        begins, ends = period_containing(anchor, start)

        assert (begins if begins == start else ends) == midnight(expected["date"])

    @pytest.mark.parametrize(("given_", "expected"), cases_of("floor_hour_local"))
    def test_full_hour_where_a_local_hour_happens_twice(self, given_: dict[str, Any], expected: dict[str, Any]) -> None:
        local = datetime.fromisoformat(given_["instant"]).astimezone(ZoneInfo(given_["timezone"]))

        assert floor_hour(local.astimezone(UTC)) == datetime.fromisoformat(expected["utc"])


def test_the_last_instant_is_inside_the_period() -> None:
    assert last_instant(utc(2026, 11, 1)) == utc(2026, 11, 1) - timedelta(microseconds=1)
