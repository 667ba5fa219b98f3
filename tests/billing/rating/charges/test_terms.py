"""Terms that cannot be meant are refused, each with the field and what to do about it."""

import math
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.rating.charges import Basis, Charge, ChargeModel, InvalidTerms, charge_of, charge_of_rate
from billing.rating.rating import RatingError
from tests.billing.rating.charges.strategies import MODELS

TIER = {"up_to": None, "unit_price": "1"}
BLOCK = {"block_size": "10", "max_blocks": None, "price_per_block": "1"}
CELL = {"dimensions": {"model": "auto"}, "unit_price": "1"}

REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("graduated", {}, "tiers", "at least one entry"),
    ("graduated", {"tiers": []}, "tiers", "at least one entry"),
    ("graduated", {"tiers": "5"}, "tiers", "at least one entry"),
    ("graduated", {"tiers": [5]}, "tiers[0]", "no set of terms"),
    ("graduated", {"tiers": [{"up_to": None}]}, "tiers[0].unit_price", "is missing"),
    ("graduated", {"tiers": [{**TIER, "up_to": "5"}]}, "tiers", "nothing is priced above 5"),
    ("graduated", {"tiers": [TIER, TIER]}, "tiers[1].up_to", "put that one last"),
    ("graduated", {"tiers": [{**TIER, "up_to": "5"}, {**TIER, "up_to": "5"}, TIER]}, "tiers[1].up_to", "not above 5"),
    ("graduated", {"tiers": [{**TIER, "up_to": "0"}, TIER]}, "tiers[0].up_to", "not above 0"),
    ("graduated", {"tiers": [{**TIER, "unit_price": 1.5}]}, "tiers[0].unit_price", "not exact; write it as text"),
    ("graduated", {"tiers": [{**TIER, "unit_price": "-1"}]}, "tiers[0].unit_price", "at least zero"),
    ("graduated", {"tiers": [{**TIER, "unit_price": "1e3"}]}, "tiers[0].unit_price", "at least zero"),
    ("graduated", {"tiers": [{**TIER, "unit_price": "١"}]}, "tiers[0].unit_price", "at least zero"),
    ("graduated", {"tiers": [{**TIER, "unit_price": "1_0"}]}, "tiers[0].unit_price", "at least zero"),
    ("graduated", {"tiers": [{**TIER, "unit_price": "1\n"}]}, "tiers[0].unit_price", "at least zero"),
    ("graduated", {"tiers": [{**TIER, "unit_price": "0." + "0" * 12 + "1"}]}, "tiers[0].unit_price", "12 places"),
    ("graduated", {"tiers": [{**TIER, "unit_price": True}]}, "tiers[0].unit_price", "not exact"),
    ("graduated", {"tiers": [{**TIER, "unit_price": Decimal("NaN")}]}, "tiers[0].unit_price", "at least zero"),
    ("graduated", {"tiers": [{**TIER, "flatt": "1"}]}, "tiers[0].flatt", "up_to, unit_price, flat"),
    ("graduated", {"tiers": [TIER], "unit_size": "3"}, "tiers[0].unit_price", "use a size such as 1000"),
    ("graduated", {"tiers": [TIER], "unit_size": "0"}, "unit_size", "above zero"),
    ("graduated", {"tiers": [TIER], "flat_without_usage": "no"}, "flat_without_usage", "neither true nor false"),
    ("graduated", {"tiers": [TIER], "minimun": "5"}, "minimun", "is no term of this price"),
    ("graduated", {"tiers": [TIER], "minimum": "5", "maximum": "4"}, "maximum", "raise it"),
    ("graduated", {"tiers": [TIER], "per": "day"}, "per", "one of period, window"),
    ("graduated", {"tiers": [{**TIER, "unit_price": 10**5000}]}, "tiers[0].unit_price", "too large"),
    ("graduated", {"tiers": [{**TIER, "unit_price": -(10**30)}]}, "tiers[0].unit_price", "too large"),
    ("graduated", {"tiers": [{**TIER, "unit_price": Decimal("1E+999999")}]}, "tiers[0].unit_price", "at least zero"),
    ("graduated", {"tiers": [{**TIER, "unit_price": "9" * 5000}]}, "tiers[0].unit_price", "at least zero"),
    ("volume", {"tiers": [{**TIER, "unit_price": ""}]}, "tiers[0].unit_price", "at least zero"),
    ("package", {"package_price": "1"}, "package_size", "is missing"),
    ("package", {"package_size": "0", "package_price": "1"}, "package_size", "above zero"),
    ("package", {"package_size": "1", "package_price": "1", "round": "half_up"}, "round", "one of up, down"),
    ("percentage", {}, "rate_percent", "is missing"),
    ("percentage", {"rate_percent": "1", "free_events": "1.5"}, "free_events", "not a whole number"),
    ("percentage", {"rate_percent": "1", "min_per_event": "2", "max_per_event": "1"}, "max_per_event", "raise it"),
    ("percentage", {"rate_percent": "1", "fixed_per_event": "1", "per": "window"}, "per", "leave it away"),
    ("percentage", {"rate_percent": "1", "free_units": "1"}, "free_units", "is no term"),
    ("graduated_percentage", {"tiers": [TIER]}, "tiers[0].rate_percent", "is missing"),
    ("blocks", {"tiers": [BLOCK]}, "mode", "one of all_tiers, top_tier"),
    ("blocks", {"mode": "all_tiers", "tiers": [BLOCK, BLOCK]}, "tiers[1].max_blocks", "put that one last"),
    ("blocks", {"mode": "all_tiers", "tiers": [{**BLOCK, "max_blocks": "0"}]}, "tiers[0].max_blocks", "above zero"),
    ("blocks", {"mode": "all_tiers", "tiers": [{**BLOCK, "block_size": "0"}]}, "tiers[0].block_size", "above zero"),
    ("cost_plus", {}, "cost_price", "is missing"),
    ("cost_plus", {"cost_price": "1", "unit_size": "7"}, "unit_size", "use a size such as 1000"),
    ("cost_plus", {"cost_price": "1", "platform_fee": "2", "unit_size": "3"}, "unit_size", "use a size such as 1000"),
    ("flat", {}, "amount", "is missing"),
    ("flat", {"amount": "1", "maximum": "2"}, "maximum", "is no term"),
    ("minimum_commitment", {"amount": None}, "amount", "is missing"),
    ("maximum_commitment", {"amount": "-1"}, "amount", "at least zero"),
    ("matrix", {}, "cells", "at least one entry"),
    ("matrix", {"cells": [{"dimensions": {"model": 5}, "unit_price": "1"}]}, "cells[0].dimensions", "between quotes"),
    ("matrix", {"cells": [{"dimensions": "auto", "unit_price": "1"}]}, "cells[0].dimensions", "no set of terms"),
    ("matrix", {"cells": [{"dimensions": {}}]}, "cells[0].unit_price", "is missing"),
    ("matrix", {"cells": [{**CELL, "unit_size": 0}]}, "cells[0].unit_size", "above zero"),
    ("matrix", {"cells": [{**CELL, "charge_model": "matrix"}]}, "cells[0].charge_model", "one of per_unit, graduated"),
    ("matrix", {"cells": [{**CELL, "charge_model": "flat"}]}, "cells[0].charge_model", "one of per_unit, graduated"),
    ("matrix", {"cells": [{**CELL, "price": "1"}]}, "cells[0].price", "is no term of this price"),
    ("matrix", {"cells": [CELL, CELL]}, "cells[1].dimensions", "priced twice"),
    (
        "matrix",
        {"cells": [CELL, {"dimensions": {"class": "input"}, "unit_price": "1"}]},
        "cells[1].dimensions",
        "name the same dimensions in both",
    ),
    ("matrix", {"cells": [CELL], "each": {"dimensions": {}}}, "each.dimensions", "write dimensions in cells"),
    ("matrix", {"cells": [{**CELL, "charge_model": "graduated", "tiers": [{}]}]}, "cells[0].tiers[0].unit_price", ""),
    ("per_unit", {"minimum": "1"}, "minimum", "is no term"),
    ("free", {}, "charge_model", "write one of per_unit"),
]


