"""Payment intents by request: made, changed, confirmed, captured, canceled."""

from typing import Any

from tests.sandbox.billing.payments.attaching import find_payment_method, require_usable
from tests.sandbox.billing.payments.calling_off import UNCONFIRMED, cancel_payment_intent
from tests.sandbox.billing.payments.capturing import capture
from tests.sandbox.billing.payments.charging import confirm
from tests.sandbox.billing.payments.debiting import accept_mandate
from tests.sandbox.billing.payments.declines import AUTHENTICATION_REQUIRED
from tests.sandbox.billing.payments.intent_terms import (
    TEXTS,
    changed_terms,
    choose_methods,
    require_allowed,
    require_amount,
)
from tests.sandbox.billing.payments.intents import card_error, new_payment_intent, tell_followers
from tests.sandbox.billing.payments.methods_by_request import new_payment_method
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.lists import list_answer, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

URL = "/v1/payment_intents"
WAYS = frozenset({"payment_method", "payment_method_data"})
CONFIRMING = frozenset(
    {"error_on_requires_action", "mandate", "mandate_data", "off_session", "return_url", "use_stripe_sdk"}
)
UPDATABLE = WAYS | {
    *TEXTS, "amount", "capture_method", "currency", "customer", "metadata", "payment_method_options",
    "payment_method_types", "shipping",
}  # fmt: skip
CREATABLE = UPDATABLE | CONFIRMING | {"automatic_payment_methods", "confirm", "confirmation_method"}
CONFIRMABLE = (
    WAYS
    | CONFIRMING
    | {"capture_method", "client_secret", "payment_method_options", "payment_method_types", "receipt_email"}
    | {"setup_future_usage", "shipping"}
)
LISTED = frozenset({"created", "customer", "ending_before", "limit", "starting_after"})


