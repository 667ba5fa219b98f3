"""Stripe's test cards by their known names: what they look like, and what they do."""

from dataclasses import dataclass

# Codes after which Stripe does not try an invoice again by itself.
HARD_DECLINES = frozenset({"lost_card", "stolen_card", "expired_card", "incorrect_number", "pickup_card"})


@dataclass(frozen=True, slots=True)
class Decline:
    code: str
    decline_code: str
    message: str

    @property
    def hard(self) -> bool:
        return self.code in HARD_DECLINES or self.decline_code in HARD_DECLINES


DECLINED = Decline("card_declined", "generic_decline", "Your card was declined.")
INSUFFICIENT_FUNDS = Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.")
LOST = Decline("card_declined", "lost_card", "Your card was declined.")
STOLEN = Decline("card_declined", "stolen_card", "Your card was declined.")
EXPIRED = Decline("expired_card", "expired_card", "Your card has expired.")
WRONG_CVC = Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.")
PROCESSING_ERROR = Decline(
    "processing_error", "processing_error", "An error occurred while processing your card. Try again in a little bit."
)
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)


@dataclass(frozen=True, slots=True)
class Card:
    """`at_attach` declines already when it is attached, `at_charge` attaches and declines when it is charged."""

    brand: str
    last4: str
    number: str = ""
    at_attach: Decline | None = None
    at_charge: Decline | None = None
    needs_authentication: bool = False

    @property
    def decline(self) -> Decline | None:
        return self.at_attach or self.at_charge


CARDS: dict[str, Card] = {
    "visa": Card("visa", "4242", "4242424242424242"),
    "visa_debit": Card("visa", "5556", "4000056655665556"),
    "mastercard": Card("mastercard", "4444", "5555555555554444"),
    "mastercard_debit": Card("mastercard", "8210", "5200828282828210"),
    "amex": Card("amex", "8431", "371449635398431"),
    "discover": Card("discover", "9424", "6011000990139424"),
    "us": Card("visa", "4242"),
    "chargeDeclined": Card("visa", "0002", "4000000000000002", at_attach=DECLINED),
    "chargeDeclinedInsufficientFunds": Card("visa", "9995", "4000000000009995", at_attach=INSUFFICIENT_FUNDS),
    "chargeDeclinedLostCard": Card("visa", "9987", "4000000000009987", at_attach=LOST),
    "chargeDeclinedStolenCard": Card("visa", "9979", "4000000000009979", at_attach=STOLEN),
    "chargeDeclinedExpiredCard": Card("visa", "0069", "4000000000000069", at_attach=EXPIRED),
    "chargeDeclinedIncorrectCvc": Card("visa", "0127", "4000000000000127", at_attach=WRONG_CVC),
    "chargeDeclinedProcessingError": Card("visa", "0119", "4000000000000119", at_attach=PROCESSING_ERROR),
    "chargeCustomerFail": Card("visa", "0341", "4000000000000341", at_charge=DECLINED),
    "authenticationRequired": Card("visa", "3184", "4000002760003184", needs_authentication=True),
    "authenticationRequiredOnSetup": Card("visa", "3155", "4000002500003155", needs_authentication=True),
    "threeDSecure2Required": Card("visa", "3220", "4000000000003220", needs_authentication=True),
}


def card_name(test_name: str) -> str | None:
    """The card behind `pm_card_visa`, `pm_card_visa_chargeDeclined`, `tok_visa` or a card number; None if unknown."""
    name = test_name.replace(" ", "")
    for prefix in ("pm_card_", "tok_"):
        name = name.removeprefix(prefix)
    if name in CARDS:
        return name
    if name.removeprefix("visa_") in CARDS:
        return name.removeprefix("visa_")
    return next((known for known, card in CARDS.items() if card.number and card.number == name), None)
