"""
Sums to the last digit. Pure.

An amount has up to 38 digits, and Python's own arithmetic, unary minus included, rounds to 28.
"""

from collections.abc import Iterable
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

# 38 digits, and room for a sum of more amounts than there can be.
EXACT = Context(prec=80, traps=[Inexact, InvalidOperation, Overflow])


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The sum; zero of nothing."""
    found = Decimal(0)
    for amount in amounts:
        found = EXACT.add(found, amount)
    return found


def opposite(amount: Decimal) -> Decimal:
    """The same amount on the other side. Of zero zero, and not the -0 that `copy_negate` makes of it."""
    return EXACT.subtract(Decimal(0), amount)


def less(amount: Decimal, other: Decimal) -> Decimal:
    return EXACT.subtract(amount, other)
