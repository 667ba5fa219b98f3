"""
Exact arithmetic of money: nothing is rounded on the way, and what the database cannot hold exactly is refused.

Rounding belongs to the invoice line alone (DESIGN §3.6). How a quantity becomes an amount is told by `charges`.
"""

from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

DECIMAL_PLACES = 12
_SMALLEST_UNIT = Decimal(1).scaleb(-DECIMAL_PLACES)
# What numeric(38, 12) can hold before the point.
_LIMIT = Decimal(10) ** 26
# Wide enough for a product of two numeric(38, 12); whatever does not fit is refused instead of rounded.
EXACT = Context(prec=80, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
ZERO = Decimal(0)


class RatingError(Exception):
    """A price cannot be computed; nothing may be posted."""


class InexactAmount(RatingError):
    """The price has more than 12 decimal places, or more digits than the database holds."""


class InvalidQuantity(RatingError):
    """A quantity that is not a finite Decimal."""


def require_storable(amount: Decimal, what: str) -> None:
    """Raise InexactAmount, naming `what`, for a number that a column of 12 places would round or could not hold."""
    try:
        exact = EXACT.quantize(amount, _SMALLEST_UNIT)
    except (Inexact, InvalidOperation) as error:
        raise InexactAmount(
            f"{what} is {plain(amount)}, which has more than {DECIMAL_PLACES} decimal places and would be"
            " rounded; price so many units as divide evenly"
        ) from error
    if abs(exact) >= _LIMIT:
        raise InexactAmount(f"{what} is {plain(amount)}, more than the ledger can hold")


def plain(number: Decimal) -> str:
    """Return the number with thousands separators and without trailing zeros or exponent."""
    text = f"{number:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
