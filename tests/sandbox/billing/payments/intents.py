"""Payment intents: made, succeeded, failed; and who is told when one ends."""

from collections.abc import Callable
from typing import Any

from tests.sandbox.billing.payments.attaching import attach
from tests.sandbox.billing.payments.charges import refuse
from tests.sandbox.billing.payments.declines import Decline
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

# Who wants to know that an intent ended after the request that confirmed it, or by a request of its own. Called with
# the reason when it failed, with None when it succeeded or is being processed.
Follower = Callable[[World, StripeObject, Decline | None], None]
FOLLOWERS: list[Follower] = []


def follows_intents(follower: Follower) -> Follower:
    """Register one who wants to know how intents ended that nobody was waiting for (invoices, checkout sessions)."""
    FOLLOWERS.append(follower)
    return follower


def tell_followers(world: World, intent: StripeObject, decline: Decline | None) -> None:
    for follower in FOLLOWERS:
        follower(world, intent, decline)


def new_payment_intent(
    world: World, *, amount: int, currency: str, customer: str | None, description: str | None, **fields: Any
) -> StripeObject:
    intent = world.new(
        "payment_intent",
        "pi",
        amount=amount,
        amount_capturable=0,
        amount_details={"tip": {}},
        amount_received=0,
        capture_method="automatic_async",
        confirmation_method="automatic",
        currency=currency,
        customer=customer,
        description=description,
        metadata={},
        payment_method_options={
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
        payment_method_types=["card"],
        status="requires_payment_method",
    )
    intent["client_secret"] = f"{intent['id']}_secret_{world.ids.capitals(25)}"
    intent.update(fields)
    world.emit("payment_intent.created", intent)
    return intent


def succeed(world: World, intent: StripeObject, charge: StripeObject, payment_method: StripeObject) -> None:
    """The intent's money came in by `charge`."""
    keep_for_later(world, intent, payment_method)
    world.update(
        intent,
        None,
        amount_capturable=0,
        amount_received=charge["amount_captured"],
        last_payment_error=None,
        latest_charge=charge["id"],
        next_action=None,
        payment_method=shown_payment_method(payment_method),
        status="succeeded",
    )
    world.emit("payment_intent.succeeded", intent)


def fail(
    world: World, intent: StripeObject, payment_method: StripeObject, decline: Decline, *, charge: StripeObject | None
) -> None:
    """The attempt is over; another payment method can be tried. Without a charge nothing reached a bank."""
    if charge is not None:
        refuse(world, charge, decline)
        world.emit("charge.failed", charge)
    error = {
        "advice_code": decline.advice,
        "charge": charge["id"] if charge is not None else None,
        "code": decline.code,
        "decline_code": decline.decline_code,
        "message": decline.message,
        "payment_method": copied(payment_method),
        "type": decline.kind,
    }
    world.update(
        intent,
        None,
        last_payment_error={name: value for name, value in error.items() if value is not None},
        latest_charge=charge["id"] if charge is not None else intent["latest_charge"],
        next_action=None,
        payment_method=None,
        status="requires_payment_method",
    )
    world.emit("payment_intent.payment_failed", intent)


def card_error(
    decline: Decline, *, intent: StripeObject | None = None, setup_intent: StripeObject | None = None
) -> StripeError:
    """The 402 of a declined card."""
    return StripeError(
        decline.message,
        status=402,
        kind=decline.kind,
        code=decline.code,
        decline_code=decline.decline_code,
        advice_code=decline.advice,
        charge=intent["latest_charge"] if intent else None,
        payment_intent=copied(intent) if intent else None,
        setup_intent=copied(setup_intent) if setup_intent else None,
    )


def shown_payment_method(payment_method: StripeObject) -> str | None:
    """The id an intent names. A source of the old API is no payment method and is named on the charge alone."""
    return str(payment_method["id"]) if payment_method["id"].startswith("pm_") else None


def keep_for_later(world: World, intent: StripeObject, payment_method: StripeObject) -> None:
    """A payment method that worked stays with the customer if that was asked for, and else is used up."""
    if payment_method["customer"] is not None or not payment_method["id"].startswith("pm_"):
        if intent["setup_future_usage"] == "off_session":
            world.set_up.add(payment_method["id"])
        return
    if intent["customer"] is not None and intent["setup_future_usage"] is not None:
        attach(world, payment_method["id"], world.store.get("customer", intent["customer"]))
        if intent["setup_future_usage"] == "off_session":
            world.set_up.add(payment_method["id"])
    else:
        world.spent.add(payment_method["id"])
