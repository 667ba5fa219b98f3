"""Changes of a subscription: worked out by `planning`, then billed and told."""

from collections.abc import Callable

from tests.sandbox.billing.invoices.invoicing import attach_pending_items
from tests.sandbox.billing.invoices.lines import resum
from tests.sandbox.billing.subscriptions.adding import add_invoice_items
from tests.sandbox.billing.subscriptions.adjusting import make_items
from tests.sandbox.billing.subscriptions.cycles import period_end
from tests.sandbox.billing.subscriptions.ended import ENDED
from tests.sandbox.billing.subscriptions.item_terms import items_of
from tests.sandbox.billing.subscriptions.means import require_payable
from tests.sandbox.billing.subscriptions.pausing import resume_collection_when_due
from tests.sandbox.billing.subscriptions.pending_intervals import bill_pending_when_due
from tests.sandbox.billing.subscriptions.pending_updates import SUPPORTED, discard_update, pay_before_update
from tests.sandbox.billing.subscriptions.period_lines import (
    add_licensed_lines,
    add_trial_line,
    add_usage_lines,
    metered,
)
from tests.sandbox.billing.subscriptions.planning import Change, without_period, work_out
from tests.sandbox.billing.subscriptions.renewing import cancel_when_due, renew_when_due
from tests.sandbox.billing.subscriptions.subscription_invoices import (
    pay_at_once,
    since_last_invoice,
    subscription_invoice,
)
from tests.sandbox.billing.subscriptions.terms import TERMS
from tests.sandbox.billing.subscriptions.trials import end_without_means, ends_without_means, warn_when_due
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

UPDATABLE = TERMS | frozenset(
    {"add_invoice_items", "billing_cycle_anchor", "cancel_at", "cancel_at_period_end", "discounts", "items"}
    | {"pause_collection", "payment_behavior", "pending_invoice_item_interval", "proration_behavior", "proration_date"}
    | {"trial_end", "trial_from_plan"}
)
OF_ENDED = frozenset({"cancellation_details", "expand", "metadata"})
MOVING_MONEY = frozenset({"add_invoice_items", "billing_cycle_anchor", "items", "trial_end", "trial_from_plan"})


def change_from_parameters(world: World, subscription: StripeObject, parameters: Parameters) -> None:
    """Change it by the parameters of `POST /v1/subscriptions/{id}`. Raises `StripeError` for what may not be."""
    refuse_unsupported(parameters, UPDATABLE, "POST /v1/subscriptions/{subscription_exposed_id}")
    _require_changeable(subscription, parameters)
    behavior = parameters.get("payment_behavior", "allow_incomplete")
    if behavior == "error_if_incomplete":
        attempted = {**parameters, "payment_behavior": "allow_incomplete"}
        attempt = _attempt(subscription["id"], attempted)
        require_payable(world, attempt)
    if subscription["pending_update"] is not None and MOVING_MONEY & parameters.keys():
        discard_update(world, subscription)
    was_trialing = subscription["status"] == "trialing"
    change = work_out(world, subscription, parameters)
    if parameters.get("trial_end") == "now" and was_trialing:
        world.emit("customer.subscription.trial_will_end", subscription)
        outcome = ends_without_means(world, {**subscription, **change.fields})
        if outcome is not None:
            end_without_means(world, subscription, outcome, without_period(subscription, change))
            return
    _carry_out(world, subscription, change, behavior)


def _attempt(subscription_id: str, parameters: Parameters) -> Callable[[World], StripeObject | None]:
    def attempt(scratch: World) -> StripeObject | None:
        subscription = scratch.store.get("subscription", subscription_id)
        before = subscription["latest_invoice"]
        change_from_parameters(scratch, subscription, parameters)
        invoice = scratch.store.find("invoice", subscription["latest_invoice"])
        unpaid = invoice is not None and invoice["id"] != before and invoice["status"] == "open"
        return invoice if unpaid else None

    return attempt