@pytest.mark.parametrize(
    ("charge_model", "terms", "field", "remedy"), REFUSED, ids=[f"{one[0]}-{one[2]}" for one in REFUSED]
)
def test_terms_that_cannot_be_meant_are_refused(
    charge_model: str, terms: dict[str, Any], field: str, remedy: str
) -> None:
    with pytest.raises(InvalidTerms) as refusal:
        charge_of(charge_model, terms)

    assert refusal.value.field == field
    assert remedy in str(refusal.value)
    assert str(refusal.value).startswith(f"{field}: ")
    assert isinstance(refusal.value, RatingError)


@pytest.mark.parametrize(
    ("unit_price", "unit_size", "field"),
    [
        (None, 1, "unit_price"),
        (Decimal(-1), 1, "unit_price"),
        (1.5, 1, "unit_price"),
        (Decimal(1), None, "unit_size"),
        (Decimal(1), 0, "unit_size"),
        (Decimal(1), 1.0, "unit_size"),
        (Decimal(1), True, "unit_size"),
    ],
)
def test_a_unit_price_needs_both_its_fields(unit_price: Any, unit_size: Any, field: str) -> None:
    with pytest.raises(InvalidTerms) as refusal:
        charge_of("per_unit", {}, unit_price=unit_price, unit_size=unit_size)

    assert refusal.value.field == field


