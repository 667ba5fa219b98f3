"""An invoice that is paid, with or without money, and what that means for its subscription and customer."""

from typing import Any

from tests.sandbox.billing.consequences import invoice_paid
from tests.sandbox.billing.payments.invoice_payments import subscription_of_invoice
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

WAITING_FOR_MONEY = ("incomplete", "past_due", "unpaid")


def mark_paid(world: World, invoice: StripeObject, *, paid: int = 0, **attempts: Any) -> None:
    """The invoice owes nothing any more; its subscription is in good standing again. `attempts` counts the last one."""
    amount_paid = invoice["amount_paid"] + paid
    previous = world.update(
        invoice,
        None,
        amount_paid=amount_paid,
        amount_remaining=max(0, invoice["amount_due"] - amount_paid),
        auto_advance=False,
        next_payment_attempt=None,
        status="paid",
        status_transitions={**invoice["status_transitions"], "paid_at": world.now},
        **attempts,
    )
    world.emit("invoice.updated", invoice, previous=previous)
    world.emit("invoice.paid", invoice)
    world.emit("invoice.payment_succeeded", invoice)
    invoice_paid(world, invoice)
    _activate(world, invoice)
    set_delinquent(world, invoice["customer"], False)


def set_delinquent(world: World, customer_id: str, delinquent: bool) -> None:
    """Stripe's mark of the latest news of a customer's invoices: an automatic payment failed, or one was paid."""
    customer = world.store.find("customer", customer_id)
    if customer is not None:
        world.update(customer, "customer.updated", delinquent=delinquent)


def settle(
    world: World, invoice: StripeObject, payment: StripeObject, intent: StripeObject, *, attempt_count: int
) -> None:
    """The invoice's intent succeeded. Where that was asked for, the subscription keeps the payment method."""
    amount = intent["amount"]
    transitions = {**payment["status_transitions"], "paid_at": world.now}
    world.update(payment, None, amount_paid=amount, status="paid", status_transitions=transitions)
    world.emit("invoice_payment.paid", payment)
    mark_paid(world, invoice, paid=amount, attempted=True, attempt_count=attempt_count)
    subscription = subscription_of_invoice(world, invoice)
    if subscription is not None and intent["setup_future_usage"] == "off_session" and intent["payment_method"]:
        saved = intent["payment_method"]
        world.update(subscription, "customer.subscription.updated", default_payment_method=saved)


def _activate(world: World, invoice: StripeObject) -> None:
    """Its latest invoice paid, a subscription that waited for that is active."""
    subscription = subscription_of_invoice(world, invoice)
    waits = subscription is not None and subscription["latest_invoice"] == invoice["id"]
    if subscription is not None and waits and subscription["status"] in WAITING_FOR_MONEY:
        world.update(subscription, "customer.subscription.updated", status="active")