@handles("POST /v1/payment_intents")
def create_payment_intent(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/payment_intents")
    require_amount(parameters["amount"], parameters["currency"].lower())
    confirms = parameters.get("confirm", False)
    for name in CONFIRMING & parameters.keys():
        if not confirms:
            raise StripeError(f"`{name}` can only be given with `confirm`.", param=name)
    customer = parameters.get("customer")
    if customer is not None:
        world.store.get("customer", customer, param="customer")
    payment_method = _payment_method(world, parameters, customer)
    if confirms and payment_method is None:
        raise StripeError(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
            param="payment_method",
        )
    template = world.skeletons.new(
        "payment_intent", metadata={}, payment_method_options={}, payment_method_types=["card"]
    )
    fields = changed_terms(world, template, parameters)
    choose_methods(fields, parameters, payment_method)
    intent = new_payment_intent(
        world,
        amount=fields.pop("amount"),
        currency=fields.pop("currency"),
        customer=fields.pop("customer", None),
        description=fields.pop("description", None),
        payment_method=payment_method["id"] if payment_method else None,
        status="requires_confirmation" if payment_method else "requires_payment_method",
        **fields,
    )
    if confirms and payment_method is not None:
        _confirm(world, intent, payment_method, parameters)
    return intent


@handles("GET /v1/payment_intents")
def list_payment_intents(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, LISTED, "GET /v1/payment_intents")
    intents = world.store.all("payment_intent")
    if "customer" in parameters:
        intents = world.store.where("payment_intent", "customer", parameters["customer"])
    return page_of(world.store, intents, parameters, url=URL)


@handles("GET /v1/payment_intents/{intent}")
def retrieve_payment_intent(world: World, parameters: Parameters, intent_id: str) -> StripeObject:
    return _find_intent(world, intent_id)


@handles("POST /v1/payment_intents/{intent}")
def update_payment_intent(world: World, parameters: Parameters, intent_id: str) -> StripeObject:
    """Stripe tells no event of this."""
    refuse_unsupported(parameters, UPDATABLE, "POST /v1/payment_intents/{intent}")
    intent = _find_intent(world, intent_id)
    free = {"description", "expand", "metadata", "receipt_email", "shipping"}
    if intent["status"] not in UNCONFIRMED and not set(parameters) <= free:
        raise _unexpected_state(intent, "updated")
    changes = changed_terms(world, intent, parameters)
    if "amount" in changes or "currency" in changes:
        after = {**intent, **changes}
        require_amount(after["amount"], after["currency"])
    payment_method = _payment_method(world, parameters, changes.get("customer", intent["customer"]))
    if payment_method is not None:
        require_allowed(payment_method, {**intent, **changes}["payment_method_types"])
        changes |= {"payment_method": payment_method["id"], "status": "requires_confirmation", "next_action": None}
    world.update(intent, None, **changes)
    return intent


@handles("POST /v1/payment_intents/{intent}/confirm")
def confirm_payment_intent(world: World, parameters: Parameters, intent_id: str) -> StripeObject:
    refuse_unsupported(parameters, CONFIRMABLE, "POST /v1/payment_intents/{intent}/confirm")
    intent = _find_intent(world, intent_id)
    if intent["status"] not in UNCONFIRMED:
        raise _unexpected_state(intent, "confirmed")
    if parameters.get("client_secret", intent["client_secret"]) != intent["client_secret"]:
        raise StripeError(
            "The client_secret provided does not match any associated PaymentIntent.", param="client_secret"
        )
    payment_method = _payment_method(world, parameters, intent["customer"])
    if payment_method is None and intent["payment_method"] is not None:
        payment_method = find_payment_method(world, intent["payment_method"])
        require_usable(world, payment_method, intent["customer"])
    if payment_method is None:
        raise StripeError(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method.",
            code="payment_intent_unexpected_state",
            payment_intent=copied(intent),
        )
    if intent["status"] == "requires_action" and not WAYS & parameters.keys():
        return intent  # the customer is not back yet
    named = {name: value for name, value in parameters.items() if name not in WAYS}
    changes = changed_terms(world, intent, named)
    require_allowed(payment_method, {**intent, **changes}["payment_method_types"])
    world.update(intent, None, **changes)
    _confirm(world, intent, payment_method, parameters)
    return intent


@handles("POST /v1/payment_intents/{intent}/capture")
def capture_payment_intent(world: World, parameters: Parameters, intent_id: str) -> StripeObject:
    supported = frozenset({"amount_to_capture", "final_capture", "metadata", "statement_descriptor"})
    refuse_unsupported(parameters, supported, "POST /v1/payment_intents/{intent}/capture")
    if not parameters.get("final_capture", True):
        raise not_implemented("captures in several parts", param="final_capture")
    intent = _find_intent(world, intent_id)
    changes: dict[str, Any] = {"metadata": merged_metadata(intent["metadata"], parameters)}
    if "statement_descriptor" in parameters:
        changes["statement_descriptor"] = unset(parameters["statement_descriptor"])
    if intent["status"] == "requires_capture":
        world.update(intent, None, **changes)
        charge = world.store.get("charge", intent["latest_charge"])
        world.update(charge, None, statement_descriptor=intent["statement_descriptor"])
    capture(world, intent, parameters.get("amount_to_capture"))
    return intent


@handles("POST /v1/payment_intents/{intent}/cancel")
def cancel_payment_intent_by_id(world: World, parameters: Parameters, intent_id: str) -> StripeObject:
    intent = _find_intent(world, intent_id)
    cancel_payment_intent(world, intent, reason=parameters.get("cancellation_reason"))
    return intent


@handles("GET /v1/payment_intents/{intent}/amount_details_line_items")
def list_amount_details_line_items(world: World, parameters: Parameters, intent_id: str) -> StripeObject:
    """None: `amount_details` with line items is refused."""
    _find_intent(world, intent_id)
    return list_answer([], has_more=False, url=f"{URL}/{intent_id}/amount_details_line_items")


def _find_intent(world: World, intent_id: str) -> StripeObject:
    return world.store.get("payment_intent", intent_id)


def _confirm(world: World, intent: StripeObject, payment_method: StripeObject, parameters: Parameters) -> None:
    """Raises the card's `StripeError` 402 when it is declined."""
    if "mandate_data" in parameters and payment_method["type"] == "sepa_debit" and parameters["mandate_data"]:
        accept_mandate(world, payment_method, parameters["mandate_data"])
    if parameters.get("mandate") not in (None, world.mandates.get(payment_method["id"])):
        raise StripeError(f"No such mandate: '{parameters['mandate']}'", code="resource_missing", param="mandate")
    off_session = bool(parameters.get("off_session", False))
    decline = confirm(
        world,
        intent,
        payment_method,
        off_session=off_session,
        asks=not off_session,
        handles_actions=not parameters.get("error_on_requires_action", False),
        return_url=None if parameters.get("use_stripe_sdk") else parameters.get("return_url"),
    )
    tell_followers(world, intent, decline)
    if decline is not None and decline is not AUTHENTICATION_REQUIRED:
        raise card_error(decline, intent=intent)


def _payment_method(world: World, parameters: Parameters, customer: str | None) -> StripeObject | None:
    """The one a request names or describes. Raises `StripeError` for one that this customer cannot use."""
    if "payment_method" in parameters:
        payment_method = find_payment_method(world, parameters["payment_method"])
        require_usable(world, payment_method, customer)
        return payment_method
    if "payment_method_data" in parameters:
        return new_payment_method(world, parameters["payment_method_data"])
    return None


def _unexpected_state(intent: StripeObject, verb: str) -> StripeError:
    return StripeError(
        f"This PaymentIntent's status is {intent['status']}; it could not be {verb}.",
        code="payment_intent_unexpected_state",
        payment_intent=copied(intent),
    )
