"""
Stripe's minor units, and rounding to them, a second time.

Kept apart from billing.invoicing.rounding on purpose: a check that shares the table of the code it checks would share
its mistakes. The currencies are those of https://docs.stripe.com/currencies.
"""

from decimal import ROUND_HALF_UP, Decimal, localcontext

ZERO_DECIMAL = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF")
)
THREE_DECIMAL = frozenset(("BHD", "JOD", "KWD", "OMR", "TND"))
# Sent times a hundred, but only whole units can be charged.
WHOLE_UNITS_OF_A_HUNDRED = frozenset(("ISK", "UGX"))
EXACT_DIGITS = 60


def minor_places(currency: str) -> int:
    """Return how many decimal places the minor unit of a currency stands for."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


def in_units(minor: int, currency: str) -> Decimal:
    """Return an amount in minor units as Stripe states it in currency units."""
    return Decimal(minor).scaleb(-minor_places(currency))


def rounded_minor(exact: Decimal, currency: str) -> int:
    """Return an exact amount in the minor units Stripe takes, rounded half away from zero to what it can charge."""
    # The last place of three-decimal currencies must be zero.
    chargeable_places = 0 if currency in WHOLE_UNITS_OF_A_HUNDRED else min(minor_places(currency), 2)
    with localcontext(prec=EXACT_DIGITS):
        rounded = exact.quantize(Decimal(1).scaleb(-chargeable_places), rounding=ROUND_HALF_UP)
        return int(rounded.scaleb(minor_places(currency)))
