"""Confirming a checkout session: the person's payment method is charged, subscribed with, or kept for later.

A refused card leaves the session open for another try. One that needs authentication leaves it open until the person
has authenticated (its intent is then told to `follow`); a debit completes it before the money is there.
"""

from typing import Any

from tests.sandbox.billing.payments.attaching import attach, decline_at_attach, decline_at_charge
from tests.sandbox.billing.payments.charging import confirm
from tests.sandbox.billing.payments.collecting import pay_by_request
from tests.sandbox.billing.payments.declines import AUTHENTICATION_REQUIRED, Decline
from tests.sandbox.billing.payments.intents import card_error, follows_intents, new_payment_intent
from tests.sandbox.billing.payments.invoice_payments import intent_of, payment_of
from tests.sandbox.billing.payments.setting_up import confirm_setup, new_setup_intent
from tests.sandbox.billing.selling.completing import complete, customer_of, redeem, take_details, take_mandate
from tests.sandbox.billing.selling.hosting import page_address
from tests.sandbox.billing.selling.line_items import starting_items
from tests.sandbox.billing.selling.session_fields import given_discounts
from tests.sandbox.billing.subscriptions.starting import start_from_parameters
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

PAYMENT_INTENT_DEFAULTS: dict[str, Any] = {"capture_method": "automatic_async"}


def confirm_session(
    world: World,
    session: StripeObject,
    payment_method: StripeObject | None,
    *,
    expected_amount: int | None = None,
    phone: str | None = None,
) -> None:
    """What the button on the page does. Raises the card's `StripeError` 402, or 400 for a session that is over.

    `payment_method` may be left out where nothing is to be paid. `expected_amount` is what the person was shown.
    """
    if session["status"] != "open":
        raise StripeError(
            f"This Checkout Session is {session['status']}. It can no longer be confirmed.",
            code="payment_intent_unexpected_state",
        )
    if expected_amount is not None and expected_amount != session["amount_total"]:
        raise StripeError(
            f"The expected amount {expected_amount} is not the session's total {session['amount_total']}.",
            code="checkout_amount_mismatch",
            param="expected_amount",
        )
    _require_method(session, payment_method)
    take_details(world, session, payment_method, phone)
    if payment_method is not None:
        take_mandate(world, payment_method)
    match session["mode"]:
        case "payment":
            _pay(world, session, payment_method)
        case "subscription":
            _subscribe(world, session, payment_method)
        case "setup":
            assert payment_method is not None
            _set_up(world, session, payment_method)


def needs_payment_method(session: StripeObject) -> bool:
    """Nothing to pay needs none, unless a subscription's later payments do."""
    if session["mode"] == "setup":
        return True
    collects = session["payment_method_collection"] == "always" and session["mode"] == "subscription"
    return bool(session["amount_total"]) or collects


def waiting_intent(world: World, session: StripeObject) -> StripeObject | None:
    """The intent of an open session that waits for the person to authenticate."""
    names = [intent for intent, waits in world.checkouts.items() if waits == session["id"]]
    intents = [intent for name in names if (intent := world.store.by_id(name)) is not None]
    return next((intent for intent in intents if intent["status"] == "requires_action"), None)


@follows_intents
def follow(world: World, intent: StripeObject, decline: Decline | None) -> None:
    """An intent of a session ended after the request that confirmed it: authenticated, or a debit's money came.

    Also called for setup intents.
    """
    session = world.store.find("checkout.session", world.checkouts.get(intent["id"]))
    if session is None:
        return
    if session["status"] == "open":
        if decline is None and intent["status"] != "requires_action":
            _complete_with(world, session, intent)
    elif session["payment_status"] == "unpaid":
        if intent["status"] == "succeeded":
            world.update(session, None, payment_status="paid")
            if intent["capture_method"] != "manual":
                world.emit("checkout.session.async_payment_succeeded", session)
        elif decline is not None:
            world.emit("checkout.session.async_payment_failed", session)


def _require_method(session: StripeObject, payment_method: StripeObject | None) -> None:
    if payment_method is None:
        if needs_payment_method(session):
            raise StripeError(
                "Missing required param: payment_method.", code="parameter_missing", param="payment_method"
            )
    elif payment_method["type"] not in session["payment_method_types"]:
        raise StripeError(
            f"This session does not take payment methods of type {payment_method['type']}.", param="payment_method"
        )


def _pay(world: World, session: StripeObject, payment_method: StripeObject | None) -> None:
    if payment_method is None or not session["amount_total"]:
        if session["customer_creation"] == "always":
            customer_of(world, session)
        redeem(world, session)
        complete(world, session, "no_payment_required")
        return
    intent = world.store.find("payment_intent", session["payment_intent"]) or _new_intent(world, session)
    world.update(intent, None, amount=session["amount_total"])  # a code may have been entered since the last try
    if decline_at_charge(world, payment_method) is None and session["customer_creation"] == "always":
        world.update(intent, None, customer=customer_of(world, session)["id"])
    decline = confirm(world, intent, payment_method, return_url=page_address(world, "checkout", session["id"]))
    if decline is None:
        _complete_with(world, session, intent)
    elif decline is not AUTHENTICATION_REQUIRED:
        raise card_error(decline, intent=intent)


