"""Setup intents by request, the attempts they made, and mandates."""

from typing import Any

from tests.sandbox.billing.payments.attaching import find_payment_method, require_usable
from tests.sandbox.billing.payments.calling_off import UNCONFIRMED, cancel_setup_intent, unexpected_setup_state
from tests.sandbox.billing.payments.debiting import accept_mandate
from tests.sandbox.billing.payments.methods_by_request import new_payment_method
from tests.sandbox.billing.payments.setting_up import confirm_setup, new_setup_intent
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

URL = "/v1/setup_intents"
WAYS = frozenset({"payment_method", "payment_method_data"})
CONFIRMING = frozenset({"mandate_data", "return_url", "use_stripe_sdk"})
UPDATABLE = WAYS | {"customer", "description", "metadata", "payment_method_types"}
CREATABLE = UPDATABLE | CONFIRMING | {"automatic_payment_methods", "confirm", "usage"}
LISTED = frozenset({"created", "customer", "ending_before", "limit", "payment_method", "starting_after"})
KINDS = ("card", "link", "sepa_debit")


@handles("POST /v1/setup_intents")
def create_setup_intent(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/setup_intents")
    template = world.skeletons.new("setup_intent", metadata={})
    fields = _changes(world, template, parameters)
    payment_method = _payment_method(world, parameters, fields.get("customer"))
    confirms = parameters.get("confirm", False)
    if confirms and payment_method is None:
        raise _missing_payment_method()
    automatic = parameters.get("automatic_payment_methods", {})
    if automatic.get("enabled", "payment_method_types" not in parameters):
        redirects = automatic.get("allow_redirects", "always")
        fields["automatic_payment_methods"] = {"allow_redirects": redirects, "enabled": True}
        if payment_method is not None and payment_method["type"] != "card":
            fields["payment_method_types"] = ["card", payment_method["type"]]
    if payment_method is not None:
        _require_allowed(payment_method, fields.get("payment_method_types", ["card"]))
        fields["payment_method"] = payment_method["id"]
    intent = new_setup_intent(world, usage=parameters.get("usage", "off_session"), **fields)
    if confirms and payment_method is not None:
        _confirm(world, intent, payment_method, parameters)
    return intent


@handles("GET /v1/setup_intents")
def list_setup_intents(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, LISTED, "GET /v1/setup_intents")
    intents = world.store.all("setup_intent")
    found = matching(intents, parameters, "customer", "payment_method")
    return page_of(world.store, found, parameters, url=URL)


@handles("GET /v1/setup_intents/{intent}")
def retrieve_setup_intent(world: World, parameters: Parameters, intent_id: str) -> StripeObject:
    return world.store.get("setup_intent", intent_id)


@handles("POST /v1/setup_intents/{intent}")
def update_setup_intent(world: World, parameters: Parameters, intent_id: str) -> StripeObject:
    """Stripe tells no event of this."""
    refuse_unsupported(parameters, UPDATABLE, "POST /v1/setup_intents/{intent}")
    intent = world.store.get("setup_intent", intent_id)
    if intent["status"] not in UNCONFIRMED and not set(parameters) <= {"description", "expand", "metadata"}:
        raise unexpected_setup_state(intent, "updated")
    changes = _changes(world, intent, parameters)
    payment_method = _payment_method(world, parameters, changes.get("customer", intent["customer"]))
    if payment_method is not None:
        _require_allowed(payment_method, {**intent, **changes}["payment_method_types"])
        changes |= {"payment_method": payment_method["id"], "status": "requires_confirmation", "next_action": None}
    world.update(intent, None, **changes)
    return intent


@handles("POST /v1/setup_intents/{intent}/confirm")
def confirm_setup_intent(world: World, parameters: Parameters, intent_id: str) -> StripeObject:
    supported = WAYS | CONFIRMING | {"client_secret"}
    refuse_unsupported(parameters, supported, "POST /v1/setup_intents/{intent}/confirm")
    intent = world.store.get("setup_intent", intent_id)
    if intent["status"] not in UNCONFIRMED:
        raise unexpected_setup_state(intent, "confirmed")
    if parameters.get("client_secret", intent["client_secret"]) != intent["client_secret"]:
        raise StripeError(
            "The client_secret provided does not match any associated SetupIntent.", param="client_secret"
        )
    payment_method = _payment_method(world, parameters, intent["customer"])
    if payment_method is None and intent["status"] == "requires_action":
        return intent  # the customer is not back yet
    if payment_method is None and intent["payment_method"] is not None:
        payment_method = find_payment_method(world, intent["payment_method"])
    if payment_method is None:
        raise _missing_payment_method()
    _require_allowed(payment_method, intent["payment_method_types"])
    _confirm(world, intent, payment_method, parameters)
    return intent


@handles("POST /v1/setup_intents/{intent}/cancel")
def cancel_setup_intent_by_id(world: World, parameters: Parameters, intent_id: str) -> StripeObject:
    intent = world.store.get("setup_intent", intent_id)
    cancel_setup_intent(world, intent, reason=parameters.get("cancellation_reason"))
    return intent


@handles("GET /v1/setup_attempts")
def list_setup_attempts(world: World, parameters: Parameters) -> StripeObject:
    attempts = world.store.where("setup_attempt", "setup_intent", parameters["setup_intent"])
    return page_of(world.store, attempts, parameters, url="/v1/setup_attempts")


@handles("GET /v1/mandates/{mandate}")
def retrieve_mandate(world: World, parameters: Parameters, mandate_id: str) -> StripeObject:
    return world.store.get("mandate", mandate_id)


def _confirm(world: World, intent: StripeObject, payment_method: StripeObject, parameters: Parameters) -> None:
    if payment_method["type"] == "sepa_debit" and payment_method["id"] not in world.mandates:
        if not parameters.get("mandate_data"):
            raise StripeError("This SetupIntent requires `mandate_data`.", param="mandate_data")
        accept_mandate(world, payment_method, parameters["mandate_data"])
    return_url = None if parameters.get("use_stripe_sdk") else parameters.get("return_url")
    confirm_setup(world, intent, payment_method, return_url=return_url)


def _payment_method(world: World, parameters: Parameters, customer: str | None) -> StripeObject | None:
    if "payment_method" in parameters:
        payment_method = find_payment_method(world, parameters["payment_method"])
        require_usable(world, payment_method, customer)
        return payment_method
    if "payment_method_data" in parameters:
        return new_payment_method(world, parameters["payment_method_data"])
    return None


def _changes(world: World, intent: StripeObject, parameters: Parameters) -> dict[str, Any]:
    changes: dict[str, Any] = {"metadata": merged_metadata(intent["metadata"], parameters)}
    if "description" in parameters:
        changes["description"] = unset(parameters["description"])
    if "customer" in parameters:
        changes["customer"] = world.store.get("customer", parameters["customer"], param="customer")["id"]
    if "payment_method_types" in parameters:
        changes["payment_method_types"] = parameters["payment_method_types"]
        for kind in parameters["payment_method_types"]:
            if kind not in KINDS:
                raise not_implemented(f"payment methods of type {kind}", param="payment_method_types")
    return changes


def _require_allowed(payment_method: StripeObject, kinds: list[str]) -> None:
    if payment_method["type"] not in kinds:
        raise StripeError(
            f"The PaymentMethod provided ({payment_method['type']}) is not allowed for this SetupIntent. Please attach "
            f"one of the following types: {', '.join(kinds)}.",
            param="payment_method",
        )


def _missing_payment_method() -> StripeError:
    return StripeError(
        "You cannot confirm this SetupIntent because it's missing a payment method.",
        code="setup_intent_unexpected_state",
        param="payment_method",
    )
