"""Any price that can be written down: terms as the catalogue's document has them, amounts as text."""

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from billing.rating.charges import Charge, charge_of

# Quantities on and between the bounds of tiers, which are whole or halves.
quantities = st.one_of(
    st.integers(0, 60).map(Decimal),
    st.integers(0, 120).map(lambda halves: Decimal(halves) / 2),
    st.decimals(0, 10**9, places=6),
)
sizes = st.sampled_from(["1", "10", "1000", "1000000"])


def amounts(most: int = 1000, places: int = 4) -> st.SearchStrategy[str]:
    return st.decimals(0, most, places=places).map(lambda amount: f"{amount:f}")


@st.composite
def tier_rows(draw: st.DrawFn, field: str = "unit_price") -> list[dict[str, Any]]:
    ends = sorted(draw(st.sets(st.integers(1, 100), max_size=4)))
    bounds = [*(f"{Decimal(end) / 2:f}" for end in ends), None]
    return [{"up_to": up_to, field: draw(amounts()), "flat": draw(amounts(50, 2))} for up_to in bounds]


@st.composite
def block_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    count = draw(st.integers(1, 4))
    rows = [
        {
            "block_size": draw(st.sampled_from(["0.5", "1", "3", "7", "10"])),
            "max_blocks": str(draw(st.integers(1, 5))),
            "price_per_block": draw(amounts()),
        }
        for _ in range(count)
    ]
    return [*rows[:-1], {**rows[-1], "max_blocks": draw(st.sampled_from([None, rows[-1]["max_blocks"]]))}]


def _terms(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


_bounds: dict[str, Any] = {"maximum": st.integers(50, 3000).map(str), "minimum": st.integers(0, 50).map(str)}
_free = {"free_units": amounts(20, 1), **_bounds}
_by_event: dict[str, Any] = {
    "fixed_per_event": amounts(3, 2),
    "free_events": st.integers(0, 4),
    "free_total": amounts(60, 1),
    "min_per_event": amounts(2, 2),
    "max_per_event": st.integers(2, 20).map(str),
}
MODELS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "per_unit": _terms({"unit_price": amounts(), "unit_size": sizes.map(int)}, {}),
    "graduated": _terms({"tiers": tier_rows()}, {"unit_size": sizes, "flat_without_usage": st.booleans(), **_free}),
    "volume": _terms({"tiers": tier_rows()}, {"unit_size": sizes, "flat_without_usage": st.booleans(), **_free}),
    "package": _terms(
        {"package_size": st.sampled_from(["0.5", "3", "7", "10"]), "package_price": amounts()},
        {"free_units": amounts(20, 1), "round": st.sampled_from(["up", "down"]), **_bounds},
    ),
    "percentage": _terms({"rate_percent": amounts(100, 3)}, {**_by_event, **_bounds}),
    "graduated_percentage": _terms(
        {"tiers": tier_rows("rate_percent")}, {"flat_without_usage": st.booleans(), **_free}
    ),
    "blocks": _terms({"mode": st.sampled_from(["all_tiers", "top_tier"]), "tiers": block_rows()}, _free),
    "cost_plus": _terms(
        {"cost_price": amounts()},
        {"unit_size": sizes, "margin_percent": amounts(100, 2), "platform_fee": amounts(5, 3), **_free},
    ),
}
# Those whose price never falls as usage grows.
RISING = ("per_unit", "graduated", "package", "graduated_percentage", "cost_plus")


def prices(*models: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """A charge model and its terms: of those named, or of all."""
    return st.sampled_from(models or tuple(MODELS)).flatmap(lambda one: st.tuples(st.just(one), MODELS[one]))


def read(price: tuple[str, dict[str, Any]]) -> Charge:
    charge_model, terms = price
    if charge_model == "per_unit":
        return charge_of(charge_model, {}, unit_price=Decimal(terms["unit_price"]), unit_size=terms["unit_size"])
    return charge_of(charge_model, terms)
