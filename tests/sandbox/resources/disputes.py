"""Disputes by request: read, answered with evidence, given in to. They come with test cards only."""

from tests.sandbox.billing.payments.disputing import close, disputes_of, submit_evidence
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.lists import page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

FILES = frozenset(
    {"cancellation_policy", "customer_communication", "customer_signature", "duplicate_charge_documentation"}
    | {"receipt", "refund_policy", "service_documentation", "shipping_documentation", "uncategorized_file"}
)


@handles("GET /v1/disputes")
def list_disputes(world: World, parameters: Parameters) -> StripeObject:
    if "charge" in parameters:
        disputes = world.store.where("dispute", "charge", parameters["charge"])
    elif "payment_intent" in parameters:
        disputes = world.store.where("dispute", "payment_intent", parameters["payment_intent"])
    else:
        disputes = world.store.all("dispute")
    return page_of(world.store, disputes, parameters, url="/v1/disputes")


@handles("GET /v1/disputes/{dispute}")
def retrieve_dispute(world: World, parameters: Parameters, dispute_id: str) -> StripeObject:
    return world.store.get("dispute", dispute_id)


@handles("POST /v1/disputes/{dispute}")
def update_dispute(world: World, parameters: Parameters, dispute_id: str) -> StripeObject:
    return _update(world, world.store.get("dispute", dispute_id), parameters)


@handles("POST /v1/disputes/{dispute}/close")
def close_dispute(world: World, parameters: Parameters, dispute_id: str) -> StripeObject:
    dispute = world.store.get("dispute", dispute_id)
    close(world, dispute)
    return dispute


@handles("GET /v1/charges/{charge}/dispute")
def retrieve_dispute_of_charge(world: World, parameters: Parameters, charge_id: str) -> StripeObject:
    return _of_charge(world, charge_id)


@handles("POST /v1/charges/{charge}/dispute")
def update_dispute_of_charge(world: World, parameters: Parameters, charge_id: str) -> StripeObject:
    return _update(world, _of_charge(world, charge_id), parameters)


@handles("POST /v1/charges/{charge}/dispute/close")
def close_dispute_of_charge(world: World, parameters: Parameters, charge_id: str) -> StripeObject:
    dispute = _of_charge(world, charge_id)
    close(world, dispute)
    return dispute


@handles("GET /v1/radar/early_fraud_warnings")
def list_early_fraud_warnings(world: World, parameters: Parameters) -> StripeObject:
    warnings = world.store.all("radar.early_fraud_warning")
    for name in ("charge", "payment_intent"):
        if name in parameters:
            warnings = [warning for warning in warnings if warning[name] == parameters[name]]
    return page_of(world.store, warnings, parameters, url="/v1/radar/early_fraud_warnings")


@handles("GET /v1/radar/early_fraud_warnings/{early_fraud_warning}")
def retrieve_early_fraud_warning(world: World, parameters: Parameters, warning_id: str) -> StripeObject:
    return world.store.get("radar.early_fraud_warning", warning_id)


def _update(world: World, dispute: StripeObject, parameters: Parameters) -> StripeObject:
    """Evidence is handed to the bank at once unless `submit` is false; other fields only change."""
    metadata = merged_metadata(dispute["metadata"], parameters)
    if "evidence" not in parameters:
        if parameters.get("submit"):
            submit_evidence(world, dispute, {"metadata": metadata}, submit=True)
        else:
            world.update(dispute, "charge.dispute.updated", metadata=metadata)
        return dispute
    given = parameters["evidence"]
    for name in given:
        if name in FILES and given[name]:
            raise not_implemented("evidence in files", param=f"evidence[{name}]")
        if name == "enhanced_evidence" and given[name]:
            raise not_implemented("enhanced evidence", param="evidence[enhanced_evidence]")
    texts = {name: unset(value) for name, value in given.items() if name != "enhanced_evidence"}
    changes = {"evidence": {**dispute["evidence"], **texts}, "metadata": metadata}
    submit_evidence(world, dispute, changes, submit=parameters.get("submit", True))
    return dispute


def _of_charge(world: World, charge_id: str) -> StripeObject:
    disputes = disputes_of(world, world.store.get("charge", charge_id))
    if not disputes:
        raise StripeError(f"No dispute for charge: {charge_id}", status=404, code="resource_missing", param="charge")
    return disputes[-1]
