"""What a subscription agrees besides items and time: who pays how, texts, settings. Read from requests."""

from typing import Any

from tests.sandbox.billing.invoices.tax_rates import find_tax_rates
from tests.sandbox.core.errors import StripeError, not_implemented, resource_missing
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

# Parameters of subscriptions that are read here. `off_session` says who is at the screen; the test cards do not ask.
TERMS = frozenset(
    {"automatic_tax", "cancellation_details", "collection_method", "days_until_due", "default_payment_method"}
    | {
        "default_source",
        "default_tax_rates",
        "description",
        "invoice_settings",
        "metadata",
        "off_session",
        "payment_settings",
    }
    | {"trial_settings"}
)


def changed_terms(
    world: World, customer: StripeObject, current: StripeObject, parameters: Parameters
) -> dict[str, Any]:
    """The fields of a subscription that a request sets; `current` is the subscription, or its defaults."""
    changes: dict[str, Any] = {"metadata": merged_metadata(current["metadata"], parameters)}
    changes |= _collection(current, parameters)
    if "description" in parameters:
        changes["description"] = unset(parameters["description"])
    if "default_payment_method" in parameters:
        changes["default_payment_method"] = _own_payment_method(world, parameters, customer)
    if "default_source" in parameters:
        changes["default_source"] = _own_source(world, parameters, customer)
    if "default_tax_rates" in parameters:
        changes["default_tax_rates"] = find_tax_rates(world, parameters["default_tax_rates"], param="default_tax_rates")
    if "cancellation_details" in parameters:
        details = {key: unset(value) for key, value in parameters["cancellation_details"].items()}
        changes["cancellation_details"] = {**current["cancellation_details"], **details}
    if "payment_settings" in parameters:
        changes["payment_settings"] = _payment_settings(current["payment_settings"], parameters["payment_settings"])
    if "invoice_settings" in parameters:
        changes["invoice_settings"] = _invoice_settings(current["invoice_settings"], parameters["invoice_settings"])
    if "trial_settings" in parameters:
        changes["trial_settings"] = {"end_behavior": dict(parameters["trial_settings"]["end_behavior"])}
    if parameters.get("automatic_tax", {}).get("enabled"):
        raise not_implemented("automatic tax", param="automatic_tax[enabled]")
    return changes


def _collection(current: StripeObject, parameters: Parameters) -> dict[str, Any]:
    method = parameters.get("collection_method", current["collection_method"])
    days = parameters.get("days_until_due", current["days_until_due"])
    if method == "send_invoice" and days is None:
        raise StripeError(
            "You must pass `days_until_due` when `collection_method` is `send_invoice`.", param="days_until_due"
        )
    if method == "charge_automatically" and "days_until_due" in parameters:
        raise StripeError(
            "`days_until_due` can only be set when `collection_method` is `send_invoice`.", param="days_until_due"
        )
    return {"collection_method": method, "days_until_due": days if method == "send_invoice" else None}


def _own_payment_method(world: World, parameters: Parameters, customer: StripeObject) -> str | None:
    name = parameters["default_payment_method"]
    if not name:
        return None
    payment_method = world.store.get("payment_method", name, noun="PaymentMethod", param="default_payment_method")
    if payment_method["customer"] != customer["id"]:
        raise StripeError(
            "The payment method must be attached to the customer before it can pay a subscription.",
            param="default_payment_method",
        )
    return str(payment_method["id"])


def _own_source(world: World, parameters: Parameters, customer: StripeObject) -> str | None:
    name = parameters["default_source"]
    if not name:
        return None
    source = world.store.get("card", name, noun="source", param="default_source")
    if source["customer"] != customer["id"]:
        raise resource_missing("source", name, param="default_source", status=400)
    return str(source["id"])


def _payment_settings(current: StripeObject, given: Parameters) -> StripeObject:
    refuse_unsupported(given, frozenset({"payment_method_types", "save_default_payment_method"}), "payment_settings")
    settings = dict(current)
    if "payment_method_types" in given:
        settings["payment_method_types"] = given["payment_method_types"] or None
    if "save_default_payment_method" in given:
        settings["save_default_payment_method"] = given["save_default_payment_method"]
    return settings


def _invoice_settings(current: StripeObject, given: Parameters) -> StripeObject:
    refuse_unsupported(given, frozenset({"custom_fields", "description", "footer", "issuer"}), "invoice_settings")
    settings = dict(current)
    for name in ("description", "footer"):
        if name in given:
            settings[name] = unset(given[name])
    if "custom_fields" in given:
        settings["custom_fields"] = given["custom_fields"] or None
    if given.get("issuer", {"type": "self"})["type"] != "self":
        raise not_implemented("invoices issued by another account", param="invoice_settings[issuer][type]")
    return settings
