"""The life of a subscription by the clock: the next period and its invoice, the end at a chosen moment, expiry."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.sandbox.billing.invoices.invoicing import attach_pending_items, item_subscription, pending_items
from tests.sandbox.billing.invoices.lines import resum
from tests.sandbox.billing.invoices.voiding import void
from tests.sandbox.billing.payments.collecting import end_subscription
from tests.sandbox.billing.subscriptions import trials
from tests.sandbox.billing.subscriptions.anchoring import interval_of, spans_since, truncated
from tests.sandbox.billing.subscriptions.item_terms import items_of, list_of_items
from tests.sandbox.billing.subscriptions.period_lines import Span, add_licensed_lines, add_usage_lines, metered
from tests.sandbox.billing.subscriptions.subscription_invoices import release, subscription_invoice
from tests.sandbox.billing.subscriptions.upcoming import tell_upcoming
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

ALIVE = frozenset({"active", "past_due", "paused", "trialing", "unpaid"})
INCOMPLETE_EXPIRES_AFTER_SECONDS = 23 * 3600
DAY_SECONDS = 86_400


def period_end(subscription: StripeObject) -> int:
    """When the next of its items' periods ends."""
    return min(int(item["current_period_end"]) for item in items_of(subscription))


def current_period(subscription: StripeObject) -> tuple[int, int]:
    """The latest start and the earliest end of its items' periods, as Stripe counts a subscription's own."""
    return max(int(item["current_period_start"]) for item in items_of(subscription)), period_end(subscription)


def renew_when_due(world: World, subscription: StripeObject) -> None:
    """At the end of the current period: renew, or end what was to end with it; and some days before, say so."""
    moment = period_end(subscription)

    def due() -> None:
        if period_end(subscription) != moment or subscription["status"] not in ALIVE - {"paused"}:
            return
        ends_at = subscription["cancel_at"]
        if ends_at is not None and ends_at <= moment:
            close(world, subscription)
        elif subscription["status"] == "trialing" and subscription["trial_end"] == moment:
            trials.end_by_clock(world, subscription)
        else:
            renew(world, subscription)

    world.clock.at(moment, due, f"end of the period of {subscription['id']}")
    tell_upcoming(world, subscription, moment)


def cancel_when_due(world: World, subscription: StripeObject) -> None:
    """`cancel_at`: end at a chosen moment, unless that was changed by then."""
    moment = subscription["cancel_at"]

    def due() -> None:
        if subscription["cancel_at"] == moment and subscription["status"] in ALIVE:
            close(world, subscription)

    if moment is not None:
        world.clock.at(moment, due, f"cancel_at of {subscription['id']}")


def expire_when_due(world: World, subscription: StripeObject) -> None:
    """A first payment that never arrives: after 23 hours the subscription is over and its invoice void."""

    def due() -> None:
        if subscription["status"] != "incomplete":
            return
        world.update(subscription, "customer.subscription.updated", status="incomplete_expired", ended_at=world.now)
        invoice = world.store.find("invoice", subscription["latest_invoice"])
        if invoice is not None and invoice["status"] == "open":
            void(world, invoice)

    moment = world.now + INCOMPLETE_EXPIRES_AFTER_SECONDS
    world.clock.at(moment, due, f"expiry of incomplete {subscription['id']}")


def renew(world: World, subscription: StripeObject, **changes: Any) -> None:
    """Begin the next period of the items whose period ends, with an invoice for them; `changes` are told with it."""
    moment = period_end(subscription)
    ended = [item for item in items_of(subscription) if item["current_period_end"] == moment]
    spans = next_spans(subscription, ended)
    invoice = subscription_invoice(
        world, subscription, reason="subscription_cycle", period=current_period(subscription)
    )
    attach_pending_items(world, invoice, subscription_id=subscription["id"])
    add_cycle_lines(world, invoice, ended, spans, with_usage=subscription["status"] != "trialing")
    resum(world, invoice, event=False)
    advanced = [begun(item, spans[item["id"]]) if item["id"] in spans else item for item in items_of(subscription)]
    changes["items"] = list_of_items(subscription["id"], advanced)
    if subscription["cancel_at_period_end"]:
        changes["cancel_at"] = min(item["current_period_end"] for item in advanced)
    if world.lines[invoice["id"]]:
        changes["latest_invoice"] = invoice["id"]
    world.update(subscription, "customer.subscription.updated", **changes)
    if world.lines[invoice["id"]]:
        release(world, subscription, invoice)
    else:  # a trial of metered items alone leaves nothing to bill
        world.store.remove(invoice)
    renew_when_due(world, subscription)


def next_spans(subscription: StripeObject, items: Sequence[StripeObject]) -> dict[str, Span]:
    """By item: what follows its current period, up to a cancellation that comes earlier."""
    anchor = subscription["billing_cycle_anchor"]
    spans = {}
    for item in items:
        start = item["current_period_end"]
        following = spans_since(start, anchor, interval_of(item["price"]), start)[0]
        spans[item["id"]] = truncated(following, subscription["cancel_at"])
    return spans


def begun(item: StripeObject, span: Span) -> StripeObject:
    """A copy of the item in its next period."""
    return {**item, "current_period_start": span.start, "current_period_end": span.end}


def add_cycle_lines(
    world: World,
    invoice: StripeObject,
    items: Sequence[StripeObject],
    spans: Mapping[str, Span],
    *,
    with_usage: bool,
) -> None:
    """For each item, in their order: a licensed one's next period, a metered one's usage of the period that ended."""
    for item in items:
        if not metered(item):
            add_licensed_lines(world, invoice, item, spans[item["id"]])
        elif with_usage:
            period = (item["current_period_start"], item["current_period_end"])
            add_usage_lines(world, invoice, item, period, even_zero=True)


def close(world: World, subscription: StripeObject) -> None:
    """End as planned. What still waits for an invoice of this subscription, and the last usage, gets a last one."""
    invoice = subscription_invoice(
        world, subscription, reason="subscription_cycle", period=current_period(subscription)
    )
    for item in items_of(subscription):
        if metered(item) and subscription["status"] != "trialing":
            add_usage_lines(world, invoice, item, (item["current_period_start"], world.now), even_zero=False)
    waiting = pending_items(world, subscription["customer"])
    billed = bool(world.lines[invoice["id"]]) or any(item_subscription(item) == subscription["id"] for item in waiting)
    if billed:
        attach_pending_items(world, invoice, subscription_id=subscription["id"])
        resum(world, invoice, event=False)
        subscription["latest_invoice"] = invoice["id"]
    else:
        world.store.remove(invoice)
    end_subscription(world, subscription, reason="cancellation_requested")
    if billed:
        release(world, subscription, invoice)