def _require_changeable(subscription: StripeObject, parameters: Parameters) -> None:
    if subscription["status"] in ENDED and parameters.keys() - OF_ENDED:
        raise StripeError("A canceled subscription can only update its cancellation_details and metadata.")
    if subscription["status"] == "incomplete" and MOVING_MONEY & parameters.keys():
        raise StripeError(
            "You cannot change what an incomplete subscription bills before its first invoice is paid.",
            code="subscription_incomplete",
        )
    if parameters.get("payment_behavior") == "pending_if_incomplete":
        if subscription["collection_method"] == "send_invoice":
            raise StripeError(
                "`payment_behavior=pending_if_incomplete` is only for `collection_method=charge_automatically`.",
                param="payment_behavior",
            )
        for name in sorted(parameters.keys() - SUPPORTED):
            raise StripeError(
                f"`payment_behavior=pending_if_incomplete` does not support updating `{name}`.", param=name
            )


def _carry_out(world: World, subscription: StripeObject, change: Change, behavior: str) -> None:
    after, former_end = {**subscription, **change.fields}, period_end(subscription)
    make_items(world, after, change.adjustments)
    add_invoice_items(world, subscription, change.added)
    invoice = _draft(world, subscription, after, change) if change.bills else None
    for item in change.edits.credited:
        if metered(item) and change.behavior != "none":
            world.usage_billed_until[item["id"]] = world.now
    for item in change.edits.added:
        if metered(item):  # what was used before is not its own, though its period may have begun earlier
            world.usage_billed_until[item["id"]] = world.now
    if invoice is not None and behavior == "pending_if_incomplete" and after["pause_collection"] is None:
        pay_before_update(world, subscription, invoice, change.fields)
        return
    if invoice is not None:
        change.fields["latest_invoice"] = invoice["id"]
    world.update(subscription, "customer.subscription.updated", **change.fields)
    _schedule(world, subscription, change, former_end)
    if invoice is not None:
        pay_at_once(world, subscription, invoice, payment_behavior=behavior)
        if invoice["status"] == "open" and subscription["status"] == "active" and behavior == "default_incomplete":
            world.update(subscription, "customer.subscription.updated", status="past_due")


def _draft(world: World, subscription: StripeObject, after: StripeObject, change: Change) -> StripeObject | None:
    """The invoice of a change; None when there is nothing to put on it."""
    period = since_last_invoice(world, subscription)
    invoice = subscription_invoice(world, after, reason="subscription_update", period=period)
    attach_pending_items(world, invoice, subscription_id=subscription["id"])
    before = {item["id"]: item for item in items_of(subscription)}
    for item in change.edits.after:
        if change.trial_from is not None:
            add_trial_line(world, invoice, item, (item["current_period_start"], item["current_period_end"]))
        elif item["id"] in change.new_periods and not metered(item):
            add_licensed_lines(world, invoice, item, change.new_periods[item["id"]])
        elif item["id"] in change.new_periods and item["id"] in before and subscription["status"] != "trialing":
            used = (before[item["id"]]["current_period_start"], world.now)
            add_usage_lines(world, invoice, before[item["id"]], used, even_zero=True)
    if not world.lines[invoice["id"]]:
        world.store.remove(invoice)
        return None
    resum(world, invoice, event=False)
    return invoice


def _schedule(world: World, subscription: StripeObject, change: Change, former_end: int) -> None:
    """What the clock has to know of the new terms."""
    if period_end(subscription) != former_end:
        renew_when_due(world, subscription)
    if "cancel_at" in change.fields:
        cancel_when_due(world, subscription)
    if "trial_end" in change.fields and subscription["status"] == "trialing":
        warn_when_due(world, subscription)
    if "pause_collection" in change.fields:
        resume_collection_when_due(world, subscription)
    if "pending_invoice_item_interval" in change.fields:
        bill_pending_when_due(world, subscription)
