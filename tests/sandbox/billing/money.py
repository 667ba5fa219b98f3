"""Amounts in integer minor units: the smallest charge, Stripe's fee, and prices with fractions of a cent."""

from decimal import ROUND_HALF_UP, Decimal

from tests.sandbox.core.errors import StripeError

# Stripe's published minimum charge amounts, in minor units. For other currencies Stripe converts the settlement
# currency's minimum; the sandbox takes 50 minor units, an assumption.
CHARGE_MINIMUMS = {
    "usd": 50, "aed": 200, "aud": 50, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250, "eur": 50, "gbp": 30,
    "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300, "nzd": 50, "pln": 200,
    "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip
CHARGE_MINIMUM_ELSEWHERE = 50
AMOUNT_MAXIMUM = 999_999_999_999  # of a line or a price, twelve digits: an assumption that keeps sums in 64 bits
CHARGE_MAXIMUM = 99_999_999  # eight digits, Stripe's published maximum; larger ones of some currencies are not kept

# Assumption: the standard price of a card in the US, 2.9 % and 30 minor units, for every card and currency.
FEE_PER_MILLE = 29
FEE_FIXED = 30
AVAILABLE_AFTER_SECONDS = 2 * 24 * 3600


def charge_minimum(currency: str) -> int:
    return CHARGE_MINIMUMS.get(currency, CHARGE_MINIMUM_ELSEWHERE)


def card_fee(amount: int) -> int:
    """Stripe's fee on a charge of `amount` minor units, rounded half up."""
    return (amount * FEE_PER_MILLE + 500) // 1000 + FEE_FIXED


def extended(unit_amount: Decimal, quantity: Decimal) -> int:
    """Price times quantity in minor units, rounded half away from zero. Raises `StripeError` for more than may be."""
    amount = unit_amount * quantity
    require_payable(amount)
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def require_payable(amount: Decimal, *, param: str | None = None) -> None:
    """Raises `StripeError` for an amount greater than any that is kept."""
    if abs(amount) > AMOUNT_MAXIMUM:
        raise StripeError(
            f"Amount must be no more than {AMOUNT_MAXIMUM} minor units.", code="amount_too_large", param=param
        )


def plain_decimal(value: Decimal | int) -> str:
    """Stripe's decimal text: no exponent, no trailing zeros."""
    text = format(Decimal(value), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
