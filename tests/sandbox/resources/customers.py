"""Customers by request: who pays, with which card, and what they are owed or owe."""

from typing import Any

from tests.sandbox.billing.customers import NAMES, TEXTS, change_customer, delete_customer, new_customer
from tests.sandbox.billing.subscriptions.ended import ENDED
from tests.sandbox.core.belonging import without_other_clocks
from tests.sandbox.core.expand import includes
from tests.sandbox.core.lists import list_answer, matching, page_of
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

WRITABLE = frozenset(
    {*TEXTS, *NAMES, "address", "balance", "invoice_prefix", "invoice_settings", "metadata", "next_invoice_sequence"}
    | {"default_source", "payment_method", "preferred_locales", "shipping", "source", "tax_exempt"}
)
URL = "/v1/customers"


@handles("POST /v1/customers")
def create_customer(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, WRITABLE | {"tax_id_data", "test_clock"}, "POST /v1/customers")
    return new_customer(world, parameters)


@handles("GET /v1/customers")
def list_customers(world: World, parameters: Parameters) -> StripeObject:
    customers = without_other_clocks(world.store.all("customer"), parameters)
    return page_of(world.store, matching(customers, parameters, "email"), parameters, url=URL)


@handles("GET /v1/customers/{customer}")
def retrieve_customer(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    return world.tombstones.get(customer_id) or world.store.get("customer", customer_id)


@handles("POST /v1/customers/{customer}")
def update_customer(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    refuse_unsupported(parameters, WRITABLE, "POST /v1/customers/{customer}")
    customer = world.store.get("customer", customer_id)
    change_customer(world, customer, parameters)
    return customer


@handles("DELETE /v1/customers/{customer}")
def delete_customer_by_id(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    return delete_customer(world, world.store.get("customer", customer_id))


@handles("GET /v1/customers/{customer}/payment_methods")
def list_customer_payment_methods(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    world.store.get("customer", customer_id)
    methods = matching(world.store.where("payment_method", "customer", customer_id), parameters, "type")
    return page_of(world.store, methods, parameters, url=f"{URL}/{customer_id}/payment_methods")


@includes("customer", "subscriptions")
def customer_subscriptions(world: World, customer: StripeObject) -> Any:
    found = world.store.where("subscription", "customer", customer["id"])
    alive = [item for item in found if item["status"] not in ENDED]
    return list_answer(alive[::-1][:10], has_more=len(alive) > 10, url=f"{URL}/{customer['id']}/subscriptions")


@includes("customer", "tax_ids")
def customer_tax_ids(world: World, customer: StripeObject) -> Any:
    found = world.store.where("tax_id", "customer", customer["id"])
    return list_answer(found[::-1][:10], has_more=len(found) > 10, url=f"{URL}/{customer['id']}/tax_ids")
