# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""
Bugs by which others' periods overlapped, left gaps, or were charged for the wrong part: each told, and that it cannot
be here. Numbers and names are those of notes/field.md, A and B: L is getlago/lago-api, OM openmeterio/openmeter, KB
killbill/killbill, P polarsource/polar, F flexprice, M meteroid-oss/meteroid.

Those about windows and usage are with metering: 13, 14 and 17 in tests/metering/test_time_boundaries.py, 16 and 12 for
usage in tests/billing/rating/test_boundaries.py.
"""

import inspect
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from billing.catalog import fees
from billing.catalog.fees import tiered_fee_minor
from billing.rating.operations import accrue_period
from billing.subscriptions import at_stripe, periods, proration, splitting
from billing.subscriptions.operations import open_next_period
from billing.subscriptions.periods import Cadence, boundary, floor_hour, start_of_day
from billing.subscriptions.proration import (
    Discount,
    Proration,
    Rounding,
    days_inclusive,
    line_minor,
    part_left,
    part_of_days,
    prorated,
)
from tests.billing import usage
from tests.factories import DECEMBER, NOVEMBER, OCTOBER, PlanVersionFactory, SubscriptionFactory

PARIS, NEW_YORK, TOKYO = "Europe/Paris", "America/New_York", "Asia/Tokyo"
HOUR = timedelta(hours=1)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def chain(cadence: Cadence, count: int) -> list[tuple[datetime, datetime]]:
    """So many periods, each asked for by an instant of its own and not by its neighbour's end."""
    starts = [cadence.boundary(number) for number in range(count)]
    return [cadence.containing(start + HOUR) for start in starts]


class TestA:
    def test_07_p11556_a_fixed_discount_is_not_taken_off_the_difference_of_seats(self) -> None:
        """There 5 USD off were taken once more off the two seats that were added: they were nearly free."""
        found = prorated(
            old_minor=3 * 1000, new_minor=5 * 1000, part=Fraction(1, 2),
            old_discount=Discount("fixed", Decimal(500)), new_discount=Discount("fixed", Decimal(500)),
        )  # fmt: skip

        assert (found, found.net_minor) == (Proration(1250, 2250), 1000)

    def test_07_p12075_tiers_count_from_the_first_seat_whatever_the_least_number_is(self) -> None:
        """There a plan of at least five seats began its tiers with the fifth, and four were not paid."""
        tiers = [{"up_to": 5, "unit_minor": 1000}, {"up_to": None, "unit_minor": 800}]

        assert tiered_fee_minor(tiers, 5) == 5000
        assert tiered_fee_minor(tiers, 7) == 6600

    def test_08_m848_zulip_no_fraction_was_ever_a_float(self) -> None:
        """There a fraction was an f64, or a price divided, printed and read again. A third of 10^17 shows it."""
        third = line_minor(10**17 + 1, Fraction(1, 3), rounding=Rounding.STRIPE)

        assert third == (10**17 + 1) // 3 != int((10**17 + 1) / 3)
        for module in (periods, proration, splitting, at_stripe, fees):
            assert "float" not in inspect.getsource(module)
            assert "total_seconds" not in inspect.getsource(module)

    def test_09_f_each_line_is_rounded_once(self) -> None:
        """17 of 31 days of 10 and 20: two lines of our own are 5.48 and 10.97, and so what is paid is 5.49."""
        found = prorated(old_minor=1000, new_minor=2000, part=part_of_days(17, 31), rounding=Rounding.OURS)

        assert (found, found.net_minor) == (Proration(548, 1097), 549)


