"""Subscriptions: routes to what `billing` does with them."""

from tests.sandbox.billing.invoices.discounts import delete_discounts
from tests.sandbox.billing.subscriptions.changing import change_from_parameters
from tests.sandbox.billing.subscriptions.ended import ENDED
from tests.sandbox.billing.subscriptions.ending import cancel_subscription
from tests.sandbox.billing.subscriptions.item_terms import items_of
from tests.sandbox.billing.subscriptions.pausing import resume
from tests.sandbox.billing.subscriptions.starting import start_from_parameters
from tests.sandbox.billing.subscriptions.unscheduling import refuse_end_of_scheduled
from tests.sandbox.core.belonging import without_other_clocks
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

URL = "/v1/subscriptions"


@handles("POST /v1/subscriptions")
def create_subscription(world: World, parameters: Parameters) -> StripeObject:
    return start_from_parameters(world, parameters)


@handles("GET /v1/subscriptions")
def list_subscriptions(world: World, parameters: Parameters) -> StripeObject:
    if "customer" in parameters:
        found = world.store.where("subscription", "customer", parameters["customer"])
    else:
        found = world.store.all("subscription")
    found = without_other_clocks(found, parameters)
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
    subscription = world.store.get("subscription", subscription_id)
    refuse_end_of_scheduled(subscription, parameters)
    change_from_parameters(world, subscription, parameters)
    return subscription


@handles("DELETE /v1/subscriptions/{subscription_exposed_id}")
def delete_subscription(world: World, parameters: Parameters, subscription_id: str) -> StripeObject:
    subscription = world.store.get("subscription", subscription_id)
    if subscription["status"] in ENDED:
        raise StripeError(f"No such subscription: '{subscription_id}'", status=404, code="resource_missing", param="id")
    cancel_subscription(
        world,
        subscription,
        prorate=parameters.get("prorate", False),
        invoice_now=parameters.get("invoice_now", False),
        details=parameters.get("cancellation_details"),
    )
    return subscription


@handles("POST /v1/subscriptions/{subscription}/resume")
def resume_subscription(world: World, parameters: Parameters, subscription_id: str) -> StripeObject:
    subscription = world.store.get("subscription", subscription_id)
    resume(world, subscription, parameters)
    return subscription


@handles("POST /v1/subscriptions/{subscription}/migrate")
def migrate_subscription(world: World, parameters: Parameters, subscription_id: str) -> StripeObject:
    """Every subscription here is in the flexible billing mode already."""
    world.store.get("subscription", subscription_id)
    raise StripeError("This subscription is already using `billing_mode[type]=flexible`.", param="billing_mode[type]")


@handles("DELETE /v1/subscriptions/{subscription_exposed_id}/discount")
def delete_subscription_discount(world: World, parameters: Parameters, subscription_id: str) -> StripeObject:
    return delete_discounts(world, world.store.get("subscription", subscription_id))
