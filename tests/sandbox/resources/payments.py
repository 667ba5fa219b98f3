"""Payment intents (also without an invoice), charges, balance transactions and invoice payments, mostly to read."""

from typing import Any

from tests.sandbox.billing.cards import AUTHENTICATION_REQUIRED
from tests.sandbox.billing.charging import card_error, confirm, new_payment_intent
from tests.sandbox.billing.money import charge_minimum
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.expand import includes
from tests.sandbox.core.lists import list_answer, matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.resources.payment_methods import find_payment_method
from tests.sandbox.world import World

INTENT_CREATABLE = frozenset(
    {"amount", "automatic_payment_methods", "confirm", "currency", "customer", "description", "metadata"}
    | {"off_session", "payment_method", "payment_method_types", "receipt_email", "statement_descriptor"}
)


@handles("POST /v1/payment_intents")
def create_payment_intent(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, INTENT_CREATABLE, "POST /v1/payment_intents")
    currency = parameters["currency"].lower()
    if parameters["amount"] < charge_minimum(currency):
        raise StripeError(
            f"Amount must be at least {charge_minimum(currency)} {currency} in minor units.",
            code="amount_too_small",
            param="amount",
        )
    customer = parameters.get("customer")
    if customer is not None:
        world.store.get("customer", customer, param="customer")
    payment_method = None
    if "payment_method" in parameters:
        payment_method = find_payment_method(world, parameters["payment_method"])
    confirms = parameters.get("confirm", False)
    if confirms and payment_method is None:
        raise StripeError("You cannot confirm without a payment method.", param="payment_method")
    intent = new_payment_intent(
        world,
        amount=parameters["amount"],
        currency=currency,
        customer=customer,
        description=unset(parameters.get("description")),
        metadata=merged_metadata({}, parameters),
        payment_method=payment_method["id"] if payment_method else None,
        receipt_email=parameters.get("receipt_email"),
        status="requires_confirmation" if payment_method else "requires_payment_method",
    )
    if confirms and payment_method is not None:
        _confirm(world, intent, payment_method)
    return intent


@handles("POST /v1/payment_intents/{intent}/confirm")
def confirm_payment_intent(world: World, parameters: Parameters, intent_id: str) -> StripeObject:
    refuse_unsupported(
        parameters, frozenset({"payment_method", "off_session"}), "POST /v1/payment_intents/{intent}/confirm"
    )
    intent = _find_intent(world, intent_id)
    name = parameters.get("payment_method") or intent["payment_method"]
    if intent["status"] in ("succeeded", "canceled") or name is None:
        raise StripeError(
            f"This PaymentIntent's status is {intent['status']}; it cannot be confirmed.",
            code="payment_intent_unexpected_state",
        )
    _confirm(world, intent, find_payment_method(world, name))
    return intent


@handles("POST /v1/payment_intents/{intent}/cancel")
def cancel_payment_intent(world: World, parameters: Parameters, intent_id: str) -> StripeObject:
    intent = _find_intent(world, intent_id)
    if intent["status"] in ("succeeded", "canceled"):
        raise StripeError(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}.",
            code="payment_intent_unexpected_state",
        )
    reason = parameters.get("cancellation_reason")
    world.update(intent, None, status="canceled", canceled_at=world.now, cancellation_reason=reason)
    world.emit("payment_intent.canceled", intent)
    return intent


@handles("GET /v1/payment_intents")
def list_payment_intents(world: World, parameters: Parameters) -> StripeObject:
    intents = world.store.all("payment_intent")
    if "customer" in parameters:
        intents = world.store.where("payment_intent", "customer", parameters["customer"])
    return page_of(world.store, intents, parameters, url="/v1/payment_intents")


@handles("GET /v1/payment_intents/{intent}")
def retrieve_payment_intent(world: World, parameters: Parameters, intent_id: str) -> StripeObject:
    return _find_intent(world, intent_id)


@handles("GET /v1/charges")
def list_charges(world: World, parameters: Parameters) -> StripeObject:
    if "payment_intent" in parameters:
        charges = world.store.where("charge", "payment_intent", parameters["payment_intent"])
    elif "customer" in parameters:
        charges = world.store.where("charge", "customer", parameters["customer"])
    else:
        charges = world.store.all("charge")
    return page_of(world.store, matching(charges, parameters, "customer"), parameters, url="/v1/charges")


@handles("GET /v1/charges/{charge}")
def retrieve_charge(world: World, parameters: Parameters, charge_id: str) -> StripeObject:
    return world.store.get("charge", charge_id)


@handles("POST /v1/charges/{charge}")
def update_charge(world: World, parameters: Parameters, charge_id: str) -> StripeObject:
    refuse_unsupported(parameters, frozenset({"description", "metadata"}), "POST /v1/charges/{charge}")
    charge = world.store.get("charge", charge_id)
    changes: dict[str, Any] = {"metadata": merged_metadata(charge["metadata"], parameters)}
    if "description" in parameters:
        changes["description"] = unset(parameters["description"])
    world.update(charge, "charge.updated", **changes)
    return charge


@handles("GET /v1/balance_transactions")
def list_balance_transactions(world: World, parameters: Parameters) -> StripeObject:
    transactions = world.store.all("balance_transaction")
    if "source" in parameters:
        transactions = world.store.where("balance_transaction", "source", parameters["source"])
    if "payout" in parameters:
        transactions = []  # the sandbox pays nothing out yet
    found = matching(transactions, parameters, "currency", "type")
    return page_of(world.store, found, parameters, url="/v1/balance_transactions")


@handles("GET /v1/balance_transactions/{id}")
def retrieve_balance_transaction(world: World, parameters: Parameters, transaction_id: str) -> StripeObject:
    return world.store.get("balance_transaction", transaction_id, noun="balance transaction")


@handles("GET /v1/invoice_payments")
def list_invoice_payments(world: World, parameters: Parameters) -> StripeObject:
    if "invoice" in parameters:
        payments = world.store.where("invoice_payment", "invoice", parameters["invoice"])
    else:
        payments = world.store.all("invoice_payment")
    if "payment" in parameters:
        intent = parameters["payment"].get("payment_intent")
        payments = [payment for payment in payments if payment["payment"].get("payment_intent") == intent]
    return page_of(world.store, matching(payments, parameters, "status"), parameters, url="/v1/invoice_payments")


@handles("GET /v1/invoice_payments/{invoice_payment}")
def retrieve_invoice_payment(world: World, parameters: Parameters, payment_id: str) -> StripeObject:
    return world.store.get("invoice_payment", payment_id)


@includes("charge", "refunds")
def charge_refunds(world: World, charge: StripeObject) -> Any:
    refunds = world.store.where("refund", "charge", charge["id"])
    return list_answer(refunds[::-1][:10], has_more=len(refunds) > 10, url=f"/v1/charges/{charge['id']}/refunds")


def _find_intent(world: World, intent_id: str) -> StripeObject:
    return world.store.get("payment_intent", intent_id)


def _confirm(world: World, intent: StripeObject, payment_method: StripeObject) -> None:
    decline = confirm(world, intent, payment_method)
    if decline is not None and decline is not AUTHENTICATION_REQUIRED:
        raise card_error(decline, intent=intent)
