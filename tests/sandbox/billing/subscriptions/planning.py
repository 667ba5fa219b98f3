"""Changes of a subscription worked out: every field, period and proration, before anything is billed or told.

In the flexible billing mode the billing cycle anchor moves only when a request says so (`billing_cycle_anchor=now`) or
a trial is given or ended; a price with another interval or with the first amount above zero does not move it.
"""

from dataclasses import dataclass, field
from typing import Any

from tests.sandbox.billing.invoices.discounts import replaced_discounts
from tests.sandbox.billing.subscriptions.adjusting import Adjustment, credits_for, debits_for, usage_for
from tests.sandbox.billing.subscriptions.anchoring import interval_of, period_around, spans_since, truncated
from tests.sandbox.billing.subscriptions.cycles import begun
from tests.sandbox.billing.subscriptions.editing import Edits, edited_items, redeem_discounts
from tests.sandbox.billing.subscriptions.ending import planned_end
from tests.sandbox.billing.subscriptions.item_terms import items_of, list_of_items
from tests.sandbox.billing.subscriptions.pausing import pause_of
from tests.sandbox.billing.subscriptions.pending_intervals import next_pending_invoice, pending_interval
from tests.sandbox.billing.subscriptions.period_lines import Span, metered
from tests.sandbox.billing.subscriptions.terms import changed_terms
from tests.sandbox.billing.subscriptions.trials import wanted_trial_end
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


@dataclass(slots=True)
class Change:
    """What a request changes. `fields` are the subscription's as they will be."""

    fields: dict[str, Any]
    edits: Edits
    moment: int
    behavior: str
    adjustments: list[Adjustment] = field(default_factory=list)
    new_periods: dict[str, Span] = field(default_factory=dict)  # by item: charged in full, at once
    trial_from: int | None = None  # a trial that begins with this change: shown on an invoice of nothing
    bills: bool = False
    added: list[Parameters] = field(default_factory=list)


def work_out(world: World, subscription: StripeObject, parameters: Parameters) -> Change:
    customer = world.store.get("customer", subscription["customer"])
    edits = edited_items(world, subscription, parameters.get("items", []))
    change = Change(
        fields=changed_terms(world, customer, subscription, parameters),
        edits=edits,
        moment=_proration_date(world, subscription, parameters),
        behavior=parameters.get("proration_behavior", "create_prorations"),
        added=parameters.get("add_invoice_items", []),
    )
    _settings(world, subscription, parameters, change)
    redeem_discounts(world, subscription, edits, parameters.get("items", []))
    _place(world, subscription, parameters, change)
    _plan_end(world, subscription, parameters, change)
    change.fields["items"] = list_of_items(subscription["id"], edits.after)
    _prorate(world, subscription, change)
    always = change.behavior == "always_invoice" and bool(change.adjustments or change.added)
    change.bills = bool(change.new_periods) or change.trial_from is not None or always
    return change


def _settings(world: World, subscription: StripeObject, parameters: Parameters, change: Change) -> None:
    """Fields that need no item."""
    if parameters.get("discounts", []) != []:
        change.fields["discounts"] = replaced_discounts(
            world,
            subscription["discounts"],
            parameters["discounts"],
            customer=subscription["customer"],
            subscription=subscription["id"],
        )
    if "pending_invoice_item_interval" in parameters:
        interval = pending_interval(parameters["pending_invoice_item_interval"])
        change.fields["pending_invoice_item_interval"] = interval
        change.fields["next_pending_invoice_item_invoice"] = next_pending_invoice(world, subscription, interval)
    if "pause_collection" in parameters:
        change.fields["pause_collection"] = pause_of(world, parameters["pause_collection"])


def _place(world: World, subscription: StripeObject, parameters: Parameters, change: Change) -> None:
    """Give every item its period: a new one from now, a trial's, or that of the anchor's grid."""
    trialing = subscription["status"] == "trialing"
    edits = change.edits
    prices = [item["price"] for item in edits.after]
    trial_end = wanted_trial_end(
        world, {name: parameters[name] for name in ("trial_end", "trial_from_plan") if name in parameters}, prices
    )
    if trial_end is not None:
        change.trial_from = None if trialing else world.now
        start = subscription["trial_start"] if trialing else world.now
        change.fields |= {"billing_cycle_anchor": trial_end, "status": "trialing", "trial_end": trial_end}
        change.fields["trial_start"] = start
        _begin(change, {item["id"]: Span(start, trial_end, start, trial_end) for item in edits.after})
    elif parameters.get("trial_end") == "now" and trialing:
        kept = subscription["billing_cycle_anchor"] != subscription["trial_end"]
        change.fields |= {"status": "active", "trial_end": world.now}
        _restart(world, change, subscription["billing_cycle_anchor"] if kept else world.now)
    elif parameters.get("billing_cycle_anchor") == "now":
        if trialing:
            raise not_implemented("billing_cycle_anchor=now during a trial", param="billing_cycle_anchor")
        _restart(world, change, world.now)
    else:
        _begin(change, {item["id"]: _grid_span(world, subscription, item) for item in _moved(edits)})


def _restart(world: World, change: Change, anchor: int) -> None:
    """Every item begins a period now, which is billed in full."""
    change.fields["billing_cycle_anchor"] = anchor
    spans = {
        item["id"]: spans_since(world.now, anchor, interval_of(item["price"]), world.now)[0]
        for item in change.edits.after
    }
    _begin(change, spans)
    change.new_periods = spans


