"""Charges: read, annotated, and made directly as the old API does."""

from typing import Any

from tests.sandbox.billing.money import charge_minimum
from tests.sandbox.billing.payments.capturing import capture
from tests.sandbox.billing.payments.direct_charges import capture_directly, charge_directly
from tests.sandbox.billing.payments.sources import card_of_token
from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.expand import includes
from tests.sandbox.core.lists import list_answer, matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

TEXTS = ("description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix")
CREATABLE = frozenset({*TEXTS, "amount", "capture", "currency", "customer", "metadata", "shipping", "source"})
UPDATABLE = frozenset({"customer", "description", "fraud_details", "metadata", "receipt_email", "shipping"})


@handles("GET /v1/charges")
def list_charges(world: World, parameters: Parameters) -> StripeObject:
    if "payment_intent" in parameters:
        charges = world.store.where("charge", "payment_intent", parameters["payment_intent"])
    elif "customer" in parameters:
        charges = world.store.where("charge", "customer", parameters["customer"])
    else:
        charges = world.store.all("charge")
    found = matching(charges, parameters, "customer", "transfer_group")
    return page_of(world.store, found, parameters, url="/v1/charges")


@handles("POST /v1/charges")
def create_charge(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/charges")
    for name in ("amount", "currency"):
        if name not in parameters:
            raise StripeError(f"Missing required param: {name}.", code="parameter_missing", param=name)
    currency = parameters["currency"].lower()
    if parameters["amount"] < charge_minimum(currency):
        raise StripeError(
            f"Amount must be at least {charge_minimum(currency)} {currency} in minor units.",
            code="amount_too_small",
            param="amount",
        )
    terms = world.skeletons.new(
        "payment_intent",
        id=None,
        amount=parameters["amount"],
        currency=currency,
        customer=parameters.get("customer"),
        metadata=merged_metadata({}, parameters),
        shipping=_shipping(world, parameters),
        **{name: unset(parameters[name]) for name in TEXTS if name in parameters},
    )
    return charge_directly(world, terms, _source(world, parameters), captures=parameters.get("capture", True))


@handles("GET /v1/charges/{charge}")
def retrieve_charge(world: World, parameters: Parameters, charge_id: str) -> StripeObject:
    return world.store.get("charge", charge_id)


@handles("POST /v1/charges/{charge}")
def update_charge(world: World, parameters: Parameters, charge_id: str) -> StripeObject:
    refuse_unsupported(parameters, UPDATABLE, "POST /v1/charges/{charge}")
    charge = world.store.get("charge", charge_id)
    changes: dict[str, Any] = {"metadata": merged_metadata(charge["metadata"], parameters)}
    for name in ("description", "receipt_email"):
        if name in parameters:
            changes[name] = unset(parameters[name])
    if "customer" in parameters:
        if charge["customer"] not in (None, parameters["customer"]):
            raise StripeError(f"Charge {charge_id} has a customer already.", param="customer")
        changes["customer"] = world.store.get("customer", parameters["customer"], param="customer")["id"]
    if "shipping" in parameters:
        changes["shipping"] = _shipping(world, parameters)
    if "fraud_details" in parameters:
        report = parameters["fraud_details"]["user_report"]
        changes["fraud_details"] = {"user_report": report} if report else {}
    world.update(charge, "charge.updated", **changes)
    return charge


@handles("POST /v1/charges/{charge}/capture")
def capture_charge(world: World, parameters: Parameters, charge_id: str) -> StripeObject:
    refuse_unsupported(parameters, frozenset({"amount"}), "POST /v1/charges/{charge}/capture")
    charge = world.store.get("charge", charge_id)
    if charge["payment_intent"] is not None and not charge["captured"]:
        capture(world, world.store.get("payment_intent", charge["payment_intent"]), parameters.get("amount"))
    else:
        capture_directly(world, charge, parameters.get("amount"))
    return charge


@includes("charge", "refunds")
def charge_refunds(world: World, charge: StripeObject) -> Any:
    refunds = world.store.where("refund", "charge", charge["id"])
    return list_answer(refunds[::-1][:10], has_more=len(refunds) > 10, url=f"/v1/charges/{charge['id']}/refunds")


def _source(world: World, parameters: Parameters) -> str:
    """The card a request names: a customer's, by default the one that the customer has as such; or that of a token."""
    source, customer_id = parameters.get("source"), parameters.get("customer")
    if customer_id is None:
        if source is None:
            raise StripeError("Must provide source or customer.", code="parameter_missing", param="source")
        card = card_of_token(world, source)
        world.store.add(card)
        return str(card["id"])
    customer = world.store.get("customer", customer_id, param="customer")
    name = source or customer["default_source"]
    if name is None:
        raise StripeError(
            "Cannot charge a customer that has no active card", status=402, kind="card_error", code="missing"
        )
    owned = world.store.find("card", name) or world.store.find("payment_method", name)
    if owned is None or owned["customer"] != customer_id:
        raise resource_missing("source", name, param="source", status=400)
    return str(name)


def _shipping(world: World, parameters: Parameters) -> StripeObject | None:
    shipping = parameters.get("shipping")
    if not shipping:
        return None
    address = world.skeletons.new("address", **shipping.get("address", {}))
    return world.skeletons.new("shipping", **{**shipping, "address": address})
