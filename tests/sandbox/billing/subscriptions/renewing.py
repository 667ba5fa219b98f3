"""The life of a subscription by the clock: the next period and its invoice, the end at a chosen moment, expiry."""

from typing import Any

from tests.sandbox.billing.invoices.invoicing import attach_pending_items, item_subscription, pending_items
from tests.sandbox.billing.invoices.lines import resum
from tests.sandbox.billing.invoices.voiding import void
from tests.sandbox.billing.subscriptions.cycles import add_cycle_lines, begun, current_period, next_spans, period_end
from tests.sandbox.billing.subscriptions.ended import end_subscription
from tests.sandbox.billing.subscriptions.item_terms import items_of, list_of_items
from tests.sandbox.billing.subscriptions.period_lines import add_usage_lines, metered
from tests.sandbox.billing.subscriptions.subscription_invoices import release, subscription_invoice
from tests.sandbox.billing.subscriptions.trials import end_without_means, ends_without_means
from tests.sandbox.billing.subscriptions.upcoming import tell_upcoming
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

ALIVE = frozenset({"active", "past_due", "paused", "trialing", "unpaid"})
INCOMPLETE_EXPIRES_AFTER_SECONDS = 23 * 3600


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
            _end_trial(world, subscription)
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


def _end_trial(world: World, subscription: StripeObject) -> None:
    """The trial is over: the first period that costs something begins, or else what `trial_settings` say."""
    outcome = ends_without_means(world, subscription)
    if outcome is None:
        renew(world, subscription, status="active")
    else:
        end_without_means(world, subscription, outcome, {})
