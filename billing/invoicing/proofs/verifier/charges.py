"""
What a quantity costs: the twelve charge models, told once more in fractions. docs/charge-models.md has their examples.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any

from billing.invoicing.proofs.verifier.usage import Unreadable

ZERO = Fraction(0)


def _of(terms: Mapping[str, Any], name: str, default: int = 0) -> Fraction:
    value = terms.get(name)
    return Fraction(default) if value is None else Fraction(str(value))


@dataclass(frozen=True, slots=True, eq=False)
class Charge:
    """A charge model with its terms; of per_unit, unit_price and unit_size are among them."""

    model: str
    terms: Mapping[str, Any]

    @property
    def is_by_event(self) -> bool:
        asked = ("fixed_per_event", "free_events", "min_per_event")
        has_maximum = self.terms.get("max_per_event") is not None
        return self.model == "percentage" and (has_maximum or any(_of(self.terms, name) for name in asked))

    @property
    def is_by_window(self) -> bool:
        return self.terms.get("per") == "window"

    @property
    def flat(self) -> Fraction:
        """What is owed without any usage of the meter."""
        return ZERO if self.is_by_event or self.is_by_window else self.amount(ZERO)

    @property
    def minimum(self) -> Fraction:
        if self.model == "minimum_commitment":
            return _of(self.terms, "amount")
        return ZERO if self.model in ("flat", "maximum_commitment") else _of(self.terms, "minimum")

    def amount(self, quantity: Fraction) -> Fraction:
        """What so much costs in all, or in one window."""
        if self.model not in ("package", "percentage"):
            quantity -= _of(self.terms, "free_units")
        if self.model not in _AMOUNTS:
            raise Unreadable(f"charge model {self.model!r} is not known to this verifier")
        return self._at_most(_AMOUNTS[self.model](self.terms, max(quantity, ZERO)))

    def each(self, values: Iterable[Fraction]) -> list[Fraction]:
        """What each event costs in its turn, by its value."""
        terms, paid, found = self.terms, ZERO, []
        events_left = _of(terms, "free_events") or None
        total_left = _of(terms, "free_total") or None
        is_free = events_left is not None or total_left is not None
        for value in values:
            charged = max(value, ZERO)
            if value > 0 and is_free:
                covered = value if total_left is None else min(value, total_left)
                charged -= covered
                total_left = None if total_left is None else total_left - covered
                events_left = None if events_left is None else events_left - 1
                is_free = events_left != 0
            price = ZERO
            if charged:
                price = charged * _of(terms, "rate_percent") / 100 + _of(terms, "fixed_per_event")
                price = max(price, _of(terms, "min_per_event"))
                highest = terms.get("max_per_event")
                price = price if highest is None else min(price, Fraction(str(highest)))
            price = self._at_most(paid + price) - paid
            paid += price
            found.append(price)
        return found

    def _at_most(self, amount: Fraction) -> Fraction:
        maximum = self.terms.get("maximum")
        return amount if maximum is None else min(amount, Fraction(str(maximum)))


def _tiers(terms: Mapping[str, Any]) -> list[tuple[Fraction, Fraction | None, Fraction, Fraction]]:
    """Above, up to, price of one unit, flat amount."""
    found, above = [], ZERO
    for tier in terms["tiers"]:
        up_to = None if tier.get("up_to") is None else _of(tier, "up_to")
        is_share = "rate_percent" in tier
        price = _of(tier, "rate_percent") / 100 if is_share else _of(tier, "unit_price") / _of(terms, "unit_size", 1)
        found.append((above, up_to, price, _of(tier, "flat")))
        above = above if up_to is None else up_to
    return found


def _is_free(terms: Mapping[str, Any], quantity: Fraction, *, is_flat_always: bool) -> bool:
    flag = terms.get("flat_without_usage")
    return not quantity and not (is_flat_always if flag is None else flag)


def _graduated(terms: Mapping[str, Any], quantity: Fraction, *, is_flat_always: bool = True) -> Fraction:
    if _is_free(terms, quantity, is_flat_always=is_flat_always):
        return ZERO
    amount = ZERO
    for above, up_to, price, flat in _tiers(terms):
        if quantity > above or not above:
            amount += flat + ((quantity if up_to is None else min(quantity, up_to)) - above) * price
    return amount


def _graduated_percentage(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    return _graduated(terms, quantity, is_flat_always=False)


def _volume(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    if _is_free(terms, quantity, is_flat_always=True):
        return ZERO
    price, flat = next((tier[2], tier[3]) for tier in _tiers(terms) if tier[1] is None or quantity <= tier[1])
    return quantity * price + flat


def _package(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    packages = max(quantity - _of(terms, "free_units"), ZERO) / _of(terms, "package_size")
    return (floor(packages) if terms.get("round") == "down" else ceil(packages)) * _of(terms, "package_price")


def _blocks(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    amount, above = ZERO, ZERO
    for tier in terms["tiers"]:
        size, price = _of(tier, "block_size"), _of(tier, "price_per_block")
        is_last = tier is terms["tiers"][-1] or tier.get("max_blocks") is None
        end = quantity if is_last else above + _of(tier, "max_blocks") * size
        if terms["mode"] == "top_tier" and quantity <= end:
            return ceil(quantity / size) * price
        if terms["mode"] == "all_tiers" and quantity > above:
            amount += ceil((min(quantity, end) - above) / size) * price
        above = end
    return amount


def _per_unit(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    return quantity * _of(terms, "unit_price") / _of(terms, "unit_size", 1)


def _cost_plus(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    cost = _of(terms, "cost_price") * (100 + _of(terms, "margin_percent")) / 100
    return quantity * (cost + _of(terms, "platform_fee")) / _of(terms, "unit_size", 1)


def _percentage(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    return max(quantity - _of(terms, "free_total"), ZERO) * _of(terms, "rate_percent") / 100


def _flat(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    return _of(terms, "amount")


def _nothing(terms: Mapping[str, Any], quantity: Fraction) -> Fraction:
    return ZERO


_AMOUNTS = {
    "per_unit": _per_unit,
    "graduated": _graduated,
    "volume": _volume,
    "package": _package,
    "percentage": _percentage,
    "graduated_percentage": _graduated_percentage,
    "blocks": _blocks,
    "cost_plus": _cost_plus,
    "flat": _flat,
    "minimum_commitment": _nothing,
    "maximum_commitment": _nothing,
}