def _new_intent(world: World, session: StripeObject) -> StripeObject:
    data = world.asked_for[session["id"]].get("payment_intent_data", {})
    fields = {name: value for name, value in data.items() if name != "description"}
    intent = new_payment_intent(
        world,
        amount=session["amount_total"],
        currency=session["currency"],
        customer=session["customer"],
        description=data.get("description"),
        **PAYMENT_INTENT_DEFAULTS | {"payment_method_types": session["payment_method_types"]} | fields,
    )
    world.checkouts[intent["id"]] = session["id"]
    world.update(session, None, payment_intent=intent["id"])
    return intent


def _subscribe(world: World, session: StripeObject, payment_method: StripeObject | None) -> None:
    begun = world.store.find("subscription", world.begun_subscriptions.get(session["id"]))
    if payment_method is not None:
        decline = decline_at_charge(world, payment_method) if session["amount_total"] else None
        decline = decline or decline_at_attach(world, payment_method)
        if decline is not None:  # before anything exists
            raise card_error(decline)
        attach(world, payment_method["id"], customer_of(world, session))
    if begun is not None and begun["status"] == "incomplete":
        _pay_again(world, session, begun, payment_method)
        return
    if payment_method is not None and not session["amount_total"]:
        intent = _new_setup_intent(world, session)  # the first charge comes when nobody is there
        confirm_setup(world, intent, payment_method, return_url=page_address(world, "checkout", session["id"]))
        if intent["status"] == "requires_action":
            return
    _start(world, session, payment_method)


def _start(world: World, session: StripeObject, payment_method: StripeObject | None) -> None:
    subscription = start_from_parameters(world, _starting(world, session, payment_method))
    world.begun_subscriptions[session["id"]] = subscription["id"]
    intent = _first_intent(world, subscription)
    if intent is not None:
        world.checkouts[intent["id"]] = session["id"]
    if subscription["status"] != "incomplete" or (intent is not None and intent["status"] == "processing"):
        _complete_subscription(world, session, subscription)


def _pay_again(
    world: World, session: StripeObject, subscription: StripeObject, payment_method: StripeObject | None
) -> None:
    """Another try after an authentication that failed: the subscription is there and waits for its first payment."""
    if payment_method is not None:
        world.update(subscription, "customer.subscription.updated", default_payment_method=payment_method["id"])
    invoice = world.store.get("invoice", subscription["latest_invoice"])
    try:
        pay_by_request(world, invoice, payment_method, off_session=False)
    except StripeError:
        if waiting_intent(world, session) is None:
            raise
        return
    _complete_subscription(world, session, subscription)


def _starting(world: World, session: StripeObject, payment_method: StripeObject | None) -> dict[str, Any]:
    data = world.asked_for[session["id"]].get("subscription_data", {})
    wanted: dict[str, Any] = {
        "customer": customer_of(world, session)["id"],
        "off_session": False,
        **starting_items(world, world.line_items[session["id"]]),
        **data,
    }
    if payment_method is not None:
        wanted["default_payment_method"] = payment_method["id"]
    if session["discounts"]:
        wanted["discounts"] = given_discounts(session)
    return wanted


def _set_up(world: World, session: StripeObject, payment_method: StripeObject) -> None:
    intent = world.store.find("setup_intent", session["setup_intent"])
    if intent is None:
        intent = _new_setup_intent(world, session)
        world.update(session, None, setup_intent=intent["id"])
    if session["customer_creation"] == "always" and decline_at_attach(world, payment_method) is None:
        world.update(intent, None, customer=customer_of(world, session)["id"])
    confirm_setup(world, intent, payment_method, return_url=page_address(world, "checkout", session["id"]))
    if intent["status"] == "succeeded":
        _complete_with(world, session, intent)


def _new_setup_intent(world: World, session: StripeObject) -> StripeObject:
    data = world.asked_for[session["id"]].get("setup_intent_data", {})
    types = session["payment_method_types"]
    intent = new_setup_intent(world, customer=session["customer"], payment_method_types=types, **data)
    world.checkouts[intent["id"]] = session["id"]
    return intent


def _complete_with(world: World, session: StripeObject, intent: StripeObject) -> None:
    """The session is complete as far as its intent is."""
    if intent["object"] == "setup_intent" and session["mode"] == "setup":
        complete(world, session, "no_payment_required")
        return
    if intent["object"] == "setup_intent":
        _start(world, session, world.store.get("payment_method", intent["payment_method"]))
        return
    subscription = world.store.find("subscription", world.begun_subscriptions.get(session["id"]))
    if subscription is not None:
        _complete_subscription(world, session, subscription)
        return
    redeem(world, session)
    complete(world, session, "paid" if intent["status"] == "succeeded" else "unpaid")


def _complete_subscription(world: World, session: StripeObject, subscription: StripeObject) -> None:
    if subscription["default_payment_method"] is not None:
        world.set_up.add(subscription["default_payment_method"])  # who subscribes agrees to payments in their absence
    intent = _first_intent(world, subscription)
    if intent is not None and intent["status"] == "processing":
        payment_status = "unpaid"
    else:
        payment_status = "paid" if session["amount_total"] else "no_payment_required"
    world.update(session, None, subscription=subscription["id"], invoice=subscription["latest_invoice"])
    complete(world, session, payment_status)


def _first_intent(world: World, subscription: StripeObject) -> StripeObject | None:
    invoice = world.store.find("invoice", subscription["latest_invoice"])
    payment = payment_of(world, invoice) if invoice is not None else None
    return intent_of(world, payment) if payment is not None else None
