"""
What usage costs, told a second time: from the catalogue's rows alone, in fractions, by no line of the engine's code.

It knows totals only, not who paid when: what a price asks for all of a period's usage. Where the two parts differ, one
of them is wrong; so nothing here may be imported from billing.rating.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Any

ZERO = Fraction(0)


@dataclass(slots=True)
class Used:
    """The usage of one price in one period: its whole quantity, and its windows and events where the price asks so."""

    quantity: Fraction = ZERO
    windows: list[Fraction] = field(default_factory=list)
    events: list[Fraction] = field(default_factory=list)

    def add(self, quantity: Fraction, windows: Sequence[Fraction] = (), events: Sequence[Fraction] = ()) -> None:
        self.quantity += quantity
        self.windows += windows
        self.events += events


@dataclass(frozen=True, slots=True)
class Price:
    """A charge model with its terms, as the catalogue holds them; of per_unit, its two columns are among the terms."""

    model: str
    terms: Mapping[str, Any]

    @property
    def is_by_window(self) -> bool:
        return self.terms.get("per") == "window"

    @property
    def is_by_event(self) -> bool:
        asked = ("fixed_per_event", "free_events", "min_per_event")
        return self.model == "percentage" and (
            any(_number(self.terms, name) for name in asked) or self.terms.get("max_per_event") is not None
        )

    def of(self, used: Used) -> Fraction:
        """What the usage costs, without what a minimum lacks."""
        if self.is_by_event:
            return self._at_most(_events(self.terms, used.events))
        if self.is_by_window:
            return sum((self._bounded(window) for window in used.windows), ZERO)
        return self._bounded(used.quantity)

    @property
    def minimum(self) -> Fraction:
        return _number(self.terms, "minimum")

    def _bounded(self, quantity: Fraction) -> Fraction:
        if self.model != "package":
            quantity -= _number(self.terms, "free_units")
        return self._at_most(_MODELS[self.model](self.terms, max(quantity, ZERO)))

    def _at_most(self, amount: Fraction) -> Fraction:
        maximum = self.terms.get("maximum")
        return amount if maximum is None else min(amount, Fraction(str(maximum)))


def cell_of(terms: Mapping[str, Any], dimensions: Mapping[str, Any]) -> int | None:
    """The place of a matrix's cell that prices usage of these dimensions: the one that names most of its values."""
    fitting = [
        (-len(cell["dimensions"]), place)
        for place, cell in enumerate(terms["cells"])
        if all(dimensions.get(name) == value for name, value in cell["dimensions"].items())
    ]
    return min(fitting)[1] if fitting else None


def price_of_cell(terms: Mapping[str, Any], place: int) -> Price:
    values = {**(terms.get("each") or {}), **terms["cells"][place]}
    return Price(values.get("charge_model", "per_unit"), values)


def _number(terms: Mapping[str, Any], name: str, default: int = 0) -> Fraction:
    value = terms.get(name)
    return Fraction(default) if value is None else Fraction(str(value))


def _per_unit(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    return quantity * _number(terms, "unit_price") / _number(terms, "unit_size", 1)


def _cost_plus(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    cost = _number(terms, "cost_price") * (1 + _number(terms, "margin_percent") / 100)
    return quantity * (cost + _number(terms, "platform_fee")) / _number(terms, "unit_size", 1)


def _tiers(terms: Mapping[str, Any]) -> list[tuple[Fraction, Fraction | None, Fraction, Fraction]]:
    """Above, up to, price of one unit, flat amount."""
    found = []
    above = ZERO
    for tier in terms["tiers"]:
        up_to = None if tier.get("up_to") is None else Fraction(str(tier["up_to"]))
        size = _number(terms, "unit_size", 1)
        price = _number(tier, "unit_price") / size if "unit_price" in tier else _number(tier, "rate_percent") / 100
        found.append((above, up_to, price, _number(tier, "flat")))
        above = up_to if up_to is not None else above
    return found


def _asks_nothing(terms: Mapping[str, Any], quantity: Fraction, *, default: bool) -> bool:
    flag = terms.get("flat_without_usage")
    return not quantity and not (default if flag is None else flag)


def _graduated(terms: Mapping[str, Any], quantity: Fraction, *, flat_always: bool = True) -> Fraction:
    if _asks_nothing(terms, quantity, default=flat_always):
        return ZERO
    amount = ZERO
    for above, up_to, price, flat in _tiers(terms):
        if quantity > above or not above:
            amount += flat + (min(quantity, up_to if up_to is not None else quantity) - above) * price
    return amount


def _graduated_percentage(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    return _graduated(terms, quantity, flat_always=False)


def _volume(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    if _asks_nothing(terms, quantity, default=True):
        return ZERO
    _, _, price, flat = next(tier for tier in _tiers(terms) if tier[1] is None or quantity <= tier[1])
    return quantity * price + flat


def _package(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    packages = max(quantity - _number(terms, "free_units"), ZERO) / _number(terms, "package_size")
    return (floor(packages) if terms.get("round") == "down" else ceil(packages)) * _number(terms, "package_price")


def _blocks(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    amount, left, above = ZERO, quantity, ZERO
    last = len(terms["tiers"]) - 1
    for place, tier in enumerate(terms["tiers"]):
        size, price = _number(tier, "block_size"), _number(tier, "price_per_block")
        room = left if place == last or tier.get("max_blocks") is None else _number(tier, "max_blocks") * size
        if terms["mode"] == "top_tier":
            if quantity <= above + room:
                return ceil(quantity / size) * price
        elif left:
            amount += ceil(min(left, room) / size) * price
        left, above = max(left - room, ZERO), above + room
    return amount


def _percentage(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    return max(quantity - _number(terms, "free_total"), ZERO) * _number(terms, "rate_percent") / 100


def _events(terms: Mapping[str, Any], events: Sequence[Fraction]) -> Fraction:
    """What is free ends with the free events or the free total, whichever is reached first."""
    amount = ZERO
    events_left = _number(terms, "free_events") or None
    total_left = _number(terms, "free_total") or None
    is_free = events_left is not None or total_left is not None
    for value in events:
        if value <= 0:
            continue
        charged = value
        if is_free:
            covered = value if total_left is None else min(value, total_left)
            charged -= covered
            total_left = None if total_left is None else total_left - covered
            events_left = None if events_left is None else events_left - 1
            is_free = events_left != 0 and total_left != 0
        if charged:
            price = charged * _number(terms, "rate_percent") / 100 + _number(terms, "fixed_per_event")
            price = max(price, _number(terms, "min_per_event"))
            highest = terms.get("max_per_event")
            amount += price if highest is None else min(price, Fraction(str(highest)))
    return amount


def _flat(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    return _number(terms, "amount")


def _nothing(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    return ZERO


_MODELS = {
    "per_unit": _per_unit,
    "cost_plus": _cost_plus,
    "graduated": _graduated,
    "graduated_percentage": _graduated_percentage,
    "volume": _volume,
    "package": _package,
    "blocks": _blocks,
    "percentage": _percentage,
    "flat": _flat,
    "minimum_commitment": _nothing,
    "maximum_commitment": _nothing,
}
