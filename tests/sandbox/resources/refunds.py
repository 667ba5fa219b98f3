"""Refunds by request, by their own paths and by those below a charge."""

from tests.sandbox.billing.payments.refunding import cancel, refund, update
from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.lists import page_of
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

CREATABLE = frozenset({"amount", "charge", "metadata", "payment_intent", "reason"})


@handles("POST /v1/refunds")
def create_refund(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/refunds")
    return _refund(world, _charge(world, parameters), parameters)


@handles("POST /v1/charges/{charge}/refunds")
def create_refund_of_charge(world: World, parameters: Parameters, charge_id: str) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE - {"charge"}, "POST /v1/charges/{charge}/refunds")
    return _refund(world, world.store.get("charge", charge_id), parameters)


@handles("POST /v1/charges/{charge}/refund")
def refund_charge(world: World, parameters: Parameters, charge_id: str) -> StripeObject:
    """The oldest path, which answers the charge."""
    refuse_unsupported(parameters, CREATABLE - {"charge"}, "POST /v1/charges/{charge}/refund")
    charge = world.store.get("charge", charge_id)
    _refund(world, charge, parameters)
    return charge


@handles("GET /v1/refunds")
def list_refunds(world: World, parameters: Parameters) -> StripeObject:
    refunds = world.store.all("refund")
    if "charge" in parameters:
        refunds = world.store.where("refund", "charge", parameters["charge"])
    if "payment_intent" in parameters:
        refunds = [refund for refund in refunds if refund["payment_intent"] == parameters["payment_intent"]]
    return page_of(world.store, refunds, parameters, url="/v1/refunds")


@handles("GET /v1/charges/{charge}/refunds")
def list_refunds_of_charge(world: World, parameters: Parameters, charge_id: str) -> StripeObject:
    world.store.get("charge", charge_id)
    refunds = world.store.where("refund", "charge", charge_id)
    return page_of(world.store, refunds, parameters, url=f"/v1/charges/{charge_id}/refunds")


@handles("GET /v1/refunds/{refund}")
def retrieve_refund(world: World, parameters: Parameters, refund_id: str) -> StripeObject:
    return world.store.get("refund", refund_id)


@handles("GET /v1/charges/{charge}/refunds/{refund}")
def retrieve_refund_of_charge(world: World, parameters: Parameters, charge_id: str, refund_id: str) -> StripeObject:
    return _of_charge(world, charge_id, refund_id)


@handles("POST /v1/refunds/{refund}")
def update_refund(world: World, parameters: Parameters, refund_id: str) -> StripeObject:
    found = world.store.get("refund", refund_id)
    update(world, found, merged_metadata(found["metadata"], parameters))
    return found


@handles("POST /v1/charges/{charge}/refunds/{refund}")
def update_refund_of_charge(world: World, parameters: Parameters, charge_id: str, refund_id: str) -> StripeObject:
    found = _of_charge(world, charge_id, refund_id)
    update(world, found, merged_metadata(found["metadata"], parameters))
    return found


@handles("POST /v1/refunds/{refund}/cancel")
def cancel_refund(world: World, parameters: Parameters, refund_id: str) -> StripeObject:
    found = world.store.get("refund", refund_id)
    cancel(world, found)
    return found


def _refund(world: World, charge: StripeObject, parameters: Parameters) -> StripeObject:
    return refund(
        world,
        charge,
        parameters.get("amount"),
        reason=parameters.get("reason"),
        metadata=merged_metadata({}, parameters),
    )


def _charge(world: World, parameters: Parameters) -> StripeObject:
    if ("charge" in parameters) == ("payment_intent" in parameters):
        raise StripeError(
            "One of the following params should be provided for this request: payment_intent or charge.",
            param="payment_intent",
        )
    if "charge" in parameters:
        return world.store.get("charge", parameters["charge"], param="charge")
    intent = world.store.get("payment_intent", parameters["payment_intent"], param="payment_intent")
    if intent["latest_charge"] is None:
        raise StripeError("This PaymentIntent does not have a successful charge to refund.", param="payment_intent")
    return world.store.get("charge", intent["latest_charge"])


def _of_charge(world: World, charge_id: str, refund_id: str) -> StripeObject:
    found = world.store.get("refund", refund_id)
    if found["charge"] != charge_id:
        raise resource_missing("refund", refund_id)
    return found
