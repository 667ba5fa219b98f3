"""Payment methods: Stripe's test cards by name or number and test bank accounts, attached to customers."""

from typing import Any

from tests.sandbox.billing.payments.attaching import attach, detach, find_payment_method
from tests.sandbox.billing.payments.methods_by_request import merged_billing_details, new_payment_method, require_month
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

CREATABLE = frozenset(
    {"allow_redisplay", "billing_details", "card", "customer_balance", "metadata", "sepa_debit", "type"}
)
LISTED = frozenset({"allow_redisplay", "customer", "ending_before", "limit", "starting_after", "type"})
UPDATABLE = frozenset({"allow_redisplay", "billing_details", "card", "metadata"})


@handles("POST /v1/payment_methods")
def create_payment_method(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/payment_methods")
    return new_payment_method(world, parameters)


@handles("GET /v1/payment_methods/{payment_method}")
def retrieve_payment_method(world: World, parameters: Parameters, name: str) -> StripeObject:
    return find_payment_method(world, name, param="id")


@handles("POST /v1/payment_methods/{payment_method}")
def update_payment_method(world: World, parameters: Parameters, name: str) -> StripeObject:
    refuse_unsupported(parameters, UPDATABLE, "POST /v1/payment_methods/{payment_method}")
    payment_method = find_payment_method(world, name, param="id")
    if payment_method["customer"] is None:
        raise StripeError(
            "You must save this PaymentMethod to a customer before you can update it.", param="payment_method"
        )
    changes: dict[str, Any] = {"metadata": merged_metadata(payment_method["metadata"], parameters)}
    if "allow_redisplay" in parameters:
        changes["allow_redisplay"] = parameters["allow_redisplay"]
    if "card" in parameters:
        changes["card"] = _new_expiry(world, payment_method, parameters["card"])
    if "billing_details" in parameters:
        changes["billing_details"] = merged_billing_details(
            world, payment_method["billing_details"], parameters["billing_details"]
        )
    world.update(payment_method, "payment_method.updated", **changes)
    return payment_method


@handles("GET /v1/payment_methods")
def list_payment_methods(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, LISTED, "GET /v1/payment_methods")
    if "customer" in parameters:
        world.store.get("customer", parameters["customer"], param="customer")
        methods = world.store.where("payment_method", "customer", parameters["customer"])
    else:
        methods = world.store.all("payment_method")
    found = matching(methods, parameters, "type", "allow_redisplay")
    return page_of(world.store, found, parameters, url="/v1/payment_methods")


@handles("GET /v1/customers/{customer}/payment_methods/{payment_method}")
def retrieve_payment_method_of_customer(
    world: World, parameters: Parameters, customer_id: str, name: str
) -> StripeObject:
    world.store.get("customer", customer_id)
    payment_method = find_payment_method(world, name, param="id")
    if payment_method["customer"] != customer_id:
        raise StripeError(f"No such PaymentMethod: '{name}'", status=404, code="resource_missing", param="id")
    return payment_method


@handles("POST /v1/payment_methods/{payment_method}/attach")
def attach_payment_method(world: World, parameters: Parameters, name: str) -> StripeObject:
    refuse_unsupported(parameters, frozenset({"customer"}), "POST /v1/payment_methods/{payment_method}/attach")
    if "customer" not in parameters:
        raise StripeError("Missing required param: customer.", code="parameter_missing", param="customer")
    customer = world.store.get("customer", parameters["customer"], param="customer")
    return attach(world, name, customer)


@handles("POST /v1/payment_methods/{payment_method}/detach")
def detach_payment_method(world: World, parameters: Parameters, name: str) -> StripeObject:
    payment_method = world.store.get("payment_method", name, noun="PaymentMethod")
    if payment_method["customer"] is None:
        raise StripeError("The payment method you provided is not attached to a customer so detachment is impossible.")
    detach(world, payment_method)
    return payment_method


def _new_expiry(world: World, payment_method: StripeObject, wanted: Parameters) -> StripeObject:
    if payment_method["type"] != "card":
        raise StripeError("You cannot update the card of a PaymentMethod that is no card.", param="card")
    refuse_unsupported(
        wanted, frozenset({"exp_month", "exp_year"}), "card of POST /v1/payment_methods/{payment_method}"
    )
    expiry = {name: wanted.get(name, payment_method["card"][name]) for name in ("exp_month", "exp_year")}
    require_month(expiry["exp_month"])
    return {**payment_method["card"], **expiry}
