"""Refunds of charges, whole or in part. Stripe keeps its fee."""

from tests.sandbox.billing.charging import new_balance_transaction
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.lists import page_of
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


@handles("POST /v1/refunds")
def create_refund(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(
        parameters, frozenset({"amount", "charge", "metadata", "payment_intent", "reason"}), "POST /v1/refunds"
    )
    charge = _charge(world, parameters)
    left = charge["amount"] - charge["amount_refunded"]
    amount = parameters.get("amount", left)
    if left == 0:
        raise StripeError(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if not 0 < amount <= left:
        raise StripeError(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}), or not positive.",
            param="amount",
        )
    refund = world.new(
        "refund",
        "re",
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        customer=charge["customer"],
        destination_details={
            "card": {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"},
            "type": "card",
        },
        metadata=merged_metadata({}, parameters),
        payment_intent=charge["payment_intent"],
        payment_method=charge["payment_method"],
        reason=parameters.get("reason"),
        status="succeeded",
    )
    transaction = new_balance_transaction(
        world, kind="refund", amount=-amount, fee=0, source=refund, description="REFUND FOR CHARGE"
    )
    refund["balance_transaction"] = transaction["id"]
    refunded = charge["amount_refunded"] + amount
    previous = world.update(charge, None, amount_refunded=refunded, refunded=refunded == charge["amount"])
    world.emit("refund.created", refund)
    world.emit("charge.refunded", charge, previous=previous)
    return refund


@handles("GET /v1/refunds")
def list_refunds(world: World, parameters: Parameters) -> StripeObject:
    refunds = world.store.all("refund")
    if "charge" in parameters:
        refunds = world.store.where("refund", "charge", parameters["charge"])
    if "payment_intent" in parameters:
        refunds = [refund for refund in refunds if refund["payment_intent"] == parameters["payment_intent"]]
    return page_of(world.store, refunds, parameters, url="/v1/refunds")


@handles("GET /v1/refunds/{refund}")
def retrieve_refund(world: World, parameters: Parameters, refund_id: str) -> StripeObject:
    return world.store.get("refund", refund_id)


@handles("POST /v1/refunds/{refund}")
def update_refund(world: World, parameters: Parameters, refund_id: str) -> StripeObject:
    refund = world.store.get("refund", refund_id)
    world.update(refund, "refund.updated", metadata=merged_metadata(refund["metadata"], parameters))
    return refund


def _charge(world: World, parameters: Parameters) -> StripeObject:
    if ("charge" in parameters) == ("payment_intent" in parameters):
        raise StripeError(
            "One of the following params should be provided for this request: payment_intent or charge.",
            param="payment_intent",
        )
    if "charge" in parameters:
        charge = world.store.get("charge", parameters["charge"], param="charge")
    else:
        intent = world.store.get("payment_intent", parameters["payment_intent"], param="payment_intent")
        if intent["latest_charge"] is None:
            raise StripeError("This PaymentIntent does not have a successful charge to refund.", param="payment_intent")
        charge = world.store.get("charge", intent["latest_charge"])
    if not charge["paid"]:
        raise StripeError("This charge has not been paid, so there is nothing to refund.", param="charge")
    return charge
