"""Tax ids of customers and of the account itself, by request."""

from tests.sandbox.billing.invoices.tax_ids import new_tax_id, remove_tax_id
from tests.sandbox.core.errors import StripeError, not_implemented, resource_missing
from tests.sandbox.core.lists import page_of
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


@handles("POST /v1/customers/{customer}/tax_ids")
def create_customer_tax_id(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    return new_tax_id(world, parameters, customer=world.store.get("customer", customer_id))


@handles("GET /v1/customers/{customer}/tax_ids")
def list_customer_tax_ids(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    world.store.get("customer", customer_id)
    tax_ids = world.store.where("tax_id", "customer", customer_id)
    return page_of(world.store, tax_ids, parameters, url=f"/v1/customers/{customer_id}/tax_ids")


@handles("GET /v1/customers/{customer}/tax_ids/{id}")
def retrieve_customer_tax_id(world: World, parameters: Parameters, customer_id: str, tax_id: str) -> StripeObject:
    found = world.store.find("tax_id", tax_id)
    if found is None or found["customer"] != customer_id:
        raise resource_missing("tax id", tax_id)
    return found


@handles("DELETE /v1/customers/{customer}/tax_ids/{id}")
def delete_customer_tax_id(world: World, parameters: Parameters, customer_id: str, tax_id: str) -> StripeObject:
    retrieve_customer_tax_id(world, parameters, customer_id, tax_id)
    return delete_tax_id(world, parameters, tax_id)


@handles("POST /v1/tax_ids")
def create_tax_id(world: World, parameters: Parameters) -> StripeObject:
    owner = parameters.get("owner", {"type": "self"})
    customer = None
    if owner["type"] == "customer":
        if "customer" not in owner:
            raise StripeError(
                "Missing required param: owner[customer].", code="parameter_missing", param="owner[customer]"
            )
        customer = world.store.get("customer", owner["customer"], param="owner[customer]")
    elif owner["type"] != "self":
        raise not_implemented("tax ids of other accounts and of applications", param="owner[type]")
    return new_tax_id(world, parameters, customer=customer)


@handles("GET /v1/tax_ids")
def list_tax_ids(world: World, parameters: Parameters) -> StripeObject:
    owner = parameters.get("owner", {"type": "self"})
    if owner["type"] == "customer":
        tax_ids = world.store.where("tax_id", "customer", owner.get("customer", ""))
    elif owner["type"] == "self":
        tax_ids = [tax_id for tax_id in world.store.all("tax_id") if tax_id["customer"] is None]
    else:
        raise not_implemented("tax ids of other accounts and of applications", param="owner[type]")
    return page_of(world.store, tax_ids, parameters, url="/v1/tax_ids")


@handles("GET /v1/tax_ids/{id}")
def retrieve_tax_id(world: World, parameters: Parameters, tax_id: str) -> StripeObject:
    return world.store.get("tax_id", tax_id, noun="tax id")


@handles("DELETE /v1/tax_ids/{id}")
def delete_tax_id(world: World, parameters: Parameters, tax_id: str) -> StripeObject:
    remove_tax_id(world, world.store.get("tax_id", tax_id, noun="tax id"))
    return {"id": tax_id, "object": "tax_id", "deleted": True}
