"""Pauses: of collection alone (`pause_collection`), and of a subscription whose trial ended without a way to pay."""

from typing import Any

from tests.sandbox.billing.invoices.invoicing import attach_pending_items
from tests.sandbox.billing.invoices.lines import resum
from tests.sandbox.billing.subscriptions.adjusting import debits_for, make_items
from tests.sandbox.billing.subscriptions.anchoring import interval_of, period_around, spans_since
from tests.sandbox.billing.subscriptions.cycles import begun
from tests.sandbox.billing.subscriptions.item_terms import items_of, list_of_items
from tests.sandbox.billing.subscriptions.pending_updates import pay_before_update
from tests.sandbox.billing.subscriptions.period_lines import add_licensed_lines, metered
from tests.sandbox.billing.subscriptions.renewing import renew_when_due
from tests.sandbox.billing.subscriptions.subscription_invoices import (
    pay_at_once,
    since_last_invoice,
    subscription_invoice,
)
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def pause_of(world: World, given: dict[str, Any] | str) -> StripeObject | None:
    """The value of `pause_collection`; None for an empty text. Raises `StripeError` for a `resumes_at` that is past."""
    if not given or isinstance(given, str):
        return None
    if given.get("resumes_at", world.now + 1) <= world.now:
        raise StripeError("`resumes_at` must be in the future.", param="pause_collection[resumes_at]")
    return {"behavior": given["behavior"], "resumes_at": given.get("resumes_at")}


def resume_collection_when_due(world: World, subscription: StripeObject) -> None:
    """Collect again from `resumes_at` on, unless that was changed by then."""
    pause = subscription["pause_collection"]

    def due() -> None:
        if subscription["pause_collection"] == pause:
            world.update(subscription, "customer.subscription.updated", pause_collection=None)

    if pause is not None and pause["resumes_at"] is not None:
        world.clock.at(pause["resumes_at"], due, f"resumption of the collection of {subscription['id']}")


def resume(world: World, subscription: StripeObject, parameters: Parameters) -> None:
    """`POST /v1/subscriptions/{id}/resume`. Raises `StripeError` unless it is paused.

    From now on, a full period is billed, and the pause ends when that is paid. With the anchor unchanged the pause ends
    at once, and the rest of the period around now is prorated.
    """
    if subscription["status"] != "paused":
        raise StripeError(
            f"Only paused subscriptions can be resumed. This subscription is {subscription['status']}.",
            code="subscription_not_paused",
        )
    if subscription["pending_update"] is not None:
        raise StripeError("This subscription is being resumed already: its latest invoice has to be paid.")
    if parameters.get("billing_cycle_anchor", "now") == "now":
        _resume_now(world, subscription)
    else:
        _resume_unchanged(world, subscription, parameters)


def _resume_now(world: World, subscription: StripeObject) -> None:
    spans = {
        item["id"]: spans_since(world.now, world.now, interval_of(item["price"]), world.now)[0]
        for item in items_of(subscription)
    }
    items = [begun(item, spans[item["id"]]) for item in items_of(subscription)]
    fields = {
        "billing_cycle_anchor": world.now,
        "items": list_of_items(subscription["id"], items),
        "status": "active",
    }
    invoice = _draft(world, subscription)
    for item in items:
        if not metered(item):
            add_licensed_lines(world, invoice, item, spans[item["id"]])
    resum(world, invoice, event=False)
    if not world.lines[invoice["id"]]:
        world.store.remove(invoice)
        _resumed(world, subscription, fields)
    elif subscription["pause_collection"] is not None:  # nobody is asked to pay, so nothing waits for that
        _resumed(world, subscription, {**fields, "latest_invoice": invoice["id"]})
        pay_at_once(world, subscription, invoice, payment_behavior="allow_incomplete")
    else:
        pay_before_update(world, subscription, invoice, fields, resumes=True)


def _resume_unchanged(world: World, subscription: StripeObject, parameters: Parameters) -> None:
    behavior = parameters.get("proration_behavior", "create_prorations")
    anchor = subscription["billing_cycle_anchor"]
    items = []
    for item in items_of(subscription):
        start, end = period_around(anchor, interval_of(item["price"]), world.now)
        items.append({**item, "current_period_start": start, "current_period_end": end})
    fields: dict[str, Any] = {"items": list_of_items(subscription["id"], items), "status": "active"}
    if behavior != "none":
        moment = parameters.get("proration_date", world.now)
        make_items(world, subscription, debits_for(world, {**subscription, **fields}, items, moment))
    invoice = _draft(world, subscription) if behavior == "always_invoice" else None
    if invoice is not None:
        resum(world, invoice, event=False)
        fields["latest_invoice"] = invoice["id"]
    _resumed(world, subscription, fields)
    if invoice is not None:
        pay_at_once(world, subscription, invoice, payment_behavior="allow_incomplete")


def _resumed(world: World, subscription: StripeObject, fields: dict[str, Any]) -> None:
    world.update(subscription, "customer.subscription.updated", **fields)
    world.emit("customer.subscription.resumed", subscription)
    renew_when_due(world, subscription)


def _draft(world: World, subscription: StripeObject) -> StripeObject:
    """An invoice of the resumption with what waits for the subscription."""
    period = since_last_invoice(world, subscription)
    invoice = subscription_invoice(world, subscription, reason="subscription_update", period=period)
    attach_pending_items(world, invoice, subscription_id=subscription["id"])
    return invoice
