"""Prices as people see them: only those that somebody pays, each of them, and what a new one takes over from."""

from decimal import Decimal
from typing import Any

import pytest

from billing.catalog.models import RateCard
from billing.catalog.operations import load_catalog, plan_catalog
from billing.catalog.prices_page import price_sections
from billing.catalog.words import fee_tier_texts
from tests.billing.catalog.full import document
from tests.factories import NOVEMBER, OCTOBER, RateCardFactory, RateFactory


def grid_rows(card: RateCard) -> list[tuple[str, list[str]]]:
    grids = price_sections(card, now=NOVEMBER)["grids"]
    return [(value, [cell.text for cell in cells]) for grid in grids for value, cells in grid.rows]


@pytest.mark.django_db
class TestPrices:
    def test_of_a_base_that_nobody_pays_are_not_shown(self) -> None:
        base = RateCardFactory()
        for meter in ("input_tokens", "output_tokens"):
            RateFactory(rate_card=base, meter_code=meter, model="opus", effective_from=OCTOBER)
        contract = RateCardFactory(base=base)
        contract.rates.create(
            meter_code="input_tokens", unit_price=Decimal(3), unit_size=1_000_000, effective_from=OCTOBER
        )

        sections = price_sections(contract, now=NOVEMBER)

        (grid,) = sections["grids"]
        assert grid.meters == ("output_tokens",)
        assert [one.name for one in sections["others"]] == ["any usage"]

    def test_for_no_value_and_for_a_value_named_so_stand_apart(self) -> None:
        card = RateCardFactory()
        for value, price in ((None, "1"), ("none", "2"), ("", "3")):
            card.rates.create(
                meter_code="m", dimensions={"model": value}, unit_price=Decimal(price), unit_size=1,
                effective_from=OCTOBER,
            )  # fmt: skip

        assert grid_rows(card) == [("(empty)", ["$3.00"]), ("none", ["$2.00"]), ("(no value)", ["$1.00"])]

    def test_of_a_contract_take_over_from_those_of_its_base(self) -> None:
        load_catalog(document(), now=OCTOBER)
        catalog: dict[str, Any] = document()
        rate = {"meter_code": "input_tokens", "dimensions": {"model": "auto", "region": "eu"}, "unit_price": "3"}
        catalog["rate_cards"][1]["rates"].append(rate)

        (change,) = plan_catalog(catalog, now=OCTOBER).changes

        (difference,) = change.differences
        assert (difference.was, difference.will_be) == ("$1.25 per 1,000,000", "$3.00 per 1,000,000")


def test_what_a_tier_of_seats_costs_besides_is_for_each_period() -> None:
    ((_, text),) = fee_tier_texts([{"up_to": None, "unit_minor": 2000, "flat_minor": 500}], "USD")

    assert text == "$20.00 + $5.00 a period"
