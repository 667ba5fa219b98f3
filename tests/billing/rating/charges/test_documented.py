"""What docs/charge-models.md says of prices is what they are."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from billing.catalog.document import read_document
from billing.catalog.wanted import meaning_of
from billing.rating.charges import Basis, ChargeModel, charge_of
from billing.rating.rating import plain

TEXT = (Path(__file__).resolve().parents[4] / "docs" / "charge-models.md").read_text()
_EXAMPLE = re.compile(
    r"^```yaml\n(?P<rate>.*?)^```\nUsage of (?P<usage>[^:]*?)(?: with (?P<dimensions>[^:]*))?: "
    r"\*\*(?P<amount>.*?) USD\*\*\n```text\n(?P<steps>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


class Example(NamedTuple):
    rate: dict[str, Any]
    usage: list[Decimal]
    dimensions: dict[str, str]
    amount: str
    steps: list[str]


def examples() -> list[Example]:
    return [
        Example(
            rate=yaml.safe_load(found["rate"]),
            usage=[Decimal(value) for value in found["usage"].split(", ")],
            dimensions=dict(pair.split(" ") for pair in found["dimensions"].split(", ")) if found["dimensions"] else {},
            amount=found["amount"],
            steps=found["steps"].splitlines(),
        )
        for found in _EXAMPLE.finditer(TEXT)
    ]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.rate["charge_model"])
def test_an_example_is_true(example: Example) -> None:
    rate = example.rate
    unit_price = Decimal(rate["unit_price"]) if "unit_price" in rate else None
    price = charge_of(
        rate["charge_model"], rate.get("terms", {}), unit_price=unit_price, unit_size=rate.get("unit_size")
    )
    charge = price.cell(example.dimensions)
    assert charge is not None

    priced = charge.explain_each(example.usage, "USD")

    assert [step.text for step in priced.steps] == example.steps
    assert plain(priced.amount) == example.amount
    assert charge.basis is not Basis.EVENT or sum(charge.each(example.usage)) == priced.amount


def test_every_charge_model_is_told() -> None:
    assert TEXT.count("```yaml") == len(examples())
    assert [model for model in ChargeModel.values if model not in TEXT] == []


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.rate["charge_model"])
def test_an_example_is_an_entry_of_a_catalogue(example: Example) -> None:
    """As it stands in the text, blanks and all."""
    card = {"code": "public", "name": "Public", "currency": "USD", "effective_from": "2026-10-01T00:00:00Z"}

    meaning = meaning_of(read_document({"rate_cards": [{**card, "rates": [example.rate]}]}))

    assert meaning
