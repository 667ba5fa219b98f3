"""
Amounts as people read them. Pure, and never rounds: what is exact is shown with every place it has.

Two kinds of amount come here: minor units as Stripe states them, and exact Decimals in currency units.
"""

from decimal import Decimal

from billing.invoicing.rounding import from_minor

_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
_MIN_PLACES = 2
_MAX_PLACES = 12
_NOT_A_BREAK = "\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"


def minor_text(amount_minor: int, currency: str) -> str:
    """Stripe's minor units as text: 1234 of USD is "$12.34", 1234 of JPY is "¥1,234"."""
    amount = from_minor(amount_minor, currency)
    return _with_currency(f"{abs(amount):,f}", currency, negative=amount < 0)


def exact_text(amount: Decimal, currency: str) -> str:
    """An exact amount with all of its places, two at least: "$0.000123", "$5.00"."""
    return _with_currency(quantity_text(abs(amount), min_places=_MIN_PLACES), currency, negative=amount < 0)


def quantity_text(quantity: Decimal, *, min_places: int = 0) -> str:
    """A quantity with all of its places and thousands apart: "1,234,567", "0.5"."""
    whole, _, places = f"{quantity:,.{_MAX_PLACES}f}".partition(".")
    places = places.rstrip("0").ljust(min_places, "0")
    return f"{whole}.{places}" if places else whole


def counted(number: int, noun: str) -> str:
    """Return such as 1 event, 1,000 events."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _with_currency(digits: str, currency: str, *, negative: bool) -> str:
    symbol = _SYMBOLS.get(currency.upper())
    text = f"{symbol}{digits}" if symbol else f"{digits}{_NOT_A_BREAK}{currency.upper()}"
    return f"{_MINUS}{text}" if negative else text
