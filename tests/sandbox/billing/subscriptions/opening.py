"""When a subscription begins and what its first invoice is about: anchor, trial, past start, planned end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.sandbox.billing.subscriptions.anchoring import (
    configured_anchor,
    future_anchor,
    interval_of,
    spans_since,
    truncated,
)
from tests.sandbox.billing.subscriptions.cycles import begun
from tests.sandbox.billing.subscriptions.ending import cancel_moment
from tests.sandbox.billing.subscriptions.item_terms import items_of, list_of_items
from tests.sandbox.billing.subscriptions.pending_intervals import (
    next_pending_invoice,
    pending_interval,
)
from tests.sandbox.billing.subscriptions.period_lines import Span
from tests.sandbox.billing.subscriptions.trials import wanted_trial_end
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


@dataclass(frozen=True, slots=True)
class Opening:
    """When a subscription begins to be billed, and what its periods count from. Unix seconds."""

    start: int
    anchor: int
    trial_end: int | None
    prorated: bool


def open_subscription(world: World, subscription: StripeObject, parameters: Parameters) -> Opening:
    """Read the times of a request, and put them on the subscription. Raises `StripeError`."""
    items = items_of(subscription)
    intervals = [interval_of(item["price"]) for item in items]
    trial_end = wanted_trial_end(world, parameters, [item["price"] for item in items])
    start = parameters.get("backdate_start_date", world.now)
    if start > world.now:
        raise StripeError("`backdate_start_date` cannot be in the future.", param="backdate_start_date")
    anchor = _anchor(world, parameters, trial_end, intervals)
    opening = Opening(
        start=start,
        anchor=(trial_end or start) if anchor is None else anchor,
        trial_end=trial_end,
        prorated=parameters.get("proration_behavior", "create_prorations") != "none",
    )
    subscription.update(
        billing_cycle_anchor=opening.anchor,
        start_date=start,
        trial_start=world.now if trial_end else None,
        trial_end=trial_end,
    )
    if "billing_cycle_anchor_config" in parameters:
        config = world.skeletons.new("subscriptions_resource_billing_cycle_anchor_config")
        subscription["billing_cycle_anchor_config"] = {**config, **parameters["billing_cycle_anchor_config"]}
    interval = pending_interval(parameters.get("pending_invoice_item_interval"))
    subscription["pending_invoice_item_interval"] = interval
    subscription["next_pending_invoice_item_invoice"] = next_pending_invoice(world, subscription, interval)
    natural = {item["id"]: first_spans(world, opening, item)[-1] for item in items}
    subscription.update(_ending(world, parameters, [span.end for span in natural.values()]))
    placed = [begun(item, truncated(natural[item["id"]], subscription["cancel_at"])) for item in items]
    subscription["items"] = list_of_items(subscription["id"], placed)
    return opening


def _anchor(world: World, parameters: Parameters, trial_end: int | None, intervals: Sequence[Any]) -> int | None:
    """The anchor that a request asks for; counted from the end of the trial, if there is one."""
    named = [name for name in ("billing_cycle_anchor", "billing_cycle_anchor_config") if name in parameters]
    if len(named) == 2:
        raise StripeError(f"You may only specify one of these parameters: {', '.join(named)}.", param=named[1])
    if "billing_cycle_anchor_config" in parameters:
        if "backdate_start_date" in parameters:
            raise StripeError(
                "`billing_cycle_anchor_config` does not go with `backdate_start_date`.",
                param="billing_cycle_anchor_config",
            )
        return configured_anchor(parameters["billing_cycle_anchor_config"], trial_end or world.now, intervals)
    if "billing_cycle_anchor" in parameters:
        return future_anchor(parameters["billing_cycle_anchor"], world.now, trial_end or world.now, intervals)
    return None


def first_spans(world: World, opening: Opening, item: StripeObject) -> list[Span]:
    """What the first invoice is about: the trial, or everything from the start to the end of the current period."""
    if opening.trial_end is not None:
        return [Span(world.now, opening.trial_end, world.now, opening.trial_end)]
    return spans_since(opening.start, opening.anchor, interval_of(item["price"]), world.now)


def _ending(world: World, parameters: Parameters, period_ends: Sequence[int]) -> dict[str, Any]:
    """The fields of a cancellation that is planned from the start."""
    at_period_end = parameters.get("cancel_at_period_end", False)
    wanted = parameters.get("cancel_at")
    if at_period_end and wanted is not None:
        raise StripeError(
            "You may only specify one of these parameters: cancel_at, cancel_at_period_end.", param="cancel_at"
        )
    moment = min(period_ends) if at_period_end else cancel_moment(wanted, period_ends)
    if moment is None:
        return {}
    if moment <= world.now:
        raise StripeError("`cancel_at` must be in the future.", param="cancel_at")
    return {"cancel_at": moment, "cancel_at_period_end": at_period_end, "canceled_at": world.now}