def _begin(change: Change, spans: dict[str, Span]) -> None:
    edits = change.edits
    periods = {
        name: {"current_period_start": span.start, "current_period_end": span.end} for name, span in spans.items()
    }
    edits.after = [{**item, **periods.get(item["id"], {})} for item in edits.after]
    after = {item["id"]: item for item in edits.after}
    edits.added = [after[item["id"]] for item in edits.added]
    edits.replaced = [(before, after[item["id"]]) for before, item in edits.replaced]


def _moved(edits: Edits) -> list[StripeObject]:
    """Items that need another period: new ones, and those whose price has another interval."""
    return edits.added + [
        after for before, after in edits.replaced if interval_of(before["price"]) != interval_of(after["price"])
    ]


def _grid_span(world: World, subscription: StripeObject, item: StripeObject) -> Span:
    """The period of an item that joins: a trial's, a sibling's of the same interval, or the anchor's around now."""
    if subscription["status"] == "trialing":
        return Span(world.now, subscription["trial_end"], world.now, subscription["trial_end"])
    for other in items_of(subscription):
        if interval_of(other["price"]) == interval_of(item["price"]):
            start, end = other["current_period_start"], other["current_period_end"]
            return Span(start, end, start, end)
    start, end = period_around(subscription["billing_cycle_anchor"], interval_of(item["price"]), world.now)
    return truncated(Span(start, end, start, end), subscription["cancel_at"])


def _plan_end(world: World, subscription: StripeObject, parameters: Parameters, change: Change) -> None:
    """`cancel_at` and its like: the fields, and periods that end with the subscription or no longer do."""
    former: int | None = subscription["cancel_at"]
    fields = planned_end({**subscription, **change.fields}, parameters, change.edits.after, world.now)
    if not fields and subscription["cancel_at_period_end"]:  # which moves with the period
        fields = {"cancel_at": min(int(item["current_period_end"]) for item in change.edits.after)}
    change.fields |= fields
    if subscription["status"] in ("trialing", "paused") and not change.new_periods:
        return
    ends_at = change.fields.get("cancel_at", former)
    anchor: int = {**subscription, **change.fields}["billing_cycle_anchor"]
    spans = {
        item["id"]: truncated(_natural_span(item, former, anchor), ends_at)
        for item in change.edits.after
        if ends_at != former or item["id"] in change.new_periods
    }
    if change.new_periods:
        change.new_periods = {name: truncated(span, ends_at) for name, span in change.new_periods.items()}
    else:
        _prorate_ends(world, subscription, change, spans)
    _begin(change, spans)


def _natural_span(item: StripeObject, former_end: int | None, anchor: int) -> Span:
    """The item's period, to its own end where a cancellation had cut it short."""
    start, end = item["current_period_start"], item["current_period_end"]
    if end == former_end:
        end = period_around(anchor, interval_of(item["price"]), end - 1)[1]
    return Span(start, end, start, end)


def _prorate_ends(world: World, subscription: StripeObject, change: Change, spans: dict[str, Span]) -> None:
    """Credit what a shorter period leaves out, or charge what a longer one adds, of items that do not change anyway."""
    changing = {item["id"] for item in change.edits.debited}
    after = {**subscription, **change.fields, "items": list_of_items(subscription["id"], change.edits.after)}
    for item in change.edits.after:
        span = spans.get(item["id"])
        if span is None or change.behavior == "none" or metered(item) or item["id"] in changing:
            continue
        if span.end < item["current_period_end"]:
            change.adjustments += credits_for(world, subscription, [item], span.end)
        elif span.end > item["current_period_end"]:
            longer = begun(item, span)
            change.adjustments += debits_for(world, after, [longer], item["current_period_end"])


def _prorate(world: World, subscription: StripeObject, change: Change) -> None:
    """Credits first and then debits. A trial and a paused subscription have nothing to prorate."""
    if change.behavior == "none" or subscription["status"] in ("trialing", "paused"):
        return
    edits = change.edits
    after = {**subscription, **change.fields}
    if change.new_periods or change.trial_from is not None:
        unbilled = edits.removed + [before for before, item in edits.replaced if not metered(item)]
        if change.trial_from is not None:  # whose usage is free
            unbilled = items_of(subscription)
        change.adjustments += usage_for(world, subscription, unbilled, edits.after)
        change.adjustments += credits_for(world, subscription, items_of(subscription), change.moment)
        return
    usage = usage_for(world, subscription, edits.credited, edits.after)
    unused = credits_for(world, subscription, edits.credited, change.moment)
    change.adjustments += usage + unused + debits_for(world, after, edits.debited, change.moment)


def _proration_date(world: World, subscription: StripeObject, parameters: Parameters) -> int:
    moment: int = parameters.get("proration_date", world.now)
    starts = [item["current_period_start"] for item in items_of(subscription)]
    ends = [item["current_period_end"] for item in items_of(subscription)]
    if "proration_date" in parameters and not min(starts) <= moment <= max(ends):
        raise StripeError(
            "Cannot specify a proration_date that is not within the current period.", param="proration_date"
        )
    return moment


def without_period(subscription: StripeObject, change: Change) -> dict[str, Any]:
    """The fields of a change whose new period does not begin, because nobody can pay for it."""
    kept = {item["id"]: item for item in items_of(subscription)}
    items = [
        {**item, **{name: kept[item["id"]][name] for name in ("current_period_start", "current_period_end")}}
        if item["id"] in kept
        else item
        for item in change.edits.after
    ]
    fields = {name: value for name, value in change.fields.items() if name not in ("billing_cycle_anchor", "status")}
    return {**fields, "items": list_of_items(subscription["id"], items)}
