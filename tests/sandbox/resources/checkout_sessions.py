"""Checkout sessions: a page on which a person buys, subscribes, or leaves a card."""

from typing import Any

from tests.sandbox.billing.selling.checking_out import OPERATION, expire, new_session
from tests.sandbox.billing.selling.line_items import line_items_page, shown_line_items
from tests.sandbox.core.errors import not_implemented
from tests.sandbox.core.expand import includes
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

KIND = "checkout.session"
URL = "/v1/checkout/sessions"
CREATABLE = frozenset(
    {"allow_promotion_codes", "automatic_tax", "billing_address_collection", "cancel_url", "client_reference_id"}
    | {"currency", "custom_text", "customer", "customer_creation", "customer_email", "customer_update", "discounts"}
    | {"expires_at", "invoice_creation", "line_items", "locale", "metadata", "mode", "payment_intent_data"}
    | {"payment_method_collection", "payment_method_types", "phone_number_collection", "redirect_on_completion"}
    | {"return_url", "setup_intent_data", "submit_type", "subscription_data", "success_url", "ui_mode"}
)
PARTS: dict[str, frozenset[str]] = {
    "payment_intent_data": frozenset(
        {"capture_method", "description", "metadata", "receipt_email", "setup_future_usage", "shipping"}
        | {"statement_descriptor", "statement_descriptor_suffix"}
    ),
    "setup_intent_data": frozenset({"description", "metadata"}),
    "subscription_data": frozenset(
        {"billing_cycle_anchor", "billing_mode", "default_tax_rates", "description", "metadata", "proration_behavior"}
        | {"trial_end", "trial_period_days", "trial_settings"}
    ),
}
METHODS = frozenset({"card", "sepa_debit"})


def find_session(world: World, session_id: str) -> StripeObject:
    return world.store.get(KIND, session_id, noun="checkout.session")


@handles("POST /v1/checkout/sessions")
def create_session(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, OPERATION)
    for part, supported in PARTS.items():
        refuse_unsupported(parameters.get(part, {}), supported, f"{OPERATION} ({part})")
    for part in ("automatic_tax", "invoice_creation"):
        if parameters.get(part, {}).get("enabled"):
            raise not_implemented(f"{part} of {OPERATION}", param=f"{part}[enabled]")
    if parameters.get("customer_update", {}).get("shipping") == "auto":
        raise not_implemented("keeping shipping addresses", param="customer_update[shipping]")
    for name in parameters.get("payment_method_types", []):
        if name not in METHODS:
            raise not_implemented(f"the payment method type {name!r}", param="payment_method_types")
    return new_session(world, {name: value for name, value in parameters.items() if name != "expand"})


@handles("GET /v1/checkout/sessions")
def list_sessions(world: World, parameters: Parameters) -> StripeObject:
    sessions = matching(
        world.store.all(KIND), parameters, "customer", "payment_intent", "payment_link", "status", "subscription"
    )
    if "customer_details" in parameters:
        email = parameters["customer_details"]["email"]
        sessions = [item for item in sessions if (item["customer_details"] or {}).get("email") == email]
    return page_of(world.store, sessions, parameters, url=URL)


@handles("GET /v1/checkout/sessions/{session}")
def retrieve_session(world: World, parameters: Parameters, session_id: str) -> StripeObject:
    return find_session(world, session_id)


@handles("POST /v1/checkout/sessions/{session}")
def update_session(world: World, parameters: Parameters, session_id: str) -> StripeObject:
    refuse_unsupported(parameters, frozenset({"metadata"}), "POST /v1/checkout/sessions/{session}")
    session = find_session(world, session_id)
    world.update(session, None, metadata=merged_metadata(session["metadata"], parameters))
    return session


@handles("POST /v1/checkout/sessions/{session}/expire")
def expire_session(world: World, parameters: Parameters, session_id: str) -> StripeObject:
    session = find_session(world, session_id)
    expire(world, session)
    return session


@handles("GET /v1/checkout/sessions/{session}/line_items")
def list_line_items(world: World, parameters: Parameters, session_id: str) -> StripeObject:
    find_session(world, session_id)
    return line_items_page(world, session_id, parameters, url=f"{URL}/{session_id}/line_items")


@includes(KIND, "line_items")
def session_line_items(world: World, session: StripeObject) -> Any:
    return shown_line_items(world, session["id"], f"{URL}/{session['id']}/line_items")
