"""How tax rates tax a line: pure arithmetic on the net after discounts.

Stripe rounds each tax of each line half up to a whole minor unit (support.stripe.com, "Rounding rules": 15 % of 0.43
and of 4.84 are 0.06 and 0.73); its dashboard's other choice, rounding on the subtotal, is not kept. A credit's tax is
the mirror image of a charge's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

RATES_A_LINE_MAX = 5  # docs.stripe.com/invoicing/taxes/tax-rates


@dataclass(frozen=True, slots=True)
class Rate:
    """A tax rate: `percentage` of 100."""

    id: str
    percentage: Decimal
    inclusive: bool


@dataclass(frozen=True, slots=True)
class Tax:
    """One rate's tax on one line, in minor units. An inclusive one is part of the line's amount."""

    rate: Rate
    amount: int
    taxable_amount: int


def taxes_on(net: int, rates: Sequence[Rate]) -> list[Tax]:
    """The taxes of a line whose amount after discounts is `net`, in the order of `rates`.

    Inclusive rates together are taken out of the net; what is left is taxable for every rate of the line.
    """
    if not rates:
        return []
    inside = sum((Fraction(rate.percentage) for rate in rates if rate.inclusive), Fraction(0))
    included = [half_up(net * Fraction(rate.percentage) / (100 + inside)) if rate.inclusive else 0 for rate in rates]
    taxable = net - sum(included)
    return [
        Tax(rate, part if rate.inclusive else half_up(taxable * Fraction(rate.percentage) / 100), taxable)
        for rate, part in zip(rates, included, strict=True)
    ]


def included_in(net: int, rates: Sequence[Rate]) -> int:
    """How much of `net` is tax of inclusive rates."""
    inclusive = [rate for rate in rates if rate.inclusive]
    return sum(tax.amount for tax in taxes_on(net, inclusive)) if inclusive else 0


def half_up(value: Fraction) -> int:
    """The nearest whole number, halves away from zero."""
    magnitude = (2 * abs(value.numerator) + value.denominator) // (2 * value.denominator)
    return magnitude if value >= 0 else -magnitude