def test_a_unit_price_beside_terms_is_refused() -> None:
    with pytest.raises(InvalidTerms) as refusal:
        charge_of("flat", {"amount": "1"}, unit_price=Decimal(1))

    assert refusal.value.field == "unit_price"


@given(
    st.sampled_from([*ChargeModel.values, "nonsense"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["tiers", "cells", "each", "dimensions", "amount", "mode"]), inner)
        ),
        max_leaves=6,
    ),
)
def test_nonsense_is_refused_and_nothing_else_is_raised(charge_model: str, terms: Any) -> None:
    try:
        charge = charge_of(charge_model, terms)
    except InvalidTerms as refusal:
        assert refusal.field  # noqa: PT017 - what is drawn may be fine
    else:
        assert isinstance(charge, Charge)


@given(st.data())
def test_a_term_written_as_a_float_never_passes(data: st.DataObject) -> None:
    charge_model = data.draw(st.sampled_from([model for model in MODELS if model != "per_unit"]))
    terms = data.draw(MODELS[charge_model])
    place = data.draw(st.sampled_from(sorted(terms)))

    def with_float(value: Any) -> Any:
        if isinstance(value, list):
            return [{**row, next(iter(row)): math.pi} for row in value]
        return math.pi

    with pytest.raises(InvalidTerms):
        charge_of(charge_model, {**terms, place: with_float(terms[place])})


def test_numbers_may_be_text_whole_numbers_or_decimals() -> None:
    tiers = [{"up_to": 10, "unit_price": Decimal("1.500000000000")}, {"up_to": None, "unit_price": "0.5"}]

    assert charge_of("graduated", {"tiers": tiers}).amount(Decimal(12)) == 16


@pytest.mark.parametrize("charge_model", ChargeModel.without_meter())
def test_a_charge_of_the_period_needs_no_usage(charge_model: str) -> None:
    assert charge_of(charge_model, {"amount": "5"}).basis is Basis.PERIOD


def test_every_charge_model_can_be_read() -> None:
    known = {*MODELS, "matrix", *ChargeModel.without_meter()}

    assert known == set(ChargeModel.values)


def test_a_row_of_the_catalogue_is_read_by_its_fields() -> None:
    row = SimpleNamespace(charge_model="per_unit", terms={}, unit_price=Decimal("2.50"), unit_size=1_000_000)

    assert charge_of_rate(row).amount(Decimal(1_500)) == Decimal("0.00375")
