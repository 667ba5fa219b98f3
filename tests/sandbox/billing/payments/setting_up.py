"""Setup intents: a payment method made ready for payments that the customer will not be there for."""

from typing import Any

from tests.sandbox.billing.consequences import set_up
from tests.sandbox.billing.payments.attaching import attach, decline_at_attach, find_payment_method
from tests.sandbox.billing.payments.authentication import authentication_action, needs_authentication
from tests.sandbox.billing.payments.cards import CARDS
from tests.sandbox.billing.payments.declines import SETUP_AUTHENTICATION_FAILED, Decline
from tests.sandbox.billing.payments.intents import card_error
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World


def new_setup_intent(world: World, **fields: Any) -> StripeObject:
    """`fields` are Stripe's; a payment method among them makes it wait for its confirmation only."""
    intent = world.new(
        "setup_intent",
        "seti",
        metadata={},
        payment_method_options={
            "card": {"mandate_options": None, "network": None, "request_three_d_secure": "automatic"}
        },
        payment_method_types=["card"],
        status="requires_confirmation" if fields.get("payment_method") else "requires_payment_method",
        usage="off_session",
    )
    intent["client_secret"] = f"{intent['id']}_secret_{world.ids.capitals(25)}"
    intent.update(fields)
    world.emit("setup_intent.created", intent)
    return intent


def confirm_setup(
    world: World, intent: StripeObject, payment_method: StripeObject, *, return_url: str | None = None
) -> None:
    """Set the payment method up. Raises the card's `StripeError` 402 when its issuer declines that."""
    decline = decline_at_attach(world, payment_method)
    if decline is not None:
        _fail(world, intent, payment_method, decline)
        raise card_error(decline, setup_intent=intent)
    card = CARDS.get(world.cards.get(payment_method["id"], ""))
    if card is not None and card.authentication in ("always", "unless_set_up") and _must_ask(world, payment_method):
        world.update(
            intent,
            None,
            last_setup_error=None,
            next_action=authentication_action(world, intent, return_url),
            payment_method=payment_method["id"],
            status="requires_action",
        )
        world.emit("setup_intent.requires_action", intent)
        return
    _succeed(world, intent, payment_method)


def authenticate_setup(world: World, intent: StripeObject, *, succeeds: bool) -> None:
    """The customer came back from the bank's page."""
    payment_method = find_payment_method(world, intent["payment_method"])
    if succeeds:
        _succeed(world, intent, payment_method)
    else:
        _fail(world, intent, payment_method, SETUP_AUTHENTICATION_FAILED)


def _must_ask(world: World, payment_method: StripeObject) -> bool:
    card = CARDS[world.cards[payment_method["id"]]]
    return needs_authentication(world, payment_method, card, False, off_session=False)


def _succeed(world: World, intent: StripeObject, payment_method: StripeObject) -> None:
    if intent["customer"] is not None:
        attach(world, payment_method["id"], world.store.get("customer", intent["customer"]))
    if intent["usage"] == "off_session":
        world.set_up.add(payment_method["id"])
    attempt = _new_attempt(world, intent, payment_method, "succeeded")
    world.update(
        intent,
        None,
        last_setup_error=None,
        latest_attempt=attempt["id"],
        mandate=world.mandates.get(payment_method["id"]),
        next_action=None,
        payment_method=payment_method["id"],
        status="succeeded",
    )
    world.emit("setup_intent.succeeded", intent)
    set_up(world, intent)


def _fail(world: World, intent: StripeObject, payment_method: StripeObject, decline: Decline) -> None:
    attempt = _new_attempt(world, intent, payment_method, "failed")
    error = {
        "advice_code": decline.advice,
        "code": decline.code,
        "decline_code": decline.decline_code,
        "message": decline.message,
        "payment_method": copied(payment_method),
        "type": decline.kind,
    }
    error = {name: value for name, value in error.items() if value is not None}
    attempt["setup_error"] = copied(error)
    world.update(
        intent,
        None,
        last_setup_error=error,
        latest_attempt=attempt["id"],
        next_action=None,
        payment_method=None,
        status="requires_payment_method",
    )
    world.emit("setup_intent.setup_failed", intent)


def _new_attempt(world: World, intent: StripeObject, payment_method: StripeObject, status: str) -> StripeObject:
    kind = payment_method["type"]
    details: StripeObject = {}
    if kind == "card":
        shown = payment_method["card"]
        same = ("brand", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
        details = world.skeletons.new(
            "setup_attempt_payment_method_details_card",
            network=shown["brand"],
            **{name: shown[name] for name in same},
        )
    return world.new(
        "setup_attempt",
        "setatt",
        customer=intent["customer"],
        payment_method=payment_method["id"],
        payment_method_details={kind: details, "type": kind},
        setup_intent=intent["id"],
        status=status,
        usage=intent["usage"],
    )
