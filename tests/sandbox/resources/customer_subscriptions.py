"""Subscriptions by the older paths under their customer. The operations are those of `subscriptions`."""

from tests.sandbox.billing.subscriptions.starting import start_from_parameters
from tests.sandbox.core.errors import resource_missing
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.resources.subscriptions import delete_subscription, list_subscriptions, update_subscription
from tests.sandbox.world import World

ONE = "/v1/customers/{customer}/subscriptions/{subscription_exposed_id}"


@handles("POST /v1/customers/{customer}/subscriptions")
def create_subscription_of_customer(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    world.store.get("customer", customer_id)
    return start_from_parameters(world, {**parameters, "customer": customer_id})


@handles("GET /v1/customers/{customer}/subscriptions")
def list_subscriptions_of_customer(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    world.store.get("customer", customer_id)
    page = list_subscriptions(world, {**parameters, "customer": customer_id})
    return {**page, "url": f"/v1/customers/{customer_id}/subscriptions"}


@handles(f"GET {ONE}")
def retrieve_subscription_of_customer(
    world: World, parameters: Parameters, customer_id: str, subscription_id: str
) -> StripeObject:
    return _own(world, customer_id, subscription_id)


@handles(f"POST {ONE}")
def update_subscription_of_customer(
    world: World, parameters: Parameters, customer_id: str, subscription_id: str
) -> StripeObject:
    return update_subscription(world, parameters, _own(world, customer_id, subscription_id)["id"])


@handles(f"DELETE {ONE}")
def delete_subscription_of_customer(
    world: World, parameters: Parameters, customer_id: str, subscription_id: str
) -> StripeObject:
    return delete_subscription(world, parameters, _own(world, customer_id, subscription_id)["id"])


def _own(world: World, customer_id: str, subscription_id: str) -> StripeObject:
    subscription = world.store.get("subscription", subscription_id)
    if subscription["customer"] != customer_id:
        raise resource_missing("subscription", subscription_id)
    return subscription
