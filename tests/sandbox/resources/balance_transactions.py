"""The account's balance and the transactions that it is the sum of."""

from tests.sandbox.billing.payments.balance_transactions import balance_of_account
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


@handles("GET /v1/balance")
def retrieve_balance(world: World, parameters: Parameters) -> StripeObject:
    return balance_of_account(world)


@handles("GET /v1/balance_transactions")
def list_balance_transactions(world: World, parameters: Parameters) -> StripeObject:
    return _page(world, parameters)


@handles("GET /v1/balance/history")
def list_balance_history(world: World, parameters: Parameters) -> StripeObject:
    """The old name of the same list; its `url`, too, is the new one by the document."""
    return _page(world, parameters)


@handles("GET /v1/balance_transactions/{id}")
def retrieve_balance_transaction(world: World, parameters: Parameters, transaction_id: str) -> StripeObject:
    return world.store.get("balance_transaction", transaction_id, noun="balance transaction")


@handles("GET /v1/balance/history/{id}")
def retrieve_balance_history(world: World, parameters: Parameters, transaction_id: str) -> StripeObject:
    return retrieve_balance_transaction(world, parameters, transaction_id)


def _page(world: World, parameters: Parameters) -> StripeObject:
    if "source" in parameters:
        transactions = world.store.where("balance_transaction", "source", parameters["source"])
    else:
        transactions = world.store.all("balance_transaction")
    if "payout" in parameters:
        payout = world.store.get("payout", parameters["payout"], param="payout")
        if not payout["automatic"]:
            raise StripeError(
                "Balance transaction history can only be filtered on automatic transfers, not manual.", param="payout"
            )
        transactions = [item for item in transactions if world.paid_out.get(item["id"]) == payout["id"]]
    found = matching(transactions, parameters, "currency", "type")
    return page_of(world.store, found, parameters, url="/v1/balance_transactions")
