"""What a check yields: two figures that should be equal, and what it means if they are not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

Figure = Decimal | int | str | None
BEYOND_IDS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Pair:
    """Two figures of one thing. They agree when they are equal; None stands for "there is none"."""

    # What the figures are of: a window, a line, an event id.
    subject: str
    left_name: str
    left: Figure
    right_name: str
    right: Figure
    # Said only when they part: what it means and where to look.
    explanation: str
    customer_key: str = ""
    # Stripe's id of the object concerned, if any: links followers to a webhook that never arrived.
    stripe_id: str = ""

    @property
    def agrees(self) -> bool:
        return self.left == self.right


@dataclass(frozen=True, slots=True)
class Agreed:
    """So many pairs were compared by the database and found equal."""

    pairs: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """So many pairs could not be compared, as one side is in an archive. They are neither right nor wrong."""

    pairs: int


@dataclass(slots=True)
class Scope:
    """
    What one run, or a slice of it, looks at. `unheard` is filled by the check of events for the checks after it.

    Of customers those with ids in [customers_from, customers_until); the key of nobody counts as the id 0.
    """

    range_start: datetime
    range_end: datetime
    # Stripe object id -> the event about it that never reached a projection.
    unheard: dict[str, str] = field(default_factory=dict)
    customers_from: int = 0
    customers_until: int = BEYOND_IDS

    @property
    def bounds(self) -> dict[str, Any]:
        """The range and the customers as parameters of SQL."""
        return {
            "range_start": self.range_start,
            "range_end": self.range_end,
            "customers_from": self.customers_from,
            "customers_until": self.customers_until,
        }


Findings = Iterator[Pair | Agreed | SetAside]
Check = Callable[[Scope], Findings]


class Slicing(Enum):
    """By what a check may be done in parts that together find what it finds at once."""

    WHOLE = "whole"
    DAYS = "days"
    CUSTOMERS = "customers"


@dataclass(frozen=True, slots=True)
class Part:
    """A check, or what of it can be sliced in one way."""

    slicing: Slicing
    check: Check


def shown(figure: Figure) -> str:
    """Write a figure for a person: no exponent, no trailing zeros, "none" where there is nothing."""
    if figure is None:
        return "none"
    if isinstance(figure, Decimal):
        text = f"{figure:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(figure)
