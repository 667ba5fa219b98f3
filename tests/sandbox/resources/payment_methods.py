"""Payment methods: Stripe's test cards by their known names, attached to customers."""

from typing import Any

from tests.sandbox.billing.cards import CARDS, card_name
from tests.sandbox.billing.charging import card_error
from tests.sandbox.core.errors import StripeError, not_implemented, resource_missing
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def find_payment_method(world: World, name: str, *, param: str = "payment_method") -> StripeObject:
    """A stored payment method, or a new one where `name` is that of a test card. Raises `StripeError`."""
    found = world.store.find("payment_method", name)
    if found is not None:
        return found
    known = card_name(name) if name.startswith("pm_card_") else None
    if known is None:
        raise resource_missing("PaymentMethod", name, param=param, status=404 if param == "id" else 400)
    return _new_card(world, known)


def attach(world: World, name: str, customer: StripeObject) -> StripeObject:
    """Give a customer a card. Raises the card's `StripeError` 402 if it declines already here."""
    payment_method = find_payment_method(world, name)
    if payment_method["customer"] == customer["id"]:
        return payment_method
    if payment_method["customer"] is not None:
        raise StripeError("The payment method you provided has already been attached to a customer.")
    card = CARDS[world.cards[payment_method["id"]]]
    if card.at_attach is not None:
        raise card_error(card.at_attach)
    world.update(payment_method, None, customer=customer["id"])
    world.emit("payment_method.attached", payment_method)
    return payment_method


def detach(world: World, payment_method: StripeObject) -> None:
    customer = world.store.find("customer", payment_method["customer"])
    previous = world.update(payment_method, None, customer=None)
    world.emit("payment_method.detached", payment_method, previous=previous)
    if customer and customer["invoice_settings"]["default_payment_method"] == payment_method["id"]:
        settings = {**customer["invoice_settings"], "default_payment_method": None}
        world.update(customer, "customer.updated", invoice_settings=settings)


@handles("POST /v1/payment_methods")
def create_payment_method(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(
        parameters, frozenset({"type", "card", "billing_details", "metadata"}), "POST /v1/payment_methods"
    )
    if parameters.get("type", "card") != "card" or "card" not in parameters:
        raise not_implemented("payment methods other than cards", param="type")
    card = parameters["card"]
    known = card_name(card.get("token") or card.get("number") or "")
    if known is None:
        raise StripeError("Your card number is incorrect.", status=402, kind="card_error", code="incorrect_number")
    payment_method = _new_card(world, known)
    payment_method["metadata"] = merged_metadata({}, parameters)
    details: dict[str, Any] = parameters.get("billing_details", {})
    payment_method["billing_details"].update({key: value or None for key, value in details.items()})
    return payment_method


@handles("GET /v1/payment_methods/{payment_method}")
def retrieve_payment_method(world: World, parameters: Parameters, name: str) -> StripeObject:
    return find_payment_method(world, name, param="id")


@handles("POST /v1/payment_methods/{payment_method}")
def update_payment_method(world: World, parameters: Parameters, name: str) -> StripeObject:
    refuse_unsupported(parameters, frozenset({"metadata"}), "POST /v1/payment_methods/{payment_method}")
    payment_method = find_payment_method(world, name, param="id")
    metadata = merged_metadata(payment_method["metadata"], parameters)
    world.update(payment_method, "payment_method.updated", metadata=metadata)
    return payment_method


@handles("GET /v1/payment_methods")
def list_payment_methods(world: World, parameters: Parameters) -> StripeObject:
    if "customer" in parameters:
        methods = world.store.where("payment_method", "customer", parameters["customer"])
    else:
        methods = world.store.all("payment_method")
    return page_of(world.store, matching(methods, parameters, "type"), parameters, url="/v1/payment_methods")


@handles("POST /v1/payment_methods/{payment_method}/attach")
def attach_payment_method(world: World, parameters: Parameters, name: str) -> StripeObject:
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


def _new_card(world: World, known: str) -> StripeObject:
    card = CARDS[known]
    details = world.skeletons.new(
        "payment_method_card",
        brand=card.brand,
        checks={"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "unchecked"},
        country="US",
        display_brand=card.brand,
        exp_month=12,
        exp_year=2034,
        funding="credit",
        last4=card.last4,
        networks={"available": [card.brand], "preferred": None},
        three_d_secure_usage={"supported": True},
    )
    payment_method = world.new(
        "payment_method",
        "pm",
        allow_redisplay="unspecified",
        billing_details=world.skeletons.new("billing_details"),
        card=details,
        metadata={},
        type="card",
    )
    world.cards[payment_method["id"]] = known
    return payment_method
