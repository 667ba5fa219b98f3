"""
What prices come to by fractions, straight from their terms: nothing of the charge models is used, nor their methods.

Where the models look a tier up and keep what came before it, these walk through the units tier by tier; where they go
event by event with what is left to be free, these take prefix sums.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any

ZERO = Fraction(0)


def price(charge_model: str, terms: dict[str, Any], quantity: Fraction) -> Fraction:
    """The price of a period's quantity (of one window's, of one event's), within its bounds."""
    units = max(quantity, ZERO)
    if charge_model not in ("package", "percentage"):
        units = max(units - number(terms, "free_units"), ZERO)
    amount = _MODELS[charge_model](terms, units)
    return min(amount, number(terms, "maximum")) if "maximum" in terms else amount


def price_of_events(terms: dict[str, Any], values: Sequence[Fraction]) -> list[Fraction]:
    """What a percentage takes of each event."""
    counted = [max(value, ZERO) for value in values]
    running = list(accumulate(counted))
    free = _free_value(terms, counted, running)
    prices = []
    for value, until in zip(counted, running, strict=True):
        charged = until - max(until - value, min(free, until))
        price_ = charged * number(terms, "rate_percent") / 100 + number(terms, "fixed_per_event")
        price_ = max(price_, number(terms, "min_per_event"))
        if terms.get("max_per_event") is not None:
            price_ = min(price_, number(terms, "max_per_event"))
        prices.append(price_ if charged else ZERO)
    return prices


def number(terms: dict[str, Any], field: str) -> Fraction:
    return Fraction(terms.get(field) or 0)


def _free_value(terms: dict[str, Any], counted: list[Fraction], running: list[Fraction]) -> Fraction:
    """How much of the running total is free: up to the last free event or the free total, whichever is less."""
    limits = []
    if terms.get("free_events"):
        # Events without a value use up nothing.
        of_value = [until for value, until in zip(counted, running, strict=True) if value]
        ended = of_value[int(terms["free_events"]) - 1 :]
        limits.append(ended[0] if ended else max(running, default=ZERO))
    if number(terms, "free_total"):
        limits.append(number(terms, "free_total"))
    return min(limits, default=ZERO)


def _per_unit(terms: dict[str, Any], units: Fraction) -> Fraction:
    return units * number(terms, "unit_price") / Fraction(terms["unit_size"])


def _cost_plus(terms: dict[str, Any], units: Fraction) -> Fraction:
    cost = units * number(terms, "cost_price") / Fraction(terms.get("unit_size", 1))
    fee = units * number(terms, "platform_fee") / Fraction(terms.get("unit_size", 1))
    return cost + cost * number(terms, "margin_percent") / 100 + fee


def _graduated(terms: dict[str, Any], units: Fraction) -> Fraction:
    return _by_tier(terms, units, "unit_price", Fraction(terms.get("unit_size", 1)), is_flat_always=True)


def _graduated_percentage(terms: dict[str, Any], units: Fraction) -> Fraction:
    return _by_tier(terms, units, "rate_percent", Fraction(100), is_flat_always=False)


def _by_tier(terms: dict[str, Any], units: Fraction, field: str, size: Fraction, *, is_flat_always: bool) -> Fraction:
    amount, above = ZERO, ZERO
    for place, tier in enumerate(terms["tiers"]):
        is_reached = units > above or (place == 0 and terms.get("flat_without_usage", is_flat_always))
        end = units if tier["up_to"] is None else min(units, Fraction(tier["up_to"]))
        if is_reached:
            amount += number(tier, "flat") + max(end - above, ZERO) * number(tier, field) / size
        above = units if tier["up_to"] is None else Fraction(tier["up_to"])
    return amount


def _volume(terms: dict[str, Any], units: Fraction) -> Fraction:
    if not units and not terms.get("flat_without_usage", True):
        return ZERO
    fitting = [tier for tier in terms["tiers"] if tier["up_to"] is None or units <= Fraction(tier["up_to"])]
    return number(fitting[0], "flat") + units * number(fitting[0], "unit_price") / Fraction(terms.get("unit_size", 1))


def _package(terms: dict[str, Any], units: Fraction) -> Fraction:
    paid = max(units - number(terms, "free_units"), ZERO) / Fraction(terms["package_size"])
    return number(terms, "package_price") * (paid // 1 if terms.get("round") == "down" else -(-paid // 1))


def _percentage(terms: dict[str, Any], units: Fraction) -> Fraction:
    return price_of_events(terms, [units])[0]


def _blocks(terms: dict[str, Any], units: Fraction) -> Fraction:
    amount, left = ZERO, units
    for place, tier in enumerate(terms["tiers"]):
        size, blocks = Fraction(tier["block_size"]), tier["max_blocks"]
        is_last = place == len(terms["tiers"]) - 1
        here = left if is_last or blocks is None else min(left, size * Fraction(blocks))
        left -= here
        if terms["mode"] == "all_tiers":
            amount += -(-here / size // 1) * number(tier, "price_per_block")
        elif not left:
            return -(-units / size // 1) * number(tier, "price_per_block")
    return amount


_MODELS = {
    "per_unit": _per_unit,
    "cost_plus": _cost_plus,
    "graduated": _graduated,
    "graduated_percentage": _graduated_percentage,
    "volume": _volume,
    "package": _package,
    "percentage": _percentage,
    "blocks": _blocks,
}
