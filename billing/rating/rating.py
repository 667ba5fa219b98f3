"""
The price of a quantity. Pure, exact: a result that needs more than 12 decimal places is an error, never rounded.

Rounding belongs to the invoice line alone (DESIGN §3.6).
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
    """A quantity below zero or not a finite Decimal."""


def rate_usage(quantity: Decimal, unit_price: Decimal, unit_size: int) -> Decimal:
    """
    Return the price, in currency units with 12 places, of `quantity` units at `unit_price` for `unit_size` units.

    Raises InexactAmount when the price cannot be written with 12 places, InvalidQuantity for a quantity below zero
    and TypeError for anything but a Decimal (a float has no business near money).
    """
    if not (isinstance(quantity, Decimal) and isinstance(unit_price, Decimal)):
        raise TypeError("quantity and unit_price must be Decimal")
    if not quantity.is_finite() or quantity < 0:
        raise InvalidQuantity(f"quantity {quantity} is not a finite number of at least zero")
    try:
        amount = EXACT.divide(EXACT.multiply(quantity, unit_price), Decimal(unit_size))
        exact = EXACT.quantize(amount, _SMALLEST_UNIT)
    except (Inexact, InvalidOperation) as error:
        raise InexactAmount(
            f"{quantity} units at {unit_price} for {unit_size} have no exact price of {DECIMAL_PLACES} places"
        ) from error
    if exact >= _LIMIT:
        raise InexactAmount(f"{quantity} units at {unit_price} for {unit_size} cost more than the ledger can hold")
    return exact


def explain(quantity: Decimal, unit_price: Decimal, unit_size: int, currency: str) -> str:
    """Return the computation as a customer reads it, such as 1,500 × 2.50 USD per 1,000,000 = 0.00375 USD."""
    amount = rate_usage(quantity, unit_price, unit_size)
    return f"{plain(quantity)} × {plain(unit_price)} {currency} per {unit_size:,} = {plain(amount)} {currency}"


def plain(number: Decimal) -> str:
    """Return the number with thousands separators and without trailing zeros or exponent."""
    text = f"{number:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
