"""
What of an hour's price is one event's, and who paid for it. Pure and deterministic: computed again it is the same.

Decision 0018: an hour's usage of one price is allocated as a whole. Its events take from that in the order of time,
source and id: each its part of the quantity by weight, of that the price it adds, and from those who paid for the hour
one after another. All parts of an hour add up to the hour exactly, so all events of a period to the period.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal, Inexact, InvalidOperation
from itertools import accumulate

from billing.rating.rating import DECIMAL_PLACES, EXACT, ZERO, RatingError

_SMALLEST = Decimal(1).scaleb(-DECIMAL_PLACES)
# Wide enough that only the last step, to 12 places, drops anything.
_DOWN = Context(prec=160, rounding=ROUND_DOWN, traps=[InvalidOperation])

Price = Callable[[Decimal], Decimal]
"""The cumulative price of an hour's first so many units, less what was paid before the hour."""


@dataclass(frozen=True, slots=True)
class Paid:
    """
    What one source paid: currency units, and the units of usage it paid them for.

    `kind` is allowance, grant or unbilled; `id` the allowance's or grant's, None for what is left to invoice.
    """

    kind: str
    id: int | None
    amount: Decimal
    quantity: Decimal = ZERO

    def plus(self, other: "Paid") -> "Paid":
        return Paid(self.kind, self.id, EXACT.add(self.amount, other.amount), EXACT.add(self.quantity, other.quantity))


@dataclass(frozen=True, slots=True)
class Share:
    """What of an hour is one event's: units, currency units, and who paid these. `paid` adds up to `amount`."""

    quantity: Decimal
    amount: Decimal
    paid: tuple[Paid, ...]


def shares(
    weights: Sequence[Decimal],
    *,
    quantity: Decimal,
    amount: Decimal,
    sources: Sequence[Paid],
    price: Price | None = None,
    amounts: Sequence[Decimal] | None = None,
) -> list[Share]:
    """
    Return the share of each event, in order. `weights` are theirs; `quantity`, `amount`, `sources` are the hour's.

    With `price` an event's amount is what it adds to the price; without, its part of the quantity. `amounts` are what
    prices by the event say themselves. No amount is below zero, whatever a price does as usage grows.
    """
    parts = parted(quantity, weights)
    if amounts is not None:
        costs = list(amounts)
    elif price is None:
        costs = parted(amount, parts)
    else:
        costs = _added(parts, amount, price)
    by_amounts = _taken(costs, [one.amount for one in sources])
    by_quantities = _taken(parts, [one.quantity for one in sources])
    return [
        Share(part, cost, _paid(sources, by_amount, by_quantity))
        for part, cost, by_amount, by_quantity in zip(parts, costs, by_amounts, by_quantities, strict=True)
    ]


def parted(whole: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """
    Part a whole by weights, with 12 places: up to each event what its and all weights before it say, rounded down; so
    the last one has what is left, and the parts add up to the whole. Where nothing weighs, the last one has it all; of
    nothing, weights that take each other away are the parts themselves.
    """
    if not weights:
        return []
    summed = list(accumulate(weights, EXACT.add))
    if not summed[-1]:
        return [*(ZERO for _ in weights[1:]), whole] if whole else list(weights)
    reached = [_portion(whole, so_far, summed[-1]) for so_far in summed]
    return _differences(reached)


def _portion(whole: Decimal, weight: Decimal, total: Decimal) -> Decimal:
    if weight == total:
        return whole
    return _DOWN.quantize(_DOWN.divide(_DOWN.multiply(whole, weight), total), _SMALLEST)


def _added(parts: Sequence[Decimal], amount: Decimal, price: Price) -> list[Decimal]:
    """What each part adds to the price of the hour: never below zero, and in all what the hour pays."""
    try:
        reached = [min(max(price(so_far), ZERO), amount) for so_far in accumulate(parts, EXACT.add)]
    except (Inexact, InvalidOperation, RatingError):
        # Only the hour's whole quantity has an exact price.
        return parted(amount, parts)
    if reached:
        reached[-1] = amount
    lowest_later = list(accumulate(reversed(reached), min))[::-1]
    return _differences(lowest_later)


def _differences(reached: Sequence[Decimal]) -> list[Decimal]:
    return [EXACT.subtract(now, before) for before, now in zip([ZERO, *reached[:-1]], reached, strict=True)]


def _taken(wanted: Sequence[Decimal], available: Sequence[Decimal]) -> Iterator[dict[int, Decimal]]:
    """By place of the source, what each of `wanted` takes: the sources are used up one after another."""
    left = list(available)
    place = 0
    for amount in wanted:
        rest, taken = amount, dict[int, Decimal]()
        while rest and place < len(left):
            part = min(rest, left[place])
            if part:
                taken[place] = part
                left[place] = EXACT.subtract(left[place], part)
                rest = EXACT.subtract(rest, part)
            if not left[place]:
                place += 1
        yield taken


def _paid(sources: Sequence[Paid], by_amount: dict[int, Decimal], by_quantity: dict[int, Decimal]) -> tuple[Paid, ...]:
    return tuple(
        Paid(one.kind, one.id, by_amount.get(place, ZERO), by_quantity.get(place, ZERO))
        for place, one in enumerate(sources)
        if place in by_amount or place in by_quantity
    )
