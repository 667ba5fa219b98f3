"""
Bugs of prices and of rounding that reached customers of others (field.md, section A), each as a test of ours.

Letters as there: L is Lago, P Polar, M Meteroid, F Flexprice. What belongs to seats and proration (7: P#11556, P#12075;
9) stands in tests/billing/subscriptions/test_peers_bugs_periods.py.
"""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invoicing.rounding import from_minor, to_minor
from billing.rating.allocation import RatedUsage, fund
from billing.rating.charges import InvalidTerms, charge_of, percent_of
from promotions.burn_down import GrantBalance

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
# 6 fees of 0.4 cents and 2 of 1 cent, in currency units.
SMALL_FEES = [*["0.004"] * 6, "0.01", "0.01"]


def fees(amounts: list[str]) -> list[RatedUsage]:
    """A fee each, of a price of its own."""
    return [RatedUsage(at=OCTOBER, rate_id=number, amount=Decimal(one)) for number, one in enumerate(amounts, start=1)]


def credit(amount: str) -> GrantBalance:
    return GrantBalance(
        grant_id=1,
        kind="paid",
        priority=1,
        effective_at=OCTOBER,
        expires_at=None,
        recorded_at=OCTOBER,
        amount=Decimal(amount),
        available=Decimal(amount),
    )


def charged_minor(amounts: list[str], credits_: str, currency: str = "USD") -> int:
    """What the invoice asks for: a line for each price, its unbilled amount rounded once."""
    funding = fund(fees(amounts), [], [credit(credits_)])
    return sum(to_minor(one.unbilled, currency) for one in funding.by_rate.values())


class TestCredits:
    def test_1_that_cover_everything_leave_nothing_to_pay(self) -> None:
        """L#5121: of 106,826 to pay, one cent stayed open beside a full wallet."""
        taxed = ["500.00", "34.127", "500.00", "34.127"]

        assert charged_minor(taxed, "2000") == 0
        assert charged_minor(taxed, "1068.254") == 0

    @pytest.mark.parametrize("credits_", ["0", "0.003", "0.004", "0.02", "0.044", "0.05", "100"])
    def test_2_never_make_an_invoice_negative(self, credits_: str) -> None:
        """L#4794: 4 cents of credit were taken off an invoice of 3."""
        assert charged_minor(SMALL_FEES, credits_) >= 0
        funding = fund(fees(SMALL_FEES), [], [credit(credits_)])
        assert sum(one.credited for one in funding.by_rate.values()) == min(Decimal(credits_), Decimal("0.044"))

    def test_3_come_to_the_same_in_whatever_order_fees_are_read(self) -> None:
        """L#4889: a limited credit paid 64 of 68, depending on the order of the fees."""
        amounts = ["0.60", "0.08456", "0.60", "0.08456"]
        used = {
            sum(fund(order, [], [credit("0.68")]).drawdowns.values(), Decimal(0))
            for order in permutations(fees(amounts))
        }

        assert used == {Decimal("0.68")}


class TestRounding:
    def test_4_of_what_is_left_is_of_what_is_left(self) -> None:
        """L#4641: 14.28444999 voided of 100 left 85.71: the part was rounded, not the rest."""
        assert to_minor(Decimal(100) - Decimal("14.28444999"), "USD") == 8572

    def test_5_finds_every_cent_where_it_was_written(self) -> None:
        """L#4639: 17.97 became 17.9699999999999988 by a float, and then 17.96."""
        assert to_minor(Decimal("17.97"), "USD") == 1797
        charge = charge_of("per_unit", {}, unit_price=Decimal("0.0599"), unit_size=1)
        assert to_minor(charge.amount(Decimal(300)), "USD") == 1797
        with pytest.raises(InvalidTerms, match="not exact"):
            charge_of("package", {"package_size": "1", "package_price": 17.97})

    @given(st.integers(0, 10**12), st.sampled_from(["USD", "JPY", "KWD", "UGX", "ISK"]))
    def test_8_gives_back_each_amount_that_can_be_charged(self, steps: int, currency: str) -> None:
        """Zulip: int(float(format_money(price / 12)) * 100) makes 434 of 4.35; UniBee cut a part to 0.01 %."""
        step = {"KWD": 10, "UGX": 100, "ISK": 100}.get(currency, 1)

        assert to_minor(from_minor(steps * step, currency), currency) == steps * step

    @pytest.mark.parametrize(
        ("currency", "amount", "minor"),
        [("UGX", "4500", 450_000), ("UGX", "4500.5", 450_100), ("ISK", "99", 9_900), ("JPY", "99.5", 100)],
    )
    def test_7_knows_the_decimals_of_each_currency(self, currency: str, amount: str, minor: int) -> None:
        """P#11557: shillings of Uganda, which Stripe takes in hundredths and charges in whole ones."""
        assert to_minor(Decimal(amount), currency) == minor

    def test_8_keeps_more_places_than_an_invoice_shows(self) -> None:
        """M#848: a tax or share of 12 places keeps them until the line is rounded."""
        share = percent_of(Decimal("0.000000000001"), Decimal("7.7"))

        assert share == Decimal("0.000000000000077")

    def test_9_is_once_for_a_line_and_not_for_its_hours(self) -> None:
        """F: each of two legs rounded gave 5.49, their difference 5.48. A line here is rounded when it is whole."""
        hours = [Decimal("0.004")] * 3

        assert to_minor(sum(hours, Decimal(0)), "USD") == 1
        assert sum(to_minor(hour, "USD") for hour in hours) == 0

    @given(st.decimals(-1000, 1000, places=6))
    def test_of_a_credit_is_that_of_the_charge(self, amount: Decimal) -> None:
        """Half away from zero on both sides, so that what is given back is what was asked for."""
        assert to_minor(-amount, "USD") == -to_minor(amount, "USD")


class TestEventsAtOneInstant:
    TIERS = [{"up_to": "2", "unit_price": "0"}, {"up_to": None, "unit_price": "2"}]

    def test_21_are_priced_one_after_the_other(self) -> None:
        """L#5740, L#5861: three events of one timestamp each saw the other two, and 6 was billed instead of 2."""
        charge = charge_of("graduated", {"tiers": self.TIERS})

        assert list(charge.each([Decimal(1)] * 3)) == [0, 0, 2]
