"""`pending_invoice_item_interval`: items that wait are billed at an interval of their own, not only with renewals."""

from typing import Any

from tests.sandbox.billing.invoices.invoicing import attach_pending_items, item_subscription, pending_items
from tests.sandbox.billing.invoices.lines import resum
from tests.sandbox.billing.periods import Interval, boundary_after
from tests.sandbox.billing.subscriptions.subscription_invoices import release, since_last_invoice, subscription_invoice
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

COUNTS_MAX = {"day": 365, "week": 52, "month": 12, "year": 1}  # one year at most
BILLED = frozenset({"active", "past_due", "trialing"})


def pending_interval(given: dict[str, Any] | str | None) -> StripeObject | None:
    """The field's value; None for an empty text. Raises `StripeError` for more than a year."""
    if not given or isinstance(given, str):
        return None
    interval, count = given["interval"], given.get("interval_count", 1)
    if not 1 <= count <= COUNTS_MAX[interval]:
        raise StripeError(
            f"interval_count must be between 1 and {COUNTS_MAX[interval]} for the interval {interval}.",
            param="pending_invoice_item_interval[interval_count]",
        )
    return {"interval": interval, "interval_count": count}


def next_pending_invoice(world: World, subscription: StripeObject, interval: StripeObject | None) -> int | None:
    """When what waits is billed next: on the anchor's grid."""
    if interval is None:
        return None
    every = Interval(interval["interval"], interval["interval_count"])
    return boundary_after(subscription["billing_cycle_anchor"], every, world.now)


def bill_pending_when_due(world: World, subscription: StripeObject) -> None:
    """Bill what waits at `next_pending_invoice_item_invoice`, and plan the next time."""
    moment = subscription["next_pending_invoice_item_invoice"]

    def due() -> None:
        if subscription["next_pending_invoice_item_invoice"] != moment or subscription["status"] not in BILLED:
            return
        following = next_pending_invoice(world, subscription, subscription["pending_invoice_item_interval"])
        changes: dict[str, Any] = {"next_pending_invoice_item_invoice": following}
        waiting = pending_items(world, subscription["customer"])
        invoice = None
        if any(item_subscription(item) == subscription["id"] for item in waiting):
            invoice = subscription_invoice(
                world,
                subscription,
                reason="automatic_pending_invoice_item_invoice",
                period=since_last_invoice(world, subscription),
            )
            attach_pending_items(world, invoice, subscription_id=subscription["id"])
            resum(world, invoice, event=False)
            changes["latest_invoice"] = invoice["id"]
        world.update(subscription, "customer.subscription.updated", **changes)
        if invoice is not None:
            release(world, subscription, invoice)
        bill_pending_when_due(world, subscription)

    if moment is not None:
        world.clock.at(moment, due, f"waiting items of {subscription['id']}")
