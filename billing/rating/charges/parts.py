"""
Prices of a part of what is priced together: of a period billed in several invoices, or of units that were there for a
part of it only.
"""

from bisect import bisect_left
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from billing.rating.charges.charge import Charge, total, used
from billing.rating.charges.tiers import Graduated, Tiers, Volume
from billing.rating.rating import EXACT, ZERO


def part(
    charge: Charge, quantity: Decimal, *, before: Decimal, paid: Decimal | None = None, is_over: bool = False
) -> Decimal:
    """
    Return what `quantity` more adds to a period whose parts so far came to `paid` for the quantity `before`.

    `paid` left away: the price of `before`, and nothing if there was none. With `is_over` it is the period's last
    part, which owes what a minimum still lacks. Parts of a period add up to the whole's price, whatever the cuts. It
    is below zero where the price falls as usage grows.
    """
    if paid is None:
        paid = charge.amount(before) if before else ZERO
    amount = charge.amount(EXACT.add(before, quantity))
    owed = charge.shortfall(amount) if is_over else ZERO
    return EXACT.add(EXACT.subtract(amount, paid), owed)


def billable(quantity: Decimal, *, before: Decimal, free: Decimal) -> Decimal:
    """Return how much of `quantity` is not free, when the period's first `free` units are and `before` came before."""
    until = used(EXACT.subtract(EXACT.add(before, quantity), free))
    return EXACT.subtract(until, used(EXACT.subtract(before, free)))


def volume_prorated(charge: Volume, quantity: Decimal, prorated: Decimal) -> Decimal:
    """Return the price of `prorated` units, in the tier that the full `quantity` is in."""
    tiers = charge.tiers
    index = tiers.index(used(quantity))
    return EXACT.fma(used(prorated), tiers.prices[index], tiers.flats[index])


def graduated_prorated(charge: Graduated, changes: Iterable[tuple[Decimal, Decimal]]) -> Fraction:
    """
    Return the price of units that come and go within a period. Each change is (units, prorated): so many come (or go,
    below zero), and so many they count for in the time that is left.

    The tiers are those that the running number of full units passes through, up or down; each tier's part of a change
    is priced by its part of the prorated units. Flat amounts are charged for every tier that was ever reached. It is 0
    when more went than came. The result has no end sometimes, as a third has none: whoever bills it rounds it once.
    """
    tiers = charge.tiers
    priced, units, most = Fraction(0), ZERO, ZERO
    for change, prorated in changes:
        if change:
            after = EXACT.add(units, change)
            low, high = sorted((used(units), used(after)))
            within = _priced_between(tiers, low, high)
            priced += within * Fraction(prorated) / abs(Fraction(change))
            units, most = after, max(most, after)
    if units < 0:
        return Fraction(0)
    reached = tiers.flats[: tiers.index(most) + 1]
    return max(priced, Fraction(0)) + sum(map(Fraction, reached), Fraction(0))


def _priced_between(tiers: Tiers, low: Decimal, high: Decimal) -> Fraction:
    """The price, without flat amounts, of the units above `low` up to `high`."""
    inside = tiers.bounds[bisect_left(tiers.bounds, low) : bisect_left(tiers.bounds, high)]
    cuts = [low, *(bound for bound in inside if bound > low), high]
    parts = (
        EXACT.multiply(EXACT.subtract(end, start), tiers.prices[tiers.index(end)]) for start, end in pairwise(cuts)
    )
    return Fraction(total(parts))
