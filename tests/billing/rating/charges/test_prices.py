"""Every price is what fractions say it is, its steps add up to it, and its parts to the whole."""

from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.rating.charges import Basis, Charge, charge_of, part
from billing.rating.rating import InvalidQuantity
from tests.billing.rating.charges import oracles
from tests.billing.rating.charges.strategies import RISING, prices, quantities, read

ZERO = Decimal(0)
many = settings(max_examples=120, deadline=None)
fewer = settings(max_examples=50, deadline=None)


def added(amounts: list[Decimal]) -> Fraction:
    return sum(map(Fraction, amounts), Fraction(0))


@many
@given(prices(), quantities)
def test_a_price_is_what_fractions_say(price: tuple[str, dict[str, Any]], quantity: Decimal) -> None:
    assert Fraction(read(price).amount(quantity)) == oracles.price(*price, Fraction(quantity))


@many
@given(prices(), quantities)
def test_the_steps_of_an_explanation_add_up_to_the_price(price: tuple[str, dict[str, Any]], quantity: Decimal) -> None:
    charge = read(price)

    priced = charge.explain(quantity, "USD")

    assert priced.amount == charge.amount(quantity)
    assert added([step.amount for step in priced.steps]) == Fraction(priced.amount)
    assert all(step.text and "E+" not in step.text and "E-" not in step.text for step in priced.steps)
    # Whoever pays is told why; who has used nothing and pays nothing need not be.
    assert priced.steps or not priced.amount


@fewer
@given(prices(), st.lists(st.decimals(-20, 40, places=2), max_size=8))
def test_values_in_their_turn_add_up_to_the_price_of_all(
    price: tuple[str, dict[str, Any]], values: list[Decimal]
) -> None:
    charge = read(price)
    each = list(charge.each(values))

    assert len(each) == len(values)
    if charge.basis is Basis.EVENT:
        expected = oracles.price_of_events(price[1], list(map(Fraction, values)))
        if "maximum" in price[1]:
            until = [min(amount, Fraction(price[1]["maximum"])) for amount in accumulate(expected)]
            expected = [after - before for before, after in zip([Fraction(0), *until], until, strict=False)]
        assert list(map(Fraction, each)) == expected
    else:
        assert list(map(Fraction, accumulate(each))) == [
            oracles.price(*price, quantity) for quantity in accumulate(map(Fraction, values))
        ]


@fewer
@given(prices(), st.lists(st.decimals(-5, 40, places=2), max_size=20))
def test_what_is_told_of_many_values_adds_up(price: tuple[str, dict[str, Any]], values: list[Decimal]) -> None:
    charge = read(price)

    priced = charge.explain_each(values, "USD")

    whole = added(list(charge.each(values))) if values and charge.basis is Basis.EVENT else None
    quantity = sum(map(Fraction, values), Fraction(0))
    expected = oracles.price(*price, quantity) if whole is None else whole
    if charge.basis is Basis.EVENT and not values:
        expected = Fraction(0)
    assert Fraction(priced.amount) == expected
    assert added([step.amount for step in priced.steps]) == expected


@fewer
@given(prices("graduated", "volume", "package", "blocks", "cost_plus"), st.lists(quantities, max_size=20))
def test_windows_alone_add_up(price: tuple[str, dict[str, Any]], windows: list[Decimal]) -> None:
    charge_model, terms = price
    charge = charge_of(charge_model, {**terms, "per": "window"})

    priced = charge.explain_each(windows, "USD")

    assert charge.basis is Basis.WINDOW
    expected = sum((oracles.price(charge_model, terms, Fraction(window)) for window in windows), Fraction(0))
    assert Fraction(priced.amount) == expected
    assert added([step.amount for step in priced.steps]) == expected


@fewer
@given(prices(*RISING), quantities, quantities)
def test_more_usage_never_costs_less(price: tuple[str, dict[str, Any]], quantity: Decimal, more: Decimal) -> None:
    charge = read(price)

    assert charge.amount(quantity + more) >= charge.amount(quantity) >= 0


@fewer
@given(prices(), quantities)
def test_the_price_of_a_unit_is_told_only_where_it_is_the_same_for_all(
    price: tuple[str, dict[str, Any]], quantity: Decimal
) -> None:
    charge = read(price)

    if charge.unit_amount is not None:
        assert Fraction(charge.amount(quantity)) == Fraction(quantity) * Fraction(charge.unit_amount)


@fewer
@given(prices(), st.lists(quantities, min_size=1, max_size=6), st.booleans())
def test_a_period_cut_into_parts_comes_to_the_whole(
    price: tuple[str, dict[str, Any]], quantities_: list[Decimal], is_over: bool
) -> None:
    charge = read(price)
    paid = before = ZERO
    for number, quantity in enumerate(quantities_):
        is_last = number == len(quantities_) - 1
        paid += part(charge, quantity, before=before, paid=paid, is_over=is_over and is_last)
        before += quantity

    whole = charge.amount(before)
    least = oracles.number(price[1], "minimum") if is_over else Fraction(0)
    assert Fraction(paid) == max(Fraction(whole), least)


@fewer
@given(prices(), quantities, st.lists(st.decimals(-20, 40, places=2), max_size=4))
def test_the_precision_of_the_caller_changes_nothing(
    price: tuple[str, dict[str, Any]], quantity: Decimal, values: list[Decimal]
) -> None:
    charge = read(price)
    expected = charge.amount(quantity), charge.explain(quantity, "USD"), list(charge.each(values))

    with localcontext(prec=2):
        charge = read(price)
        assert (charge.amount(quantity), charge.explain(quantity, "USD"), list(charge.each(values))) == expected


@fewer
@given(prices(), st.decimals(-100, 0, places=2))
def test_a_quantity_below_zero_counts_as_none(price: tuple[str, dict[str, Any]], quantity: Decimal) -> None:
    charge = read(price)

    assert charge.amount(quantity) == charge.amount(ZERO) >= 0
    assert charge.explain(quantity, "USD").amount == charge.amount(ZERO)


EXAMPLES: dict[str, dict[str, Any]] = {
    "graduated": {"tiers": [{"up_to": None, "unit_price": "1"}], "free_units": "5"},
    "volume": {"tiers": [{"up_to": None, "unit_price": "1", "flat": "1"}]},
    "package": {"package_size": "10", "package_price": "1", "free_units": "5"},
    "percentage": {"rate_percent": "1"},
    "graduated_percentage": {"tiers": [{"up_to": None, "rate_percent": "1"}]},
    "blocks": {"mode": "all_tiers", "tiers": [{"block_size": "1", "max_blocks": None, "price_per_block": "1"}]},
    "cost_plus": {"cost_price": "1"},
}


def examples() -> list[Charge]:
    per_unit = charge_of("per_unit", {}, unit_price=Decimal(1), unit_size=1)
    return [per_unit, *(charge_of(model, terms) for model, terms in EXAMPLES.items())]


@pytest.mark.parametrize("charge", examples(), ids=["per_unit", *EXAMPLES])
class TestWhatIsNoQuantity:
    @pytest.mark.parametrize("quantity", [1.5, 1, "1", None])
    def test_is_no_decimal(self, charge: Charge, quantity: Any) -> None:
        with pytest.raises(TypeError):
            charge.amount(quantity)
        with pytest.raises(TypeError):
            charge.explain(quantity, "USD")

    @pytest.mark.parametrize("quantity", ["NaN", "sNaN", "Infinity", "-Infinity"])
    def test_is_not_finite(self, charge: Charge, quantity: str) -> None:
        with pytest.raises(InvalidQuantity):
            charge.amount(Decimal(quantity))
