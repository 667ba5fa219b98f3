"""
What every charge model answers: the exact price of a quantity, and the steps by which a customer can follow it.

Pure. Quantities are in the meter's units, amounts in currency units. Every result is exact: what cannot be written
down exactly raises InexactAmount and is never rounded. More than 12 places is refused by who posts, not here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from billing.rating.rating import EXACT, ZERO, InvalidQuantity, RatingError, plain


class InvalidTerms(RatingError):
    """A price's terms cannot be used. `field` names the place, such as tiers[1].up_to; the text ends with a remedy."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class Basis(Enum):
    """Of what usage a price is a function."""

    QUANTITY = "quantity"
    """The quantity of the whole period: `amount` is its cumulative price."""
    WINDOW = "window"
    """The quantity of each window alone; the period's price is their sum."""
    EVENT = "event"
    """The value of each event in its turn, by `each`."""
    PERIOD = "period"
    """The period itself: no usage is needed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of an explanation. `amount` is what the line adds, in currency units; a reduction is below zero."""

    text: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Priced:
    """An exact price in currency units and how it comes about: the steps' amounts add up to it exactly."""

    amount: Decimal
    steps: tuple[Step, ...]

    @property
    def text(self) -> str:
        """The steps in one line."""
        return "; ".join(step.text for step in self.steps)


class Charge(ABC):
    """
    A price, once its terms were read. A quantity below zero counts as none; no price is below zero.

    Two prices are the same only if they are one object: the cells of a matrix stay apart, however alike.
    """

    basis: Basis = Basis.QUANTITY

    @property
    def reads_events(self) -> bool:
        """Whether some of the usage is priced event by event."""
        return self.basis is Basis.EVENT

    @property
    def unit_amount(self) -> Decimal | None:
        """The exact price of one unit where `amount` is quantity times it, else None."""
        return None

    @abstractmethod
    def amount(self, quantity: Decimal) -> Decimal:
        """Return the exact price of the period's (window's, event's) first `quantity` units."""

    @abstractmethod
    def explain(self, quantity: Decimal, currency: str) -> Priced:
        """Return `amount(quantity)` with its steps."""

    def each(self, values: Iterable[Decimal]) -> Iterator[Decimal]:
        """
        Yield what each value in its turn adds to the price, the first one with what is owed for no usage at all.

        That is below zero where a price falls as usage grows, such as at a volume's next tier.
        """
        quantity = paid = ZERO
        for value in values:
            quantity = EXACT.add(quantity, value)
            amount = self.amount(quantity)
            yield EXACT.subtract(amount, paid)
            paid = amount

    def explain_each(self, values: Iterable[Decimal], currency: str) -> Priced:
        """Return what these values (the events, the windows, or parts of the quantity) come to in all, with steps."""
        return self.explain(total(values), currency)

    def shortfall(self, amount: Decimal) -> Decimal:
        """Return what a period that came to `amount` still owes when it is over; 0 unless a minimum was agreed."""
        return ZERO

    def cell(self, dimensions: Mapping[str, Any]) -> "Charge | None":
        """Return the price of usage with these dimensions, None if there is none; itself but for a matrix."""
        return self


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    result = ZERO
    for amount in amounts:
        result = EXACT.add(result, amount)
    return result


def used(quantity: Decimal) -> Decimal:
    """Return the quantity to price: 0 for one below zero. Raises InvalidQuantity, and TypeError for no Decimal."""
    if not isinstance(quantity, Decimal):
        raise TypeError(f"a quantity must be Decimal, not {type(quantity).__name__}")
    if not quantity.is_finite():
        raise InvalidQuantity(f"quantity {quantity} is not a finite number")
    return max(quantity, ZERO)


def times(quantity: Decimal, price: Decimal, size: Decimal | int, currency: str) -> str:
    """Return such as 1,500 × 2.5 USD per 1,000,000."""
    per = "" if size == 1 else f" per {size:,}"
    return f"{plain(quantity)} × {plain(price)} {currency}{per}"


def money(amount: Decimal, currency: str) -> str:
    """Return the amount to its last place, such as 0.00375 USD."""
    return f"{plain(amount)} {currency}"
