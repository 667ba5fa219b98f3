# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""What a part of a period costs and includes: exact fractions, one rounding a line, nothing lost between two parts."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.subscriptions.proration import (
    Discount,
    Proration,
    Rounding,
    allowance_after,
    days_inclusive,
    line_minor,
    part_left,
    part_of_amount,
    part_of_days,
    prorated,
    rounded,
)

OCTOBER, NOVEMBER = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
parts = st.fractions(0, 1, max_denominator=2_678_400)
prices = st.integers(0, 10**9)
amounts = st.decimals(0, 10**9, places=4, allow_nan=False)
CENT = Fraction(1, 100)
words = st.sampled_from(["prorate", "restart", "keep"])


class TestParts:
    @given(st.integers(0, 2_678_400 * 10**6))
    def test_are_counted_to_the_microsecond(self, microseconds: int) -> None:
        at = OCTOBER + timedelta(microseconds=microseconds)

        assert part_left(OCTOBER, NOVEMBER, at) == 1 - Fraction(microseconds, 2_678_400 * 10**6)

    @pytest.mark.parametrize("at", [OCTOBER - timedelta(microseconds=1), NOVEMBER + timedelta(microseconds=1)])
    def test_outside_the_period_there_is_none(self, at: datetime) -> None:
        with pytest.raises(ValueError, match="outside"):
            part_left(OCTOBER, NOVEMBER, at)

    def test_a_period_has_a_length_and_days_are_counted_forwards(self) -> None:
        with pytest.raises(ValueError, match="length"):
            part_left(OCTOBER, OCTOBER, OCTOBER)
        with pytest.raises(ValueError, match="zero"):
            part_of_days(-1, 30)
        with pytest.raises(ValueError, match="before the first"):
            days_inclusive(date(2026, 10, 2), date(2026, 10, 1))


class TestStripesLines:
    """The facts of tests/stripe_sandbox/test_prorations.py, from our own function."""

    @pytest.mark.parametrize(
        ("old", "new", "part", "expected"),
        [
            (1000, 3000, Fraction(1, 400), Proration(3, 7)),
            (1000, 1800, Fraction(1, 400), Proration(3, 4)),
            (100_000_000, 200_000_000, Fraction(1_814_399, 2_678_400), Proration(67_741_899, 135_483_796)),
            (2000, 6000, Fraction(1, 2), Proration(1000, 3000)),
            (2000, 500, Fraction(1, 2), Proration(1000, 250)),
        ],
    )
    def test_are_floored_each_on_its_own(self, old: int, new: int, part: Fraction, expected: Proration) -> None:
        assert prorated(old_minor=old, new_minor=new, part=part) == expected

    @given(prices, prices, parts)
    def test_never_ask_for_more_than_the_exact_difference(self, old: int, new: int, part: Fraction) -> None:
        found = prorated(old_minor=old, new_minor=new, part=part)

        exact = (new - old) * part
        assert exact - 2 < found.net_minor <= exact

    @given(prices, parts)
    def test_a_change_into_the_same_gives_back_at_most_a_minor_unit(self, price: int, part: Fraction) -> None:
        assert prorated(old_minor=price, new_minor=price, part=part).net_minor in (-1, 0)


class TestOurLines:
    @given(st.fractions(-(10**9), 10**9, max_denominator=10**6), st.integers(0, 3))
    def test_are_rounded_half_away_from_zero(self, amount: Fraction, places: int) -> None:
        """Against the decimal module, wide enough to hold either side of a half."""
        scaled = amount * 10**places
        found = rounded(amount, Rounding.OURS, places=places)

        assert abs(found - scaled) <= Fraction(1, 2)
        if abs(found - scaled) == Fraction(1, 2):
            assert abs(found) > abs(scaled)

    @pytest.mark.parametrize(("price", "line"), [(5, 3), (-5, -3), (4, 2), (1, 1), (-1, -1), (0, 0)])
    def test_a_half_goes_away_from_zero(self, price: int, line: int) -> None:
        assert line_minor(price, Fraction(1, 2), rounding=Rounding.OURS) == line


class TestDiscounts:
    @given(prices, parts, st.integers(0, 100))
    def test_come_before_the_fraction(self, price: int, part: Fraction, percent: int) -> None:
        found = prorated(old_minor=price, new_minor=0, part=part, old_discount=Discount("percentage", Decimal(percent)))

        assert found.credit_minor == -(-Fraction(price) * (100 - percent) / 100 * part // 1)

    def test_take_off_no_more_than_there_is(self) -> None:
        assert Discount("fixed", Decimal(500)).off(Fraction(300)) == 0

    @pytest.mark.parametrize(
        ("kind", "value"), [("percentage", "100.01"), ("percentage", "-1"), ("fixed", "-1"), ("gift", "1")]
    )
    def test_that_are_none_are_refused(self, kind: str, value: str) -> None:
        with pytest.raises(ValueError, match="discount"):
            Discount(kind, Decimal(value))  # type: ignore[arg-type]


class TestAllowances:
    @given(amounts, parts)
    def test_nothing_changes_where_nothing_changed(self, amount: Decimal, part: Fraction) -> None:
        for word in ("prorate", "keep"):
            assert allowance_after(old=amount, new=amount, at_plan_change=word, part=part) == amount

    @given(amounts, amounts, parts, amounts, words)
    def test_what_is_used_is_never_given_twice(
        self, old: Decimal, new: Decimal, part: Fraction, used: Decimal, word: str
    ) -> None:
        used = min(used, old)
        after = allowance_after(old=old, new=new, at_plan_change=word, part=part, used=used)

        assert after is not None
        assert after >= 0
        if word == "prorate":
            # In all each plan's part of the period, to the cent; or what was used already.
            whole = max(Fraction(old) * (1 - part) + Fraction(new) * part, Fraction(used))
            assert abs(whole - Fraction(used + after)) < CENT
        if word == "keep":
            assert used + after == old
        if word == "restart":
            assert after == new

    @given(amounts, parts)
    def test_two_parts_of_an_amount_come_to_it_or_a_cent_more(self, amount: Decimal, part: Fraction) -> None:
        first, second = part_of_amount(amount, part), part_of_amount(amount, 1 - part)

        assert 0 <= Fraction(first + second - amount) < 2 * CENT

    @given(st.integers(0, 10**12), parts)
    def test_a_part_of_whole_units_is_whole_and_in_the_customer_s_favour(self, units: int, part: Fraction) -> None:
        found = part_of_amount(Decimal(units), part, places=0)

        assert found == int(found)
        assert units * part <= found < units * part + 1

    def test_a_part_of_a_finer_amount_is_as_fine(self) -> None:
        assert part_of_amount(Decimal("0.0003"), Fraction(1, 2)) == Decimal("0.0002")
        assert part_of_amount(Decimal("20.00"), Fraction(17, 31)) == Decimal("10.97")

    def test_one_without_a_limit_stays_so_as_long_as_its_terms(self) -> None:
        half = Fraction(1, 2)

        assert allowance_after(old=Decimal(1), new=None, at_plan_change="prorate", part=half) is None
        assert allowance_after(old=None, new=Decimal(1), at_plan_change="keep", part=half) is None
        assert allowance_after(old=None, new=Decimal(1), at_plan_change="prorate", part=half) == Decimal("0.5")

    def test_another_word_is_refused_by_name(self) -> None:
        with pytest.raises(ValueError, match="at_plan_change"):
            allowance_after(old=Decimal(1), new=Decimal(1), at_plan_change="forget", part=Fraction(1))
        with pytest.raises(ValueError, match="from 0 to 1"):
            part_of_amount(Decimal(1), Fraction(3, 2))
