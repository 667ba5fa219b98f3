"""The steps of every price, as a customer reads them."""

from decimal import Decimal
from typing import Any

import pytest

from billing.rating.charges import Charge, charge_of

TIERS = [
    {"up_to": "10", "unit_price": "2", "flat": "5"},
    {"up_to": "20", "unit_price": "1"},
    {"up_to": None, "unit_price": "0.5", "flat": "1"},
]
PAYMENTS: dict[str, Any] = {
    "rate_percent": "1.3",
    "fixed_per_event": "2",
    "free_events": 1,
    "min_per_event": "3",
    "max_per_event": "5",
}


def texts(charge: Charge, *values: str) -> list[str]:
    priced = charge.explain_each([Decimal(value) for value in values], "USD")
    return [step.text for step in priced.steps]


class TestSteps:
    def test_of_a_unit_price(self) -> None:
        charge = charge_of("per_unit", {}, unit_price=Decimal("2.50"), unit_size=1_000_000)

        assert texts(charge, "1500") == ["1,500 × 2.5 USD per 1,000,000 = 0.00375 USD"]

    def test_of_graduated_tiers(self) -> None:
        assert texts(charge_of("graduated", {"tiers": TIERS, "free_units": "4"}), "26.5") == [
            "4 free of charge",
            "Up to 10: flat 5 USD + 10 × 2 USD = 25 USD",
            "Above 10 up to 20: 10 × 1 USD = 10 USD",
            "Above 20: flat 1 USD + 2.5 × 0.5 USD = 2.25 USD",
        ]

    def test_of_volume_tiers(self) -> None:
        assert texts(charge_of("volume", {"tiers": TIERS}), "12") == [
            "All units (above 10 up to 20): 12 × 1 USD = 12 USD"
        ]

        assert texts(charge_of("volume", {"tiers": TIERS}), "0") == ["All units (up to 10): flat 5 USD"]

    def test_of_one_tier_for_all(self) -> None:
        charge = charge_of("volume", {"tiers": [{"up_to": None, "unit_price": "2", "flat": "1"}]})

        assert texts(charge, "3") == ["All units: flat 1 USD + 3 × 2 USD = 7 USD"]

    def test_of_packages(self) -> None:
        terms = {"package_size": "10", "package_price": "15", "free_units": "100", "maximum": "40"}

        assert texts(charge_of("package", terms), "121") == [
            "100 free of charge",
            "21 in packages of 10, rounded up: 3 × 15 USD = 45 USD",
            "At most 40 USD: -5 USD",
        ]

    def test_of_a_percentage_of_events(self) -> None:
        assert texts(charge_of("percentage", PAYMENTS), "100", "50", "200", "1000", "0") == [
            "100 free of charge",
            "1.3 % of 1,250 = 16.25 USD",
            "3 events × 2 USD = 6 USD",
            "1 event raised to the minimum of 3 USD: 0.35 USD",
            "1 event lowered to the maximum of 5 USD: -10 USD",
        ]

    def test_of_a_graduated_percentage(self) -> None:
        tiers = [{"up_to": "1000", "rate_percent": "2", "flat": "3"}, {"up_to": None, "rate_percent": "1.5"}]

        assert texts(charge_of("graduated_percentage", {"tiers": tiers}), "1200") == [
            "Up to 1,000: flat 3 USD + 2 % of 1,000 = 23 USD",
            "Above 1,000: 1.5 % of 200 = 3 USD",
        ]

    @pytest.mark.parametrize(
        ("mode", "told"),
        [
            (
                "all_tiers",
                [
                    "From the first on: 1,000 in blocks of 100: 10 × 1 USD = 10 USD",
                    "Above 1,000: 1,001 in blocks of 1,000: 2 × 0.5 USD = 1 USD",
                ],
            ),
            ("top_tier", ["All units at the price above 1,000: 2,001 in blocks of 1,000: 3 × 0.5 USD = 1.5 USD"]),
        ],
    )
    def test_of_blocks(self, mode: str, told: list[str]) -> None:
        tiers = [
            {"block_size": "100", "max_blocks": "10", "price_per_block": "1"},
            {"block_size": "1000", "max_blocks": None, "price_per_block": "0.5"},
        ]

        assert texts(charge_of("blocks", {"mode": mode, "tiers": tiers}), "2001") == told

    def test_of_cost_and_margin(self) -> None:
        terms = {"cost_price": "5", "unit_size": "1000000", "margin_percent": "20", "platform_fee": "0.25"}

        assert texts(charge_of("cost_plus", terms), "100000") == [
            "Cost: 100,000 × 5 USD per 1,000,000 = 0.5 USD",
            "Margin: 20 % of 0.5 USD = 0.1 USD",
            "Platform fee: 100,000 × 0.25 USD per 1,000,000 = 0.025 USD",
        ]

    def test_of_windows(self) -> None:
        charge = charge_of("package", {"package_size": "10", "package_price": "1", "per": "window"})

        assert texts(charge, "9", "11", "9", "0") == [
            "an hour of 11: 11 in packages of 10, rounded up: 2 × 1 USD = 2 USD",
            "2 × an hour of 9: 9 in packages of 10, rounded up: 1 × 1 USD = 1 USD",
            "an hour of 0: nothing",
        ]

    def test_of_many_different_windows_end_with_the_rest_in_one(self) -> None:
        charge = charge_of("graduated", {"tiers": [{"up_to": None, "unit_price": "1"}], "per": "window"})

        told = texts(charge, *map(str, range(1, 745)))

        assert told[0] == "an hour of 744: All units: 744 × 1 USD = 744 USD"
        assert told[12:] == ["732 further hours: 268,278 USD"]

    def test_of_a_flat_charge(self) -> None:
        assert texts(charge_of("flat", {"amount": "1200.50"})) == ["Flat: 1,200.5 USD"]
