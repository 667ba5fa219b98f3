"""Updates that wait for their invoice to be paid: `payment_behavior=pending_if_incomplete`, and a resumption.

Sources: Stripe's reference of pending updates (what is supported, and how long one lives).
"""

from typing import Any

from tests.sandbox.billing.consequences import when_invoice_given_up, when_invoice_paid
from tests.sandbox.billing.invoices.invoicing import subscription_of
from tests.sandbox.billing.invoices.voiding import void
from tests.sandbox.billing.subscriptions.cycles import period_end
from tests.sandbox.billing.subscriptions.renewing import renew_when_due
from tests.sandbox.billing.subscriptions.subscription_invoices import pay_at_once
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

SUPPORTED = frozenset(
    {"add_invoice_items", "billing_cycle_anchor", "expand", "items", "off_session", "payment_behavior"}
    | {"proration_behavior", "proration_date", "trial_end", "trial_from_plan"}
)
LIFETIME_SECONDS = 23 * 3600


def pay_before_update(
    world: World, subscription: StripeObject, invoice: StripeObject, fields: dict[str, Any], *, resumes: bool = False
) -> None:
    """Charge the invoice; the `fields` come into force when it is paid. Until then they are a pending update.

    `resumes`: they end a pause. Then a refused payment ends it too, with the subscription past due.
    """
    world.pending_updates[subscription["id"]] = {"invoice": invoice["id"], "fields": fields, "resumes": resumes}
    pay_at_once(world, subscription, invoice, payment_behavior="allow_incomplete")
    if invoice["status"] == "paid":
        return
    if resumes and invoice["status"] == "open" and invoice["attempt_count"] > 0:
        fields["status"] = "past_due"
        _apply(world, subscription)
        return
    world.update(invoice, "invoice.updated", auto_advance=False, next_payment_attempt=None)
    expires_at = world.now + LIFETIME_SECONDS
    if not resumes:
        expires_at = min(expires_at, period_end(subscription))
    world.update(
        subscription,
        "customer.subscription.updated",
        latest_invoice=invoice["id"],
        pending_update=_shown(world, subscription, fields, expires_at),
    )
    _expire_when_due(world, subscription, invoice, expires_at)


def discard_update(world: World, subscription: StripeObject) -> None:
    """Give a pending update up: its invoice is void."""
    waiting = world.pending_updates[subscription["id"]]
    invoice = world.store.get("invoice", waiting["invoice"])
    if invoice["status"] == "open":
        void(world, invoice)
    else:
        _forget(world, subscription)


@when_invoice_paid
def apply_update(world: World, invoice: StripeObject) -> None:
    subscription = world.store.find("subscription", subscription_of(invoice))
    if subscription is not None and _waits_for(world, subscription, invoice):
        _apply(world, subscription)


@when_invoice_given_up
def drop_update(world: World, invoice: StripeObject) -> None:
    """A void invoice takes its update with it. A resumption that is given up as uncollectible goes ahead."""
    subscription = world.store.find("subscription", subscription_of(invoice))
    if subscription is None or not _waits_for(world, subscription, invoice):
        return
    if invoice["status"] == "uncollectible" and world.pending_updates[subscription["id"]]["resumes"]:
        _apply(world, subscription)
    else:
        _forget(world, subscription)


def _waits_for(world: World, subscription: StripeObject, invoice: StripeObject) -> bool:
    waiting = world.pending_updates.get(subscription["id"])
    return waiting is not None and waiting["invoice"] == invoice["id"]


def _apply(world: World, subscription: StripeObject) -> None:
    waiting = world.pending_updates.pop(subscription["id"])
    was_pending = subscription["pending_update"] is not None
    world.update(
        subscription,
        "customer.subscription.updated",
        **waiting["fields"],
        latest_invoice=waiting["invoice"],
        pending_update=None,
    )
    if was_pending:
        world.emit("customer.subscription.pending_update_applied", subscription)
    if waiting["resumes"]:
        world.emit("customer.subscription.resumed", subscription)
    renew_when_due(world, subscription)


def _forget(world: World, subscription: StripeObject) -> None:
    world.pending_updates.pop(subscription["id"])
    world.update(subscription, "customer.subscription.updated", pending_update=None)


def _shown(world: World, subscription: StripeObject, fields: dict[str, Any], expires_at: int) -> StripeObject:
    """Stripe's `pending_update`: only what will differ."""
    changed = {name: value for name, value in fields.items() if subscription.get(name) != value}
    return world.skeletons.new(
        "subscriptions_resource_pending_update",
        billing_cycle_anchor=changed.get("billing_cycle_anchor"),
        expires_at=expires_at,
        subscription_items=changed["items"]["data"] if "items" in changed else None,
        trial_end=changed.get("trial_end"),
    )


def _expire_when_due(world: World, subscription: StripeObject, invoice: StripeObject, moment: int) -> None:
    def due() -> None:
        if _waits_for(world, subscription, invoice):
            discard_update(world, subscription)
            world.emit("customer.subscription.pending_update_expired", subscription)

    world.clock.at(moment, due, f"expiry of the pending update of {subscription['id']}", first=True)