class TestB:
    @pytest.mark.parametrize(
        ("anchor", "interval", "count"),
        [
            (utc(2024, 2, 29), "year", 1),
            (utc(2023, 8, 31), "month", 3),
            (utc(2023, 11, 30), "month", 3),
            (utc(2023, 12, 29), "month", 3),
            (utc(2024, 1, 31), "month", 1),
        ],
    )
    def test_10_l6173_anniversaries_neither_overlap_nor_leave_a_gap(
        self, anchor: datetime, interval: str, count: int
    ) -> None:
        """There 29 February by the year, and quarters dated the 29th or later, overlapped or left days unbilled."""
        found = chain(Cadence(anchor, interval, count), 40)

        assert all(before[1] == after[0] for before, after in pairwise(found))
        assert found[0][0] == anchor

    def test_11_l6194_the_denominator_is_the_whole_period(self) -> None:
        """There a plan that began within the quarter was divided by the 42 days it had had, instead of 91."""
        used = days_inclusive(date(2024, 5, 20), date(2024, 6, 20))
        whole = days_inclusive(date(2024, 4, 1), date(2024, 6, 30))

        assert line_minor(91_000, part_of_days(used, whole), rounding=Rounding.OURS) == 32_000
        assert part_left(OCTOBER, NOVEMBER, NOVEMBER - timedelta(days=10)) == Fraction(10, 31)

    @pytest.mark.parametrize("zone", [TOKYO, "Pacific/Kiritimati", "Pacific/Auckland", PARIS, NEW_YORK])
    def test_12_l4795_customers_ahead_of_utc_are_billed_once_a_month(self, zone: str) -> None:
        """There the first of the month began twice, once by UTC and once by the customer: two invoices (also L#879,
        L#1110, L#1117, L#1246, L#3005)."""
        cadence = Cadence(utc(2026, 1, 1), "month", 1, zone)
        moments = [utc(2026, 1, 1) + hours * HOUR for hours in range(365 * 24)]
        begun = sorted({cadence.containing(at)[0] for at in moments})

        assert len(begun) == 13  # twelve and the one that was under way, or ends, with the year
        assert all(start.astimezone(ZoneInfo(zone)).day == 1 for start in begun)
        assert all(cadence.after(before) == after for before, after in pairwise(begun))

    def test_12_l1438_a_month_with_a_turn_of_the_clocks_is_as_long_as_it_is(self) -> None:
        """There the difference of two local times was divided by 24 hours, and a day was lost in March."""
        march, october = (
            Cadence(utc(2026, month, 15), "month", 1, PARIS).containing(utc(2026, month, 15)) for month in (3, 10)
        )

        assert march[1] - march[0] == 31 * 24 * HOUR - HOUR
        assert october[1] - october[0] == 31 * 24 * HOUR + HOUR

    @pytest.mark.parametrize("zone", ["America/Los_Angeles", NEW_YORK, "America/Sao_Paulo", TOKYO])
    def test_15_kb1856_the_end_of_a_day_is_the_beginning_of_the_next(self, zone: str) -> None:
        """There a period ended at 23:59:59 by the account's clocks and the next began by UTC's: usage of the hours
        between was billed twice (also KB#1966, KB#1981, KB#1918, KB#1987)."""
        found = chain(Cadence(utc(2026, 1, 31, 12), "month", 1, zone), 24)

        assert all(before[1] == after[0] for before, after in pairwise(found))
        for before, after in pairwise(found):
            last = before[1] - timedelta(microseconds=1)
            assert before[0] <= last < before[1] == after[0]

    def test_15_kb1934_midnight_follows_the_clocks_and_no_fixed_offset(self) -> None:
        """There the offset of the day of subscription was kept, and after the turn midnight was at one o'clock."""
        cadence = Cadence(utc(2026, 1, 10), "month", 1, NEW_YORK)

        assert [cadence.boundary(number).hour for number in range(12)] == [5, 5, 5, 4, 4, 4, 4, 4, 4, 4, 4, 5]

    def test_15_kb2133_kb1851_the_last_day_of_a_month_comes_back(self) -> None:
        """There a billing day of 31 became 30 or 28 for good after a short month."""
        days = [boundary(utc(2026, 1, 31), months).day for months in range(12)]

        assert days == [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

    def test_16_om2955_om4278_a_boundary_belongs_to_the_period_that_it_begins(self) -> None:
        """There the start was exclusive, or the recurrence on it was counted in both."""
        cadence = Cadence(OCTOBER)

        assert cadence.containing(NOVEMBER) == (NOVEMBER, DECEMBER)
        assert cadence.containing(NOVEMBER - timedelta(microseconds=1)) == (OCTOBER, NOVEMBER)

    def test_16_om3224_months_from_the_31st_are_twelve_a_year(self) -> None:
        """There the month after 31 January was March."""
        found = chain(Cadence(utc(2026, 1, 31)), 12)

        assert [start.month for start, _ in found] == list(range(1, 13))

    def test_18_f_the_hour_that_happens_twice_is_floored_to_itself(self) -> None:
        """There 06:30 UTC, the second 01:30 of that night, was counted in the hour of the first."""
        second = datetime(2026, 11, 1, 1, 30, fold=1, tzinfo=ZoneInfo(NEW_YORK))

        assert floor_hour(second.astimezone(UTC)) == utc(2026, 11, 1, 6)
        assert start_of_day(date(2026, 11, 2), NEW_YORK) - start_of_day(date(2026, 11, 1), NEW_YORK) == 25 * HOUR

    @pytest.mark.usefixtures("committed_db")
    def test_19_p11046_usage_within_a_trial_is_not_billed(self) -> None:
        """There the meter of the first period began with the trial, and its usage was on the first invoice."""
        usage.define_token_meters()
        subscription = SubscriptionFactory(
            plan_version=PlanVersionFactory(trial_days=14, rate_card=usage.rate_card(), included_amount=Decimal(0)),
            customer__customer_key="ada",
        )
        trial = subscription.periods.get()
        usage.use_dollars("ada", trial.ends_at - timedelta(seconds=1), "3")
        usage.use_dollars("ada", trial.ends_at, "5")
        first = open_next_period(
            subscription_id=subscription.pk, starts_at=trial.ends_at, ends_at=boundary(trial.ends_at, 1)
        )

        paid = [accrue_period(period_id=period.pk, now=DECEMBER) for period in (trial, first)]

        assert [(one.rated, one.included, one.unbilled) for one in paid if one] == [(3, 3, 0), (5, 0, 5)]

    def test_20_zulip_a_february_of_29_days_has_its_29th(self) -> None:
        """There adding months always made the 28th of February, in leap years too."""
        assert boundary(utc(2023, 12, 31), 2) == utc(2024, 2, 29)
        assert boundary(utc(2024, 2, 29), 48) == utc(2028, 2, 29)
