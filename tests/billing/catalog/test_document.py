"""What a catalogue document may say."""

from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest

from billing.catalog.document import CatalogInvalid, read_document, read_yaml
from billing.catalog.wanted import exact_amount, meaning_of

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
    meaning = meaning_of(read_document(read_yaml(DOCUMENT)))

    rates = {key.meter_code: price.unit_price for key, price in meaning.cards["public"].rates.items()}
    assert rates == {"input_tokens": Decimal("6.25"), "output_tokens": Decimal(25)}
    assert meaning.versions["pro", 1, "USD"].pools[0].amount == Decimal("20.10")


def test_instants_are_brought_to_utc() -> None:
    (key, _) = meaning_of(read_document(read_yaml(DOCUMENT))).cards["public"].rates

    assert key.effective_from.isoformat() == "2025-12-31T23:00:00+00:00"


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


@pytest.mark.parametrize(
    "written", ["-1", "NaN", "Infinity", "twenty", "0.0000000000001", "1e15", "1_0", "\uff11", ".5", "", "1" * 16]
)
def test_what_is_no_amount_is_refused(written: str) -> None:
    with pytest.raises(CatalogInvalid, match="the price"):
        exact_amount(written, "the price")


@pytest.mark.parametrize("text", ["- a list", "a: [", "", "!!python/object/apply:os.getcwd []"])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(CatalogInvalid):
        read_yaml(text)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["plans", 0, "versions", 0, "interval_count"], 37, "Stripe bills 36 months at most"),
        (["plans", 0, "versions", 0, "trial_days"], 731, "730 days at most"),
        (["plans", 0, "versions", 0, "time_zone"], "Europe/Berlin", "count in UTC"),
        (["plans", 0, "versions", 0, "time_zone"], "Europe/Berln", "there is no time_zone 'Europe/Berln'"),
        (["plans", 0, "versions", 0, "max_seats"], 0, "max_seats"),
        (["plans", 0, "versions", 0, "fee_tiers"], [{"up_to": None, "unit_minor": 1}], "the fee is said twice"),
        (["plans", 0, "versions", 0, "allowances"], [{"code": "a", "name": "A", "amount": "1"}], "short for one"),
        (["rate_cards", 0, "models", 0, "rates"], {"a\n": "1"}, "rates"),
        (["rate_cards", 0, "effective_from"], "0001-01-01T00:00:00+10:00", "no calendar holds"),
        (["rate_cards", 0, "rates"], [{"meter_code": "m"}], "per_unit needs a unit_price"),
        (["rate_cards", 0, "rates"], [{"charge_model": "flat", "terms": {}}], "amount"),
        (["rate_cards", 0, "rates"], [{"meter_code": "m", "charge_model": "flat"}], "leave meter_code and dimensions"),
        (["rate_cards", 0, "rates"], [{"charge_model": "volume"}], "name its meter_code"),
        (["rate_cards", 0, "rates"], [{"meter_code": "m", "charge_model": "guess"}], "charge_model is one of per_unit"),
        (
            ["rate_cards", 0, "rates"],
            [{"meter_code": "m", "charge_model": "graduated", "terms": {"tiers": [{"up_to": "1", "unit_price": "1"}]}}],
            "nothing is priced above 1",
        ),
    ],
)
def test_what_does_not_agree_with_itself_is_refused(path: list[Any], value: object, words: str) -> None:
    with pytest.raises(CatalogInvalid) as refusal:
        meaning_of(read_document(changed(path, value)))

    assert words in str(refusal.value)


@pytest.mark.parametrize("currency", ["KWD", "ISK"])
def test_a_fee_that_stripe_cannot_charge_is_refused(currency: str) -> None:
    document = changed(["rate_cards", 0, "currency"], currency)
    document["plans"][0]["versions"][0] |= {"currency": currency, "fee_minor": 1005}

    with pytest.raises(CatalogInvalid, match=f"Stripe charges {currency} in steps of"):
        meaning_of(read_document(document))


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: &x []\nb: *x", 'a: "\\0"', "1: 2", "[" * 5000, "a: 2026-02-31"])
def test_what_would_be_read_as_something_else_is_refused(text: str) -> None:
    with pytest.raises(CatalogInvalid):
        read_yaml(text)


@pytest.mark.parametrize("value", ["!!timestamp x", "!!bool maybe", "!!int 1", "! a", "!!map {}", "{<<: {b: 1}}"])
def test_tags_and_merged_mappings_are_refused(value: str) -> None:
    with pytest.raises(CatalogInvalid, match=r"tags \(!!name\) are not read|mappings are not merged"):
        read_yaml(f"a: {value}")


@pytest.mark.parametrize(("one", "other"), [(10, "10"), ("1.5", "1.50"), ("0", "0.00"), ("007", 7)])
def test_numbers_in_terms_mean_the_same_however_they_are_written(one: object, other: object) -> None:
    def meant(number: object) -> Any:
        cell = {"dimensions": {"model": "1.50"}, "unit_price": number}
        rate = {"meter_code": "m", "charge_model": "matrix", "terms": {"cells": [cell]}}
        return meaning_of(read_document(changed(["rate_cards", 0, "rates"], [rate])))

    assert meant(one) == meant(other)
    assert any('"model":"1.50"' in price.terms for price in meant(one).cards["public"].rates.values())


def test_a_float_is_refused_wherever_it_stands() -> None:
    with pytest.raises(CatalogInvalid, match=r"float.*terms\.x"):
        read_document({"rate_cards": [{"rates": [{"terms": {"x": 0.1}}]}]})
