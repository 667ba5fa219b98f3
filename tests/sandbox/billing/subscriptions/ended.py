"""Subscriptions that have ended, and what their end takes along."""

from tests.sandbox.billing.payments.invoice_payments import subscription_of_invoice
from tests.sandbox.billing.subscriptions.unscheduling import end_with_subscription
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

ENDED = frozenset({"canceled", "incomplete_expired"})


def end_subscription(world: World, subscription: StripeObject, *, reason: str) -> None:
    """Cancel a subscription now. Its unpaid invoices are no longer advanced by Stripe."""
    details = {**(subscription["cancellation_details"] or {}), "reason": reason}
    world.update(
        subscription,
        None,
        status="canceled",
        canceled_at=subscription["canceled_at"] or world.now,
        ended_at=world.now,
        cancellation_details=details,
    )
    world.emit("customer.subscription.deleted", subscription)
    end_with_subscription(world, subscription, reason=reason)
    for invoice in world.store.where("invoice", "customer", subscription["customer"]):
        if invoice["status"] in ("draft", "open") and subscription_of_invoice(world, invoice) is subscription:
            world.update(
                invoice,
                "invoice.updated",
                auto_advance=False,
                automatically_finalizes_at=None,
                next_payment_attempt=None,
            )
