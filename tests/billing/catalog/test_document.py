"""What a catalogue document may say."""

from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest

from billing.catalog.document import CatalogInvalid, exact_amount, rates_of, read_document, read_yaml

DOCUMENT = """
rate_cards:
  - code: public
    name: Public
    currency: USD
    effective_from: 2026-01-01T00:00:00+01:00
    models:
      - model: opus
        rates: {input_tokens: 6.25, output_tokens: 25}
plans:
  - code: pro
    name: Pro
    versions:
      - {version: 1, currency: USD, fee_minor: 2000, included_amount: 20.10, rate_card: public}
"""


def changed(path: list[Any], value: object) -> dict[str, Any]:
    document: Any = deepcopy(read_yaml(DOCUMENT))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return dict(document)


def test_decimal_numbers_are_read_as_they_were_written() -> None:
    catalog = read_document(read_yaml(DOCUMENT))

    rates = {rate.meter_code: rate.unit_price for rate in rates_of(catalog.rate_cards[0])}
    assert rates == {"input_tokens": Decimal("6.25"), "output_tokens": Decimal(25)}
    assert catalog.plans[0].versions[0].included_amount == "20.10"


def test_instants_are_brought_to_utc() -> None:
    (rate, _) = rates_of(read_document(read_yaml(DOCUMENT)).rate_cards[0])

    assert rate.effective_from.isoformat() == "2025-12-31T23:00:00+00:00"


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (["rate_cards", 0, "models", 0, "rates", "input_tokens"], 6.25, "models[0].rates"),
        (["rate_cards", 0, "currency"], "usd", "currency"),
        (["rate_cards", 0, "effective_from"], "2026-01-01T00:00:00", "effective_from"),
        (["rate_cards", 0, "unit_size"], 0, "unit_size"),
        (["plans", 0, "versions", 0, "fee_minor"], "20.00", "fee_minor"),
        (["plans", 0, "versions", 0, "fee_minor"], -1, "fee_minor"),
        (["plans", 0, "versions", 0, "fee"], 2000, "fee"),
        (["plans", 0, "code"], "a b", "code"),
        (["plans", 0, "versions"], {}, "versions"),
    ],
)
def test_what_is_wrong_is_named(path: list[Any], value: object, place: str) -> None:
    with pytest.raises(CatalogInvalid) as refusal:
        read_document(changed(path, value))

    assert place in str(refusal.value)


@pytest.mark.parametrize("written", ["-1", "NaN", "Infinity", "twenty", "0.0000000000001", "1e15"])
def test_what_is_no_amount_is_refused(written: str) -> None:
    with pytest.raises(CatalogInvalid, match="the price"):
        exact_amount(written, "the price")


@pytest.mark.parametrize("text", ["- a list", "a: [", "", "!!python/object/apply:os.getcwd []"])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(CatalogInvalid):
        read_yaml(text)
