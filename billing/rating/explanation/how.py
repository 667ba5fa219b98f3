"""How the price of one event comes about, in a sentence. Pure."""

from decimal import Decimal

from billing.money_text import exact_text, quantity_text
from billing.rating.charges import Basis, Charge
from billing.rating.rating import EXACT, RatingError

IN_ITS_TURN = "Each event is priced in its turn."
PART_OF_HOUR = "Its part of what its hour adds to the price."


def how_priced(charge: Charge, *, before: Decimal, quantity: Decimal, amount: Decimal, currency: str) -> str:
    """Return how `quantity` units that come after `before` others cost `amount`."""
    if charge.basis is Basis.EVENT:
        return IN_ITS_TURN
    if charge.basis is Basis.WINDOW:
        return "Its part of the price of its hour, which is priced alone."
    try:
        if charge.unit_amount is not None:
            priced = charge.explain(quantity, currency)
            return priced.text if priced.amount == amount else PART_OF_HOUR
        after = EXACT.add(before, quantity)
        up_to, paid = charge.amount(after), charge.amount(before)
    except (RatingError, ArithmeticError):
        return PART_OF_HOUR
    if EXACT.subtract(up_to, paid) != amount:
        return PART_OF_HOUR
    return (
        f"With it, the period counts {quantity_text(after)} units for {exact_text(up_to, currency)};"
        f" without it, {quantity_text(before)} for {exact_text(paid, currency)}."
    )
