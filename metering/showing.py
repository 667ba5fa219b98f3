"""Quantities, dimensions and states as people read them. Pure; nothing is rounded."""

from collections.abc import Mapping
from decimal import Decimal

from metering.queries import State

_PLACES_MAX = 12
NOTHING = "–"
NO_VALUE = "(none)"

STATES: Mapping[State, tuple[str, str]] = {
    "counted": ("Counted", "good"),
    "excluded": ("Excluded", "waiting"),
    "void": ("Void", "bad"),
    "waiting": ("Waiting for aggregation", "waiting"),
    "unmetered": ("No meter", "bad"),
}
"""The word for each state, and the colour of what it asks of the reader."""

REASONS: Mapping[str, str] = {
    "value_absent": "it has no value at the meter's path",
    "value_invalid": "its value is no quantity the meter can count",
    "filtered_out": "it matches none of the meter's filters",
}


def quantity_text(quantity: Decimal) -> str:
    """With all of its places, thousands apart: 1,234,567 or 0.5."""
    whole, _, places = f"{quantity:,.{_PLACES_MAX}f}".partition(".")
    places = places.rstrip("0")
    return f"{whole}.{places}" if places else whole


def reason_text(reason: str) -> str:
    return REASONS.get(reason, reason.replace("_", " "))


def dimensions_text(dimensions: Mapping[str, str | None]) -> str:
    """Such as "model: opus, region: eu"; a value that is not there says so."""
    return ", ".join(f"{name}: {NO_VALUE if value is None else value}" for name, value in sorted(dimensions.items()))
