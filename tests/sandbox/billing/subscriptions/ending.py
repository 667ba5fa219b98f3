"""The end of a subscription: planned for a moment, or now."""

from collections.abc import Sequence
from typing import Any

from tests.sandbox.billing.invoices.invoicing import attach_pending_items, item_subscription, pending_items
from tests.sandbox.billing.invoices.lines import resum
from tests.sandbox.billing.subscriptions.adjusting import credits_for, make_items
from tests.sandbox.billing.subscriptions.ended import end_subscription
from tests.sandbox.billing.subscriptions.item_terms import items_of
from tests.sandbox.billing.subscriptions.pending_updates import discard_update
from tests.sandbox.billing.subscriptions.period_lines import add_usage_lines, metered
from tests.sandbox.billing.subscriptions.subscription_invoices import (
    pay_at_once,
    since_last_invoice,
    subscription_invoice,
)
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.metadata import unset
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def cancel_subscription(
    world: World,
    subscription: StripeObject,
    *,
    prorate: bool = False,
    invoice_now: bool = False,
    details: dict[str, Any] | None = None,
) -> None:
    """End it now. `details` are `cancellation_details` of the request.

    `prorate` credits what was billed for the time that is left; `invoice_now` bills the usage so far and what waits for
    this subscription. What waits for others goes on waiting. Without either of them its waiting prorations are deleted,
    by the document; its other items stay.
    """
    if subscription["pending_update"] is not None:
        discard_update(world, subscription)
    trialing = subscription["status"] == "trialing"
    if not prorate and not invoice_now:
        _forget_prorations(world, subscription)
    if prorate and not trialing:
        make_items(world, subscription, credits_for(world, subscription, items_of(subscription), world.now))
    invoice = _last_invoice(world, subscription, with_usage=not trialing) if invoice_now else None
    given = {key: unset(value) for key, value in (details or {}).items()}
    subscription["cancellation_details"] = {**subscription["cancellation_details"], **given}
    if invoice is not None:
        subscription["latest_invoice"] = invoice["id"]
    end_subscription(world, subscription, reason="cancellation_requested")
    if invoice is not None:
        pay_at_once(world, subscription, invoice, payment_behavior="allow_incomplete")


def _forget_prorations(world: World, subscription: StripeObject) -> None:
    for item in pending_items(world, subscription["customer"]):
        if item["proration"] and item_subscription(item) == subscription["id"]:
            world.store.remove(item)
            world.emit("invoiceitem.deleted", item)


def planned_end(
    subscription: StripeObject, parameters: Parameters, items: Sequence[StripeObject], now: int
) -> dict[str, Any]:
    """The fields of a cancellation that an update plans or takes back; none if it says nothing about one.

    `items` are those that the update leaves. Raises `StripeError`.
    """
    ends = [item["current_period_end"] for item in items]
    if "cancel_at" in parameters and parameters.get("cancel_at_period_end"):
        raise StripeError(
            "You may only specify one of these parameters: cancel_at, cancel_at_period_end.", param="cancel_at"
        )
    if "cancel_at_period_end" in parameters and "cancel_at" not in parameters:
        wanted = parameters["cancel_at_period_end"]
        if not wanted and not subscription["cancel_at_period_end"]:
            return {}  # a `cancel_at` that was set by itself stays
        return _end_fields(subscription, min(ends) if wanted else None, at_period_end=wanted, now=now)
    if "cancel_at" not in parameters:
        return {}
    moment = cancel_moment(parameters["cancel_at"], ends)
    if moment is not None and moment <= now:
        raise StripeError("`cancel_at` must be in the future.", param="cancel_at")
    return _end_fields(subscription, moment, at_period_end=False, now=now)


def cancel_moment(wanted: int | str | None, period_ends: Sequence[int]) -> int | None:
    """The moment that a `cancel_at` means: Unix seconds, or the first or last end of the items' periods."""
    match wanted:
        case "min_period_end":
            return min(period_ends)
        case "max_period_end":
            return max(period_ends)
        case "max_billed_until":
            raise not_implemented("billing schedules", param="cancel_at")
        case int():
            return wanted
    return None


def _end_fields(subscription: StripeObject, moment: int | None, *, at_period_end: bool, now: int) -> dict[str, Any]:
    reason = "cancellation_requested" if moment is not None else None
    return {
        "cancel_at": moment,
        "cancel_at_period_end": at_period_end,
        "canceled_at": now if moment is not None else None,
        "cancellation_details": {**subscription["cancellation_details"], "reason": reason},
    }


def _last_invoice(world: World, subscription: StripeObject, *, with_usage: bool) -> StripeObject | None:
    """The usage so far and what waits; None when there is neither."""
    period = since_last_invoice(world, subscription)
    invoice = subscription_invoice(world, subscription, reason="subscription_update", period=period)
    attach_pending_items(world, invoice, subscription_id=subscription["id"])
    for item in items_of(subscription):
        if metered(item) and with_usage:
            used = (item["current_period_start"], world.now)
            add_usage_lines(world, invoice, item, used, even_zero=False, last=True)
    if not world.lines[invoice["id"]]:
        world.store.remove(invoice)
        return None
    resum(world, invoice, event=False)
    return invoice
