"""
An amount shared out by weights so that the parts add up to it exactly, to 12 places. Pure and deterministic.

Where the weights add up to the amount, they are the parts. Otherwise each has its proportion, rounded down; what is
left, some units of the twelfth place, goes to the largest remainders; of equal ones to the first in order.
"""

from collections.abc import Hashable, Mapping, Sequence
from decimal import ROUND_FLOOR, Context, Decimal, InvalidOperation, localcontext
from typing import TypeVar

from billing.rating.explanation.shares import parted
from billing.rating.rating import DECIMAL_PLACES, EXACT, ZERO

_SMALLEST = Decimal(1).scaleb(-DECIMAL_PLACES)
# Wide enough that only the step to 12 places drops anything.
_WIDE = Context(prec=160, rounding=ROUND_FLOOR, traps=[InvalidOperation])

K = TypeVar("K", bound=Hashable)
Cell = tuple[int, int]
"""A piece of time, from 0, and a holder."""


def share_out(amount: Decimal, weights: Mapping[K, Decimal], *, order: Sequence[K] | None = None) -> dict[K, Decimal]:
    """
    Return each one's part. `order` settles who of two equal remainders comes first; without it the mapping's does.

    Raises ValueError where there is an amount and no weight to share it by.
    """
    with localcontext(EXACT):
        total = sum(weights.values(), ZERO)
    if total == amount:
        return {key: weight for key, weight in weights.items() if weight}
    if not total:
        raise ValueError("there is no weight to share by")
    parts: dict[K, Decimal] = {}
    remainders: dict[K, Decimal] = {}
    with localcontext(_WIDE):
        for key in order or weights:
            exact = amount * weights[key] / total
            parts[key] = exact.quantize(_SMALLEST)
            remainders[key] = exact - parts[key]
        left = int((amount - sum(parts.values(), ZERO)) / _SMALLEST)
    for key in sorted(parts, key=lambda one: -remainders[one])[:left]:
        parts[key] = EXACT.add(parts[key], _SMALLEST)
    return {key: part for key, part in parts.items() if part}


def share_out_over_time(
    amount: Decimal, weights: Mapping[Cell, Decimal], *, pieces: int, otherwise: int
) -> dict[Cell, Decimal]:
    """
    Return the part of each (piece, holder): first of each piece, cumulatively, so that the parts of two neighbouring
    spans add up to that of both; then within the piece by `share_out`. What nothing weighs for is `otherwise`'s, in the
    first piece: what a period owes for itself is owed at its start.
    """
    with localcontext(EXACT):
        total = sum(weights.values(), ZERO)
        if total == amount:
            return {cell: weight for cell, weight in weights.items() if weight}
        if not total:
            return {(0, otherwise): amount}
        by_piece: list[dict[int, Decimal]] = [{} for _ in range(pieces)]
        for (piece, holder), weight in sorted(weights.items()):
            by_piece[piece][holder] = weight
        sums = [sum(of_piece.values(), ZERO) for of_piece in by_piece]
    found: dict[Cell, Decimal] = {}
    for piece, (part, of_piece) in enumerate(zip(parted(amount, sums), by_piece, strict=True)):
        shared = share_out(part, of_piece) if sums[piece] else {otherwise: part} if part else {}
        found |= {(piece, holder): given for holder, given in shared.items()}
    return found
