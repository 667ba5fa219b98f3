"""Cash balances of customers, and bank transfers that tests send to them."""

from tests.sandbox.billing.payments.cash import cash_balance_of, fund
from tests.sandbox.core.lists import page_of
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

URL = "/v1/customers/{customer}/cash_balance_transactions"


@handles("GET /v1/customers/{customer}/cash_balance")
def retrieve_cash_balance(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    return cash_balance_of(world, world.store.get("customer", customer_id))


@handles("POST /v1/customers/{customer}/cash_balance")
def update_cash_balance(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    """Stripe tells no event of this. Applying cash by hand is left out, so `manual` only keeps it where it is."""
    balance = cash_balance_of(world, world.store.get("customer", customer_id))
    mode = parameters.get("settings", {}).get("reconciliation_mode")
    if mode is not None:
        settled = "automatic" if mode == "merchant_default" else mode
        balance["settings"] = {
            "reconciliation_mode": settled,
            "using_merchant_default": mode == "merchant_default",
        }
    return balance


@handles("GET " + URL)
def list_cash_balance_transactions(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    world.store.get("customer", customer_id)
    transactions = world.store.where("customer_cash_balance_transaction", "customer", customer_id)
    return page_of(world.store, transactions, parameters, url=URL.replace("{customer}", customer_id))


@handles("GET " + URL + "/{transaction}")
def retrieve_cash_balance_transaction(
    world: World, parameters: Parameters, customer_id: str, transaction_id: str
) -> StripeObject:
    world.store.get("customer", customer_id)
    return world.store.get("customer_cash_balance_transaction", transaction_id)


@handles("POST /v1/test_helpers/customers/{customer}/fund_cash_balance")
def fund_cash_balance(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    customer = world.store.get("customer", customer_id)
    return fund(
        world,
        customer,
        amount=parameters["amount"],
        currency=parameters["currency"].lower(),
        reference=parameters.get("reference"),
    )
