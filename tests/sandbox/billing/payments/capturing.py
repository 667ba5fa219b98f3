"""Money that is held: captured in whole or in part, or released when its intent is canceled or its time is over."""

from tests.sandbox.billing.payments.attaching import find_payment_method
from tests.sandbox.billing.payments.charges import AUTHORIZATION_SECONDS, authorize, complete, release
from tests.sandbox.billing.payments.intents import keep_for_later, shown_payment_method, succeed, tell_followers
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World


def hold(world: World, intent: StripeObject, charge: StripeObject, payment_method: StripeObject) -> None:
    """The bank agreed to `charge`: its money waits to be captured, for as long as an authorisation is valid."""
    authorize(world, charge)
    keep_for_later(world, intent, payment_method)
    world.update(
        intent,
        None,
        amount_capturable=charge["amount"],
        last_payment_error=None,
        latest_charge=charge["id"],
        next_action=None,
        payment_method=shown_payment_method(payment_method),
        status="requires_capture",
    )
    world.emit("charge.succeeded", charge)
    world.emit("payment_intent.amount_capturable_updated", intent)

    def due() -> None:
        if intent["status"] == "requires_capture" and intent["latest_charge"] == charge["id"]:
            cancel(world, intent, reason="expired")

    world.clock.at(world.now + AUTHORIZATION_SECONDS, due, f"end of the authorisation of {intent['id']}")


def capture(world: World, intent: StripeObject, amount: int | None) -> None:
    """Take held money, all or in part; what is not taken is released. Raises `StripeError`."""
    if intent["status"] != "requires_capture":
        raise StripeError(
            f"This PaymentIntent could not be captured because it has a status of {intent['status']}. Only a "
            "PaymentIntent with one of the following statuses may be captured: requires_capture.",
            code="payment_intent_unexpected_state",
            payment_intent=copied(intent),
        )
    charge = world.store.get("charge", intent["latest_charge"])
    amount = charge["amount"] if amount is None else amount
    if not 0 < amount <= charge["amount"]:
        raise StripeError(
            f"The amount to capture ({amount}) is not within the amount that is held ({charge['amount']}).",
            code="amount_too_large" if amount > 0 else "parameter_invalid_integer",
            param="amount_to_capture",
        )
    complete(world, charge, amount)
    if amount < charge["amount"]:
        release(world, charge, reason=None)
    world.emit("charge.captured", charge)
    succeed(world, intent, charge, find_payment_method(world, charge["payment_method"]))
    tell_followers(world, intent, None)


def cancel(world: World, intent: StripeObject, *, reason: str | None) -> None:
    """End an intent for good; money that is held goes back. The caller checks that its status allows it."""
    held = intent["status"] == "requires_capture"
    world.update(
        intent,
        None,
        amount_capturable=0,
        canceled_at=world.now,
        cancellation_reason=reason,
        next_action=None,
        status="canceled",
    )
    if held:
        charge = world.store.get("charge", intent["latest_charge"])
        before = copied(charge)
        release(world, charge, reason="expired_uncaptured_charge" if reason == "expired" else None)
        if reason == "expired":
            world.emit("charge.expired", charge)
        else:
            changed = {name: value for name, value in before.items() if charge[name] != value}
            world.emit("charge.refunded", charge, previous=changed)
    world.emit("payment_intent.canceled", intent)
