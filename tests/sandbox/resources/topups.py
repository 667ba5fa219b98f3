"""Top-ups: money sent from the account's bank to its balance, there by the clock."""

from typing import Any

from tests.sandbox.billing.payments.balance_transactions import new_balance_transaction
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.lists import in_range, matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

CREATABLE = frozenset({"amount", "currency", "description", "metadata", "statement_descriptor", "transfer_group"})
ARRIVES_AFTER_SECONDS = 24 * 3600  # assumption


@handles("POST /v1/topups")
def create_topup(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/topups")
    if parameters["amount"] <= 0:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    topup = world.new(
        "topup",
        "tu",
        amount=parameters["amount"],
        currency=parameters["currency"].lower(),
        description=unset(parameters.get("description")),
        expected_availability_date=world.now + ARRIVES_AFTER_SECONDS,
        initiated_by="user",
        metadata=merged_metadata({}, parameters),
        statement_descriptor=unset(parameters.get("statement_descriptor")),
        status="pending",
        transfer_group=parameters.get("transfer_group"),
    )
    world.emit("topup.created", topup)
    _arrive_later(world, topup)
    return topup


@handles("GET /v1/topups")
def list_topups(world: World, parameters: Parameters) -> StripeObject:
    topups = matching(world.store.all("topup"), parameters, "status")
    if "amount" in parameters:
        topups = [topup for topup in topups if in_range(topup["amount"], parameters["amount"])]
    return page_of(world.store, topups, parameters, url="/v1/topups")


@handles("GET /v1/topups/{topup}")
def retrieve_topup(world: World, parameters: Parameters, topup_id: str) -> StripeObject:
    return world.store.get("topup", topup_id)


@handles("POST /v1/topups/{topup}")
def update_topup(world: World, parameters: Parameters, topup_id: str) -> StripeObject:
    """Stripe tells no event of this."""
    topup = world.store.get("topup", topup_id)
    changes: dict[str, Any] = {"metadata": merged_metadata(topup["metadata"], parameters)}
    if "description" in parameters:
        changes["description"] = unset(parameters["description"])
    world.update(topup, None, **changes)
    return topup


@handles("POST /v1/topups/{topup}/cancel")
def cancel_topup(world: World, parameters: Parameters, topup_id: str) -> StripeObject:
    topup = world.store.get("topup", topup_id)
    if topup["status"] != "pending":
        raise StripeError(f"Top-up {topup_id} has a status of {topup['status']}; only a pending one can be canceled.")
    world.update(topup, None, status="canceled")
    world.emit("topup.canceled", topup)
    return topup


def _arrive_later(world: World, topup: StripeObject) -> None:
    def due() -> None:
        if topup["status"] != "pending":
            return
        transaction = new_balance_transaction(
            world,
            kind="topup",
            amount=topup["amount"],
            fee=0,
            source=topup,
            description=topup["description"],
            available_on=world.now,
        )
        world.update(topup, None, balance_transaction=transaction["id"], status="succeeded")
        world.emit("topup.succeeded", topup)

    world.clock.at(topup["expected_availability_date"], due, f"arrival of {topup['id']}")
