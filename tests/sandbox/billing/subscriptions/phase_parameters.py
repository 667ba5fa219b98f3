"""What a phase of a schedule does to its subscription, as the parameters of a request that would do the same.

So a schedule and a request go the same way, and do the same.
"""

from collections.abc import Sequence

from tests.sandbox.billing.subscriptions.anchoring import interval_of
from tests.sandbox.billing.subscriptions.item_terms import items_of
from tests.sandbox.billing.subscriptions.phases import ITEM_PERIOD
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def starting_parameters(schedule: StripeObject, phase: StripeObject) -> Parameters:
    """The parameters of `POST /v1/subscriptions` with which a schedule's first phase starts."""
    parameters = {"customer": schedule["customer"], "items": [_asked_for(item) for item in phase["items"]]}
    parameters |= _terms(schedule, phase)
    if phase["discounts"]:
        parameters["discounts"] = _named_discounts(phase["discounts"])
    if phase["metadata"]:
        parameters["metadata"] = dict(phase["metadata"])
    if phase["trial_end"] is not None:
        parameters["trial_end"] = phase["trial_end"]
    return parameters | {"proration_behavior": phase["proration_behavior"]}


def changing_parameters(schedule: StripeObject, phase: StripeObject, subscription: StripeObject) -> Parameters:
    """The parameters of `POST /v1/subscriptions/{id}` with which a subscription enters a phase.

    An item whose price goes on stays; the others are deleted, and new ones made.
    """
    current = {item["price"]["id"]: item for item in items_of(subscription)}
    items: list[Parameters] = []
    for wanted in phase["items"]:
        item = current.pop(wanted["price"], None)
        asked = _asked_for(wanted)
        if item is not None:
            asked = {"id": item["id"], **{name: value for name, value in asked.items() if name != "price"}}
        items.append(asked)
    items += [{"id": item["id"], "deleted": True} for item in current.values()]
    parameters: Parameters = {"items": items, **_terms(schedule, phase)}
    if phase["discounts"] or subscription["discounts"]:
        parameters["discounts"] = _named_discounts(phase["discounts"]) or ""
    if subscription["default_tax_rates"] and not phase["default_tax_rates"]:
        parameters["default_tax_rates"] = ""
    if phase["metadata"]:
        parameters["metadata"] = dict(phase["metadata"])
    if phase["trial_end"] is not None:
        parameters["trial_end"] = phase["trial_end"]
    return parameters | {"proration_behavior": phase["proration_behavior"]}


def begins_anew(world: World, schedule: StripeObject, phase: StripeObject, subscription: StripeObject) -> bool:
    """Whether entering a phase moves the billing cycle anchor to its start.

    `automatic` moves it "as needed" (Stripe's document); taken here, an assumption, to be when no interval goes on.
    """
    if (phase["billing_cycle_anchor"] or schedule["default_settings"]["billing_cycle_anchor"]) == "phase_start":
        return True
    current = {interval_of(item["price"]) for item in items_of(subscription)}
    wanted = {interval_of(world.store.get("price", item["price"])) for item in phase["items"]}
    return not current & wanted


def _terms(schedule: StripeObject, phase: StripeObject) -> Parameters:
    """What a phase says itself or leaves to the schedule's default settings."""
    defaults = schedule["default_settings"]
    method = phase["collection_method"] or defaults["collection_method"]
    terms: Parameters = {"collection_method": method}
    if method == "send_invoice":
        own = (phase["invoice_settings"] or {}).get("days_until_due")
        days = own if own is not None else defaults["invoice_settings"]["days_until_due"]
        terms["days_until_due"] = 30 if days is None else days
    for name in ("default_payment_method", "description"):
        value = phase[name] or defaults[name]
        if value is not None:
            terms[name] = value
    if phase["default_tax_rates"]:
        terms["default_tax_rates"] = [rate["id"] for rate in phase["default_tax_rates"]]
    if phase["add_invoice_items"]:
        terms["add_invoice_items"] = [_asked_for_once(item, phase) for item in phase["add_invoice_items"]]
    return terms


def _asked_for(item: StripeObject) -> Parameters:
    """An item of a phase as a request about a subscription names it."""
    asked: Parameters = {"price": item["price"]}
    if item.get("quantity") is not None:
        asked["quantity"] = item["quantity"]
    if item["metadata"]:
        asked["metadata"] = dict(item["metadata"])
    if item["tax_rates"]:
        asked["tax_rates"] = [rate["id"] for rate in item["tax_rates"]]
    if item["discounts"]:
        asked["discounts"] = _named_discounts(item["discounts"])
    return asked


def _asked_for_once(item: StripeObject, phase: StripeObject) -> Parameters:
    """A phase's own invoice item as a request about a subscription names it: a phase begins now."""
    asked = _asked_for(item)
    if item["discountable"] is not None:
        asked["discountable"] = item["discountable"]
    if item["period"] != ITEM_PERIOD:
        start, end = dict(item["period"]["start"]), dict(item["period"]["end"])
        if start["type"] == "phase_start":
            start = {"type": "now"}
        if end["type"] == "phase_end":
            end = {"type": "timestamp", "timestamp": phase["end_date"]}
        asked["period"] = {"start": start, "end": end}
    return asked


def _named_discounts(discounts: Sequence[StripeObject]) -> list[Parameters]:
    return [{name: value for name, value in discount.items() if value is not None} for discount in discounts]
