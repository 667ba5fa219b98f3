"""The price of a quantity: exact or refused."""

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.rating.rating import InexactAmount, InvalidQuantity, explain, rate_usage

MILLION = 1_000_000
CASES = Path(__file__).resolve().parents[4] / "shared" / "data" / "cases" / "cases.json"

quantities = st.integers(0, 10**15).map(Decimal)
prices = st.decimals(0, 10_000, places=6)


def token_cases() -> list[dict[str, Any]]:
    if not CASES.exists():
        return []
    return [case for case in json.loads(CASES.read_text())["cases"] if case["calc"] == "token_cost"]


class TestRateUsage:
    @pytest.mark.parametrize(
        ("quantity", "unit_price", "amount"),
        [
            ("1", "0.000001", "0.000000000001"),
            ("1500", "2.50", "0.00375"),
            ("0", "25", "0"),
            ("0.5", "5", "0.0000025"),
            ("123456789012", "6.25", "771604.931325"),
        ],
    )
    def test_is_quantity_times_price(self, quantity: str, unit_price: str, amount: str) -> None:
        assert rate_usage(Decimal(quantity), Decimal(unit_price), MILLION) == Decimal(amount)

    @given(quantities, prices)
    def test_is_exact(self, quantity: Decimal, unit_price: Decimal) -> None:
        amount = rate_usage(quantity, unit_price, MILLION)

        assert Fraction(amount) == Fraction(quantity) * Fraction(unit_price) / MILLION
        assert amount.as_tuple().exponent == -12

    @given(st.lists(quantities, min_size=1, max_size=20), prices)
    def test_of_parts_adds_up_to_that_of_the_whole(self, parts: list[Decimal], unit_price: Decimal) -> None:
        whole = rate_usage(sum(parts, Decimal(0)), unit_price, MILLION)

        assert sum((rate_usage(part, unit_price, MILLION) for part in parts), Decimal(0)) == whole

    @pytest.mark.parametrize(
        ("quantity", "unit_price", "unit_size"),
        [("1", "1", 3), ("0.1", "0.000001", MILLION), ("1e20", "1e12", 1), ("9e70", "9e70", 1)],
    )
    def test_that_12_places_or_26_digits_cannot_hold_is_refused(
        self, quantity: str, unit_price: str, unit_size: int
    ) -> None:
        with pytest.raises(InexactAmount):
            rate_usage(Decimal(quantity), Decimal(unit_price), unit_size)

    @pytest.mark.parametrize("quantity", ["-1", "NaN", "Infinity"])
    def test_of_no_quantity_is_refused(self, quantity: str) -> None:
        with pytest.raises(InvalidQuantity):
            rate_usage(Decimal(quantity), Decimal(1), MILLION)

    @pytest.mark.parametrize(("quantity", "unit_price"), [(1.5, Decimal(1)), (Decimal(1), 0.1), (1, Decimal(1))])
    def test_takes_nothing_but_decimals(self, quantity: object, unit_price: object) -> None:
        with pytest.raises(TypeError):
            rate_usage(quantity, unit_price, MILLION)  # type: ignore[arg-type]

    @pytest.mark.skipif(not CASES.exists(), reason="../shared/data/cases is absent")
    @pytest.mark.parametrize("case", token_cases(), ids=lambda case: case["id"])
    def test_reproduces_public_token_cases(self, case: dict[str, Any]) -> None:
        given_, expected = case["input"], case["expected"]

        def cost(rates: dict[str, str]) -> Decimal:
            priced = (
                rate_usage(Decimal(count), Decimal(rates[token_class]), MILLION)
                for token_class, count in given_["tokens"].items()
            )
            return sum(priced, Decimal(0))

        fee = given_.get("platform_fee_per_million", "0")

        assert cost(given_["rates_per_million"]) == Decimal(expected["cost"])
        assert cost(dict.fromkeys(given_["tokens"], fee)) == Decimal(expected.get("platform_fee", "0"))


class TestExplain:
    def test_shows_the_computation_without_needless_digits(self) -> None:
        text = explain(Decimal(1_500), Decimal("2.500000000000"), MILLION, "USD")

        assert text == "1,500 × 2.5 USD per 1,000,000 = 0.00375 USD"
