"""Subscription items by themselves: each request is a change of one entry of `items[]` of their subscription."""

from typing import Any

from tests.sandbox.billing.subscriptions.changing import change_from_parameters
from tests.sandbox.billing.subscriptions.item_terms import items_of
from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.lists import ordered_page
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

OF_THE_CHANGE = ("off_session", "payment_behavior", "proration_behavior", "proration_date")
OF_THE_ITEM = (
    "billing_thresholds",
    "clear_usage",
    "discounts",
    "metadata",
    "price",
    "price_data",
    "quantity",
    "tax_rates",
)
URL = "/v1/subscription_items"


@handles("POST /v1/subscription_items")
def create_subscription_item(world: World, parameters: Parameters) -> StripeObject:
    subscription = world.store.get("subscription", parameters["subscription"], param="subscription")
    before = {item["id"] for item in items_of(subscription)}
    _change(world, subscription, {}, parameters)
    pending = (subscription["pending_update"] or {}).get("subscription_items") or []
    return next(item for item in [*items_of(subscription), *pending] if item["id"] not in before)


@handles("GET /v1/subscription_items")
def list_subscription_items(world: World, parameters: Parameters) -> StripeObject:
    subscription = world.store.get("subscription", parameters["subscription"], param="subscription")
    return ordered_page(items_of(subscription), parameters, url=URL)


@handles("GET /v1/subscription_items/{item}")
def retrieve_subscription_item(world: World, parameters: Parameters, item_id: str) -> StripeObject:
    return _found(_owner(world, item_id), item_id)


@handles("POST /v1/subscription_items/{item}")
def update_subscription_item(world: World, parameters: Parameters, item_id: str) -> StripeObject:
    subscription = _owner(world, item_id)
    _change(world, subscription, {"id": item_id}, parameters)
    return _found(subscription, item_id)


@handles("DELETE /v1/subscription_items/{item}")
def delete_subscription_item(world: World, parameters: Parameters, item_id: str) -> StripeObject:
    subscription = _owner(world, item_id)
    _change(world, subscription, {"id": item_id, "deleted": True}, parameters)
    return {"id": item_id, "object": "subscription_item", "deleted": True}


def _change(world: World, subscription: StripeObject, entry: dict[str, Any], parameters: Parameters) -> None:
    entry |= {name: parameters[name] for name in OF_THE_ITEM if name in parameters}
    change = {name: parameters[name] for name in OF_THE_CHANGE if name in parameters}
    try:
        change_from_parameters(world, subscription, {**change, "items": [entry]})
    except StripeError as error:
        param = str(error.fields.get("param", ""))
        if param.startswith("items[0]["):  # here the item's parameters stand alone
            error.fields["param"] = param.removeprefix("items[0][").replace("]", "", 1)
        raise


def _owner(world: World, item_id: str) -> StripeObject:
    subscription = world.store.find("subscription", world.subscription_items.get(item_id))
    if subscription is None or all(item["id"] != item_id for item in items_of(subscription)):
        raise resource_missing("subscription_item", item_id)
    return subscription


def _found(subscription: StripeObject, item_id: str) -> StripeObject:
    return next(item for item in items_of(subscription) if item["id"] == item_id)
