"""Why a payment is refused: Stripe's codes, what they advise, and which of them end all further tries."""

from dataclasses import dataclass

# Codes after which Stripe does not try an invoice again by itself (docs.stripe.com/billing/revenue-recovery, hard
# declines), and expired cards, which is an assumption.
HARD_DECLINES = frozenset(
    {"expired_card", "highest_risk_level", "incorrect_number", "lost_card", "pickup_card", "stolen_card"}
    | {"revocation_of_all_authorizations", "revocation_of_authorization", "transaction_not_allowed"}
)


@dataclass(frozen=True, slots=True)
class Decline:
    """`blocked_as`: refused before it reached the network, at this risk level."""

    code: str
    decline_code: str | None
    message: str
    advice: str | None = None
    kind: str = "card_error"
    blocked_as: str | None = None

    @property
    def hard(self) -> bool:
        return self.code in HARD_DECLINES or self.decline_code in HARD_DECLINES


DECLINED = Decline("card_declined", "generic_decline", "Your card was declined.", "try_again_later")
INSUFFICIENT_FUNDS = Decline(
    "card_declined", "insufficient_funds", "Your card has insufficient funds.", "try_again_later"
)
LOST = Decline("card_declined", "lost_card", "Your card was declined.", "do_not_try_again")
STOLEN = Decline("card_declined", "stolen_card", "Your card was declined.", "do_not_try_again")
EXPIRED = Decline("expired_card", "expired_card", "Your card has expired.", "do_not_try_again")
WRONG_CVC = Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.", "confirm_card_data")
PROCESSING_ERROR = Decline(
    "processing_error",
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
    "try_again_later",
)
TOO_OFTEN = Decline(
    "card_declined",
    "card_velocity_exceeded",
    "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    "try_again_later",
)
FRAUDULENT = Decline("card_declined", "fraudulent", "Your card was declined.", "do_not_try_again", blocked_as="highest")

# The payment waits in requires_action; nothing was charged yet.
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
# The same without a customer who could authenticate: the attempt is over.
AUTHENTICATION_IMPOSSIBLE = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication, and the customer is not there.",
)
AUTHENTICATION_NOT_HANDLED = Decline(
    "authentication_not_handled",
    None,
    "This payment needs an authentication action to complete, but `error_on_requires_action` was set.",
)
AUTHENTICATION_FAILED = Decline(
    "payment_intent_authentication_failure",
    None,
    "The payment method has failed authentication. Give another payment method to try this payment again.",
    kind="invalid_request_error",
)
SETUP_AUTHENTICATION_FAILED = Decline(
    "setup_intent_authentication_failure",
    None,
    "The payment method has failed authentication. Give another payment method to try this setup again.",
    kind="invalid_request_error",
)
