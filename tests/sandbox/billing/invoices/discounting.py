"""How discounts are taken off lines: pure arithmetic in integer minor units.

Discounts apply one after another, each on what the ones before it left: first a line's own, then the invoice's. An
invoice's discount is one amount over all lines it applies to, shared out in proportion, each share floored and the
remainder on the last line (Stripe's documented split: 500 off 1000 and 2000 are 166 and 334; that a line of which less
is left passes the rest of the remainder on is an assumption). A percentage is rounded half up to a whole minor unit
before it is shared out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal


@dataclass(frozen=True, slots=True)
class Reduction:
    """What one discount takes: a percentage (0 to 100) or minor units. `products` limits it; None: all products."""

    discount: str
    percent_off: Decimal | None
    amount_off: int
    products: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class DiscountableLine:
    """A line before discounts. `own` are its own discounts; a line that is not discountable is left as it is."""

    amount: int
    discountable: bool
    product: str | None
    own: tuple[Reduction, ...] = ()


Shares = dict[str, int]  # a discount's id to the minor units that it takes


def apportioned(total: int, weights: Sequence[int]) -> list[int]:
    """`total`, at most the sum of `weights` (none negative), shared out in proportion to them.

    Each share is floored and the remainder is the last line's; what that cannot take (no share is more than its
    weight) is the one's before it, and so on.
    """
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    shares = [total * weight // whole for weight in weights]
    remainder = total - sum(shares)
    for place in reversed(range(len(weights))):
        more = min(remainder, weights[place] - shares[place])
        shares[place] += more
        remainder -= more
    return shares


def taken(reduction: Reduction, base: int) -> int:
    """What a discount takes off `base`: never more than all of it, and nothing off a credit."""
    if base <= 0:
        return 0
    if reduction.percent_off is None:
        return min(reduction.amount_off, base)
    exact = base * reduction.percent_off / 100
    return min(base, int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP)))


def own_shares(line: DiscountableLine) -> Shares:
    """What a line's own discounts take off it."""
    left = line.amount
    shares: Shares = {}
    for reduction in line.own:
        shares[reduction.discount] = taken(reduction, left) if _applies(reduction, line) else 0
        left -= shares[reduction.discount]
    return shares


def invoice_shares(
    lines: Sequence[DiscountableLine], lefts: Sequence[int], reductions: Sequence[Reduction]
) -> list[Shares]:
    """What the invoice's discounts take off each line, of which `lefts` is left after its own discounts.

    Every line names every discount, with 0 where it takes nothing, as recorded bodies of Stripe do.
    """
    left = list(lefts)
    shares: list[Shares] = [{} for _ in lines]
    for reduction in reductions:
        weights = [max(amount, 0) if _applies(reduction, line) else 0 for line, amount in zip(lines, left, strict=True)]
        parts = apportioned(taken(reduction, sum(weights)), weights)
        for place, part in enumerate(parts):
            shares[place][reduction.discount] = part
            left[place] -= part
    return shares


def _applies(reduction: Reduction, line: DiscountableLine) -> bool:
    return line.discountable and (reduction.products is None or line.product in reduction.products)
