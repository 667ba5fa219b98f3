"""The payment of an invoice: opened when it is final, found by invoice or intent, closed without being paid."""

from tests.sandbox.billing.payments.intents import new_payment_intent
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

DESCRIPTIONS = {"subscription_cycle": "Subscription update", "subscription_create": "Subscription creation"}


def open_payment(world: World, invoice: StripeObject) -> StripeObject:
    """A payment intent for what is due, and the invoice payment that ties the two."""
    intent = new_payment_intent(
        world,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        description=DESCRIPTIONS.get(invoice["billing_reason"] or "", "Payment for Invoice"),
        setup_future_usage="off_session" if _saves_payment_method(world, invoice) else None,
    )
    return world.new(
        "invoice_payment",
        "inpay",
        amount_requested=invoice["amount_due"],
        currency=invoice["currency"],
        invoice=invoice["id"],
        is_default=True,
        payment={"payment_intent": intent["id"], "type": "payment_intent"},
        status="open",
    )


def record_payment_elsewhere(world: World, invoice: StripeObject, *, amount: int) -> None:
    """
    What was paid outside Stripe is a payment record there, and a paid payment of its invoice
    (https://docs.stripe.com/changelog/dahlia/2026-05-27/invoice-object-amount-paid-off-stripe-property).
    """
    payment = world.new(
        "invoice_payment",
        "inpay",
        amount_paid=amount,
        amount_requested=amount,
        currency=invoice["currency"],
        invoice=invoice["id"],
        is_default=False,
        payment={"payment_record": world.ids.new("pr"), "type": "payment_record"},
        status="paid",
        status_transitions={"canceled_at": None, "paid_at": world.now},
    )
    world.emit("invoice_payment.paid", payment)


def payment_of(world: World, invoice: StripeObject) -> StripeObject | None:
    """The invoice's default invoice payment, if it was finalised with something to collect."""
    payments = world.store.where("invoice_payment", "invoice", invoice["id"])
    return next((payment for payment in payments if payment["is_default"]), None)


def intent_of(world: World, payment: StripeObject) -> StripeObject:
    return world.store.get("payment_intent", payment["payment"]["payment_intent"])


def invoice_of_intent(world: World, intent: StripeObject) -> StripeObject | None:
    """The invoice that is collected by `intent` and still to be paid."""
    if intent["customer"] is None:
        return None
    for invoice in world.store.where("invoice", "customer", intent["customer"]):
        if invoice["status"] in ("open", "uncollectible"):
            payment = payment_of(world, invoice)
            if payment is not None and payment["payment"].get("payment_intent") == intent["id"]:
                return invoice
    return None


def subscription_of_invoice(world: World, invoice: StripeObject) -> StripeObject | None:
    details = (invoice["parent"] or {}).get("subscription_details")
    return world.store.find("subscription", details["subscription"]) if details else None


def close_payment(world: World, invoice: StripeObject, *, reason: str) -> None:
    """Cancel the open payment of an invoice that is no longer to be collected."""
    payment = payment_of(world, invoice)
    if payment is None or payment["status"] != "open":
        return
    intent = intent_of(world, payment)
    world.update(intent, None, status="canceled", canceled_at=world.now, cancellation_reason=reason, next_action=None)
    world.emit("payment_intent.canceled", intent)
    transitions = {**payment["status_transitions"], "canceled_at": world.now}
    world.update(payment, None, status="canceled", status_transitions=transitions)


def _saves_payment_method(world: World, invoice: StripeObject) -> bool:
    subscription = subscription_of_invoice(world, invoice)
    if subscription is None or subscription["payment_settings"] is None:
        return False
    return bool(subscription["payment_settings"]["save_default_payment_method"] == "on_subscription")
