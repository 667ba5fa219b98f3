"""Intents that are canceled, by request or because the page they were made for is over."""

from tests.sandbox.billing.payments.capturing import cancel
from tests.sandbox.billing.payments.cash import unapply
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

UNCONFIRMED = ("requires_payment_method", "requires_confirmation", "requires_action")


def cancel_payment_intent(world: World, intent: StripeObject, *, reason: str | None = None) -> None:
    """End it; what is held or was taken of a cash balance goes back. Raises `StripeError` for one that has ended."""
    if intent["status"] not in (*UNCONFIRMED, "requires_capture"):
        raise StripeError(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. Only a PaymentIntent "
            "with one of the following statuses may be canceled: requires_payment_method, requires_capture, "
            "requires_confirmation, requires_action, processing.",
            code="payment_intent_unexpected_state",
            payment_intent=copied(intent),
        )
    cancel(world, intent, reason=reason)
    unapply(world, intent)


def cancel_setup_intent(world: World, intent: StripeObject, *, reason: str | None = None) -> None:
    """Raises `StripeError` for one that has ended."""
    if intent["status"] not in UNCONFIRMED:
        raise unexpected_setup_state(intent, "canceled")
    world.update(intent, None, cancellation_reason=reason, next_action=None, status="canceled")
    world.emit("setup_intent.canceled", intent)


def unexpected_setup_state(intent: StripeObject, verb: str) -> StripeError:
    return StripeError(
        f"This SetupIntent's status is {intent['status']}; it could not be {verb}.",
        code="setup_intent_unexpected_state",
        setup_intent=copied(intent),
    )
