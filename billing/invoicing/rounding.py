"""
Between exact amounts and what Stripe can charge (DESIGN §3, rule 6). Pure.

Stripe states money in whole minor units, and some currencies can be charged only in steps of several of them.
Source: Stripe's page on currencies (zero-decimal, three-decimal and special-case currencies).
"""

from decimal import ROUND_HALF_UP, Context, Decimal

ZERO_DECIMAL_CURRENCIES = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
)
THREE_DECIMAL_CURRENCIES = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])
# Stated with two decimals for old times' sake, though the currency has none.
WHOLE_UNITS_TIMES_100 = frozenset({"ISK", "UGX"})
_EXACT = Context(prec=60)


def minor_digits(currency: str) -> int:
    """How many decimal places of the currency one of Stripe's minor units stands for."""
    if currency in ZERO_DECIMAL_CURRENCIES:
        return 0
    return 3 if currency in THREE_DECIMAL_CURRENCIES else 2


def chargeable_increment_minor(currency: str) -> int:
    """The smallest step, in minor units, in which the currency can be charged."""
    if currency in THREE_DECIMAL_CURRENCIES:
        return 10
    return 100 if currency in WHOLE_UNITS_TIMES_100 else 1


def to_minor(exact: Decimal, currency: str) -> int:
    """Round an amount in currency units once, half away from zero, to the chargeable increment, in minor units."""
    step = chargeable_increment_minor(currency)
    steps = _EXACT.divide(exact.scaleb(minor_digits(currency), context=_EXACT), Decimal(step))
    return int(steps.to_integral_value(rounding=ROUND_HALF_UP)) * step


def exact_minor(amount: Decimal, currency: str) -> int:
    """An amount of real money in minor units. Raises ValueError for parts of one."""
    minor = amount.scaleb(minor_digits(currency), context=_EXACT)
    if minor != minor.to_integral_value():
        raise ValueError(f"{amount} {currency} is not a whole number of minor units.")
    return int(minor)


def from_minor(minor: int, currency: str) -> Decimal:
    """The amount in currency units, exact."""
    return Decimal(minor).scaleb(-minor_digits(currency))
