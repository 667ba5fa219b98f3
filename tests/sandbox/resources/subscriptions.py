"""Subscriptions to licensed prices: creation with its first invoice, changes that touch no money, cancellation."""

from typing import Any

from tests.sandbox.billing.collecting import end_subscription
from tests.sandbox.billing.renewing import cancel_when_due, items_of, period_end
from tests.sandbox.billing.starting import StartRequest, start_subscription
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.resources.payment_methods import find_payment_method
from tests.sandbox.world import World

CREATABLE = frozenset(
    {"billing_cycle_anchor", "cancel_at", "cancel_at_period_end", "collection_method", "currency", "customer"}
    | {"days_until_due", "default_payment_method", "description", "items", "metadata", "off_session"}
    | {"payment_behavior", "payment_settings", "proration_behavior"}
)
UPDATABLE = frozenset(
    {"cancel_at", "cancel_at_period_end", "cancellation_details", "collection_method", "days_until_due"}
    | {"default_payment_method", "description", "metadata", "off_session", "payment_behavior", "proration_behavior"}
)
ENDED = frozenset({"canceled", "incomplete_expired"})
URL = "/v1/subscriptions"


@handles("POST /v1/subscriptions")
def create_subscription(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/subscriptions")
    if "customer" not in parameters:
        raise StripeError("Missing required param: customer.", code="parameter_missing", param="customer")
    customer = world.store.get("customer", parameters["customer"], param="customer")
    behavior = parameters.get("payment_behavior", "allow_incomplete")
    if behavior == "pending_if_incomplete":
        raise StripeError("`pending_if_incomplete` is for updates of a subscription.", param="payment_behavior")
    method = parameters.get("collection_method", "charge_automatically")
    if method == "send_invoice" and "days_until_due" not in parameters:
        raise StripeError("You must pass `days_until_due` with `send_invoice`.", param="days_until_due")
    request = StartRequest(
        customer=customer,
        items=_items(world, parameters),
        anchor=parameters.get("billing_cycle_anchor"),
        prorate=parameters.get("proration_behavior", "create_prorations") != "none",
        payment_behavior=behavior,
        default_payment_method=_own_payment_method(world, parameters, customer),
        collection_method=method,
        days_until_due=parameters.get("days_until_due"),
        description=unset(parameters.get("description")),
        metadata=merged_metadata({}, parameters),
        cancel_at_period_end=parameters.get("cancel_at_period_end", False),
    )
    subscription = start_subscription(world, request)
    if isinstance(parameters.get("cancel_at"), int):
        world.update(subscription, "customer.subscription.updated", cancel_at=parameters["cancel_at"])
        cancel_when_due(world, subscription, parameters["cancel_at"])
    return subscription


@handles("GET /v1/subscriptions")
def list_subscriptions(world: World, parameters: Parameters) -> StripeObject:
    if "customer" in parameters:
        found = world.store.where("subscription", "customer", parameters["customer"])
    else:
        found = world.store.all("subscription")
    status = parameters.get("status")
    if status is None:
        found = [item for item in found if item["status"] not in ENDED]
    elif status == "ended":
        found = [item for item in found if item["status"] in ENDED]
    elif status != "all":
        found = [item for item in found if item["status"] == status]
    if "price" in parameters:
        wanted = parameters["price"]
        found = [item for item in found if any(part["price"]["id"] == wanted for part in items_of(item))]
    return page_of(world.store, matching(found, parameters, "collection_method"), parameters, url=URL)


@handles("GET /v1/subscriptions/{subscription_exposed_id}")
def retrieve_subscription(world: World, parameters: Parameters, subscription_id: str) -> StripeObject:
    return world.store.get("subscription", subscription_id)


@handles("POST /v1/subscriptions/{subscription_exposed_id}")
def update_subscription(world: World, parameters: Parameters, subscription_id: str) -> StripeObject:
    refuse_unsupported(parameters, UPDATABLE, "POST /v1/subscriptions/{subscription_exposed_id}")
    subscription = world.store.get("subscription", subscription_id)
    if subscription["status"] in ENDED and set(parameters) - {"metadata", "cancellation_details", "expand"}:
        raise StripeError("A canceled subscription can only update its cancellation_details and metadata.")
    changes: dict[str, Any] = {"metadata": merged_metadata(subscription["metadata"], parameters)}
    for name in ("collection_method", "days_until_due"):
        if name in parameters:
            changes[name] = parameters[name]
    if "description" in parameters:
        changes["description"] = unset(parameters["description"])
    if "default_payment_method" in parameters:
        customer = world.store.get("customer", subscription["customer"])
        changes["default_payment_method"] = _own_payment_method(world, parameters, customer)
    if "cancellation_details" in parameters:
        details = {key: unset(value) for key, value in parameters["cancellation_details"].items()}
        changes["cancellation_details"] = {**subscription["cancellation_details"], **details}
    changes |= _cancellation(world, subscription, parameters)
    world.update(subscription, "customer.subscription.updated", **changes)
    if isinstance(changes.get("cancel_at"), int) and not changes.get("cancel_at_period_end"):
        cancel_when_due(world, subscription, changes["cancel_at"])
    return subscription


@handles("DELETE /v1/subscriptions/{subscription_exposed_id}")
def cancel_subscription(world: World, parameters: Parameters, subscription_id: str) -> StripeObject:
    for name in ("prorate", "invoice_now"):
        if parameters.get(name):
            raise not_implemented(f"canceling with {name}", param=name)
    subscription = world.store.get("subscription", subscription_id)
    if subscription["status"] in ENDED:
        raise StripeError(f"No such subscription: '{subscription_id}'", status=404, code="resource_missing", param="id")
    details = {key: unset(value) for key, value in parameters.get("cancellation_details", {}).items()}
    subscription["cancellation_details"] = {**subscription["cancellation_details"], **details}
    end_subscription(world, subscription, reason="cancellation_requested")
    return subscription


@handles("GET /v1/subscription_items")
def list_subscription_items(world: World, parameters: Parameters) -> StripeObject:
    subscription = world.store.get("subscription", parameters["subscription"], param="subscription")
    return page_of(world.store, items_of(subscription), parameters, url="/v1/subscription_items")


def _cancellation(world: World, subscription: StripeObject, parameters: Parameters) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "cancel_at" in parameters:
        moment = parameters["cancel_at"]
        if isinstance(moment, str) and moment:
            moment = period_end(subscription)  # every item shares one period here
        changes |= {"cancel_at": moment or None, "canceled_at": world.now if moment else None}
    if "cancel_at_period_end" in parameters:
        wanted = parameters["cancel_at_period_end"]
        changes |= {
            "cancel_at_period_end": wanted,
            "cancel_at": period_end(subscription) if wanted else None,
            "canceled_at": world.now if wanted else None,
            "cancellation_details": {
                **subscription["cancellation_details"],
                "reason": "cancellation_requested" if wanted else None,
            },
        }
    return changes


def _items(world: World, parameters: Parameters) -> list[dict[str, Any]]:
    given = parameters.get("items") or []
    if not given:
        raise StripeError("Missing required param: items.", code="parameter_missing", param="items")
    items: list[dict[str, Any]] = []
    for place, item in enumerate(given):
        where = f"items[{place}]"
        refuse_unsupported(item, frozenset({"metadata", "price", "quantity"}), f"POST /v1/subscriptions ({where})")
        if "price" not in item:
            raise StripeError(
                f"Missing required param: {where}[price].", code="parameter_missing", param=f"{where}[price]"
            )
        price = world.store.get("price", item["price"], param=f"{where}[price]")
        if price["type"] != "recurring":
            raise StripeError(
                "The price specified is set to `type=one_time` but this field only accepts prices with "
                "`type=recurring`.",
                param=f"{where}[price]",
            )
        if not price["active"]:
            raise StripeError("The price specified is inactive.", param=f"{where}[price]")
        items.append({"price": price, "quantity": item.get("quantity", 1), "metadata": item.get("metadata", {})})
    if len({item["price"]["id"] for item in items}) < len(items):
        raise StripeError("Two items have the same price.", param="items")
    if len({str(item["price"]["recurring"]) for item in items}) > 1:
        raise not_implemented("items with different billing intervals", param="items")
    if len({item["price"]["currency"] for item in items}) > 1:
        raise StripeError("All prices of a subscription must have the same currency.", param="items")
    return items


def _own_payment_method(world: World, parameters: Parameters, customer: StripeObject) -> str | None:
    name = parameters.get("default_payment_method")
    if not name:
        return None
    payment_method = find_payment_method(world, name, param="default_payment_method")
    if payment_method["customer"] != customer["id"]:
        raise StripeError(
            "The payment method must be attached to the customer before it can pay a subscription.",
            param="default_payment_method",
        )
    return str(payment_method["id"])
