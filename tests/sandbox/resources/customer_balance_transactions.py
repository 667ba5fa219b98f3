"""Movements of a customer's balance: listed, and adjustments made by request."""

from typing import Any

from tests.sandbox.billing.invoices.balance import claim_currency, move_balance
from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


@handles("GET /v1/customers/{customer}/balance_transactions")
def list_balance_transactions(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    world.store.get("customer", customer_id)
    transactions = world.store.where("customer_balance_transaction", "customer", customer_id)
    url = f"/v1/customers/{customer_id}/balance_transactions"
    return page_of(world.store, matching(transactions, parameters, "invoice"), parameters, url=url)


@handles("POST /v1/customers/{customer}/balance_transactions")
def create_balance_transaction(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    customer = world.store.get("customer", customer_id)
    if parameters["amount"] == 0:
        raise StripeError("The amount of an adjustment cannot be 0.", param="amount")
    currency = parameters["currency"].lower()
    claim_currency(world, customer, currency)
    return move_balance(
        world,
        customer,
        amount=parameters["amount"],
        kind="adjustment",
        currency=currency,
        description=unset(parameters.get("description")),
        metadata=merged_metadata({}, parameters),
    )


@handles("GET /v1/customers/{customer}/balance_transactions/{transaction}")
def retrieve_balance_transaction(
    world: World, parameters: Parameters, customer_id: str, transaction_id: str
) -> StripeObject:
    found = world.store.find("customer_balance_transaction", transaction_id)
    if found is None or found["customer"] != customer_id:
        raise resource_missing("customer_balance_transaction", transaction_id)
    return found


@handles("POST /v1/customers/{customer}/balance_transactions/{transaction}")
def update_balance_transaction(
    world: World, parameters: Parameters, customer_id: str, transaction_id: str
) -> StripeObject:
    """Its texts only. Stripe has no event for it."""
    found = retrieve_balance_transaction(world, parameters, customer_id, transaction_id)
    changes: dict[str, Any] = {"metadata": merged_metadata(found["metadata"] or {}, parameters)}
    if "description" in parameters:
        changes["description"] = unset(parameters["description"])
    world.update(found, None, **changes)
    return found
