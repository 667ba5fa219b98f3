"""The fields of a payment intent as a request gives them: read, checked, and put in the intent's own form."""

from typing import Any

from tests.sandbox.billing.money import CHARGE_MAXIMUM, charge_minimum
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

TEXTS = ("description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix", "setup_future_usage")
KINDS = ("card", "customer_balance", "link", "sepa_debit")


def changed_terms(world: World, intent: StripeObject, parameters: Parameters) -> dict[str, Any]:
    """Fields of an intent that a request sets, as they will be."""
    changes: dict[str, Any] = {name: unset(parameters[name]) for name in TEXTS if name in parameters}
    changes["metadata"] = merged_metadata(intent["metadata"], parameters)
    for name in ("amount", "capture_method", "confirmation_method", "payment_method_types"):
        if name in parameters:
            changes[name] = parameters[name]
    if "customer" in parameters:
        changes["customer"] = world.store.get("customer", parameters["customer"], param="customer")["id"]
    if "currency" in parameters:
        changes["currency"] = parameters["currency"].lower()
    if "shipping" in parameters:
        shipping = parameters["shipping"]
        changes["shipping"] = _shipping(world, shipping) if shipping else None
    for kind in changes.get("payment_method_types", ()):
        if kind not in KINDS:
            raise not_implemented(f"payment methods of type {kind}", param="payment_method_types")
    if "payment_method_options" in parameters:
        changes["payment_method_options"] = _options(world, intent, parameters["payment_method_options"])
    return changes


def _shipping(world: World, shipping: Parameters) -> StripeObject:
    address = world.skeletons.new("address", **shipping.get("address", {}))
    return world.skeletons.new("shipping", **{**shipping, "address": address})


def _options(world: World, intent: StripeObject, given: Parameters) -> StripeObject:
    refuse_unsupported(given, frozenset({"card", "customer_balance", "sepa_debit"}), "payment_method_options")
    options = copied(intent["payment_method_options"] or {})
    card = given.get("card") or {}
    refuse_unsupported(card, frozenset({"request_three_d_secure"}), "payment_method_options[card]")
    if card:
        default = world.skeletons.new("payment_intent_payment_method_options_card")
        options["card"] = {**default, **options.get("card", {}), **card}
    if given.get("sepa_debit"):
        raise not_implemented("options of SEPA debits", param="payment_method_options[sepa_debit]")
    if given.get("customer_balance"):
        options["customer_balance"] = _bank_transfer_options(given["customer_balance"])
    return options


def _bank_transfer_options(given: Parameters) -> StripeObject:
    refuse_unsupported(given, frozenset({"bank_transfer", "funding_type"}), "payment_method_options[customer_balance]")
    transfer = given.get("bank_transfer", {})
    kind = str(transfer.get("type", "us_bank_transfer")).replace("jp_bank_account", "jp_bank_transfer")
    shown = {"type": kind}
    if "eu_bank_transfer" in transfer:
        shown["eu_bank_transfer"] = transfer["eu_bank_transfer"]
    return {"bank_transfer": shown, "funding_type": "bank_transfer", "setup_future_usage": "none"}


def choose_methods(fields: dict[str, Any], parameters: Parameters, payment_method: StripeObject | None) -> None:
    """Which ways to pay an intent allows: those named, else what the account takes by itself (cards here)."""
    automatic = parameters.get("automatic_payment_methods", {})
    if automatic.get("enabled") and "payment_method_types" in parameters:
        raise StripeError(
            "You may only specify one of these parameters: automatic_payment_methods, payment_method_types.",
            param="automatic_payment_methods",
        )
    if "payment_method_types" not in parameters:
        enabled = automatic.get("enabled", True)
        redirects = automatic.get("allow_redirects", "always")
        if enabled:
            fields["automatic_payment_methods"] = {"allow_redirects": redirects, "enabled": True}
        fields["payment_method_types"] = ["card"]
        if payment_method is not None and payment_method["type"] != "card":
            fields["payment_method_types"] = ["card", payment_method["type"]]
    elif payment_method is not None:
        require_allowed(payment_method, fields["payment_method_types"])
    if not fields.get("payment_method_options"):
        fields.pop("payment_method_options", None)


def require_allowed(payment_method: StripeObject, kinds: list[str]) -> None:
    if payment_method["type"] not in kinds:
        raise StripeError(
            f"The PaymentMethod provided ({payment_method['type']}) is not allowed for this PaymentIntent. Please "
            f"attach one of the following types: {', '.join(kinds)}.",
            param="payment_method",
        )


def require_amount(amount: int, currency: str) -> None:
    if amount < charge_minimum(currency):
        raise StripeError(
            f"Amount must be at least {charge_minimum(currency)} {currency} in minor units.",
            code="amount_too_small",
            param="amount",
        )
    if amount > CHARGE_MAXIMUM:
        raise StripeError(
            f"Amount must be no more than {CHARGE_MAXIMUM} minor units.", code="amount_too_large", param="amount"
        )
