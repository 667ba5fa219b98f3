"""What a request sets on an invoice, apart from its lines."""

from typing import Any

from tests.sandbox.billing.invoices.invoicing import DRAFT_WINDOW_SECONDS
from tests.sandbox.billing.invoices.tax_rates import find_tax_rates
from tests.sandbox.billing.payments.attaching import find_payment_method
from tests.sandbox.billing.periods import DAY_SECONDS
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

TEXTS = ("description", "footer", "statement_descriptor")
UPDATABLE = frozenset(
    {*TEXTS, "account_tax_ids", "auto_advance", "automatic_tax", "automatically_finalizes_at", "collection_method"}
    | {"custom_fields", "days_until_due", "default_payment_method", "default_source", "default_tax_rates"}
    | {"discounts", "due_date", "effective_at", "issuer", "metadata", "number", "payment_settings", "rendering"}
    | {"shipping_details"}
)
SENT_ONLY = ("days_until_due", "due_date")
NUMBER_LENGTH_MAX = 26


def invoice_changes(world: World, invoice: StripeObject, parameters: Parameters) -> dict[str, Any]:
    """The fields that the parameters of `POST /v1/invoices` set, discounts left out. Raises `StripeError`.

    Of `invoice` its status, collection method, metadata and `automatically_finalizes_at` are read.
    """
    _refuse(parameters)
    changes: dict[str, Any] = {name: unset(parameters[name]) for name in TEXTS if name in parameters}
    changes["metadata"] = merged_metadata(invoice["metadata"] or {}, parameters)
    if "collection_method" in parameters:
        changes["collection_method"] = parameters["collection_method"]
    for name in ("custom_fields", "effective_at"):
        if name in parameters:
            changes[name] = parameters[name] or None
    if "number" in parameters:
        changes["number"] = _number(world, invoice, parameters["number"])
    if "default_tax_rates" in parameters:
        rates = find_tax_rates(world, parameters["default_tax_rates"], param="default_tax_rates")
        changes["default_tax_rates"] = rates
    if "account_tax_ids" in parameters:
        changes["account_tax_ids"] = _account_tax_ids(world, parameters["account_tax_ids"])
    changes |= _due(world, invoice, parameters) | _payment(world, invoice, parameters)
    return changes | _shown(world, invoice, parameters) | _advance(world, invoice, parameters)


def _refuse(parameters: Parameters) -> None:
    if parameters.get("automatic_tax", {}).get("enabled"):
        raise not_implemented("automatic tax (tax rates set by hand are kept)", param="automatic_tax[enabled]")
    if parameters.get("issuer", {}).get("type", "self") != "self":
        raise not_implemented("invoices issued by connected accounts", param="issuer[type]")


def _due(world: World, invoice: StripeObject, parameters: Parameters) -> dict[str, Any]:
    method = parameters.get("collection_method", invoice["collection_method"])
    given = next((name for name in SENT_ONLY if name in parameters), None)
    if given is None:
        return {}
    if method != "send_invoice":
        raise StripeError(
            f"`{given}` can only be given for invoices whose `collection_method` is `send_invoice`.", param=given
        )
    if all(name in parameters for name in SENT_ONLY):
        raise StripeError(
            "You may only specify one of these parameters: days_until_due, due_date.",
            code="parameters_exclusive",
            param="due_date",
        )
    if "days_until_due" in parameters:
        return {"due_date": world.now + DAY_SECONDS * int(parameters["days_until_due"])}
    if parameters["due_date"] < world.now:
        raise StripeError("The due date must be in the future.", param="due_date")
    return {"due_date": parameters["due_date"]}


def _payment(world: World, invoice: StripeObject, parameters: Parameters) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for field in ("default_payment_method", "default_source"):
        if field in parameters:
            name = parameters[field]
            changes[field] = find_payment_method(world, name, param=field)["id"] if name else None
    if "payment_settings" in parameters:
        given = parameters["payment_settings"]
        refuse_unsupported(
            given, frozenset({"default_mandate", "payment_method_types"}), "POST /v1/invoices (payment_settings)"
        )
        kept = {name: value or None for name, value in given.items()}
        changes["payment_settings"] = {**invoice["payment_settings"], **kept}
    return changes


def _shown(world: World, invoice: StripeObject, parameters: Parameters) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "shipping_details" in parameters:
        given = parameters["shipping_details"]
        if given:
            address = world.skeletons.new("address", **given["address"])
            given = world.skeletons.new("shipping", **{**given, "address": address})
        changes["shipping_details"] = given or None
    if "rendering" in parameters:
        given = parameters["rendering"]
        refuse_unsupported(given, frozenset({"amount_tax_display", "pdf"}), "POST /v1/invoices (rendering)")
        former = invoice["rendering"] or world.skeletons.new("invoices_resource_invoice_rendering")
        changes["rendering"] = {**former, **{name: value or None for name, value in given.items()}}
    return changes


def _advance(world: World, invoice: StripeObject, parameters: Parameters) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "auto_advance" in parameters:
        changes["auto_advance"] = parameters["auto_advance"]
        if invoice["status"] == "draft":
            planned = invoice["automatically_finalizes_at"] or world.now + DRAFT_WINDOW_SECONDS
            changes["automatically_finalizes_at"] = planned if parameters["auto_advance"] else None
    if "automatically_finalizes_at" in parameters:
        changes |= {"auto_advance": True, "automatically_finalizes_at": parameters["automatically_finalizes_at"]}
    return changes


def _number(world: World, invoice: StripeObject, number: str) -> str | None:
    if len(number) > NUMBER_LENGTH_MAX:
        raise StripeError(f"Invalid string: must be at most {NUMBER_LENGTH_MAX} characters", param="number")
    if number and any(other["number"] == number and other is not invoice for other in world.store.all("invoice")):
        raise StripeError(f"The invoice number {number} is in use already.", param="number")
    return number or None


def _account_tax_ids(world: World, names: list[str] | str) -> list[str] | None:
    for place, name in enumerate(names):
        if world.store.get("tax_id", name, noun="tax id", param=f"account_tax_ids[{place}]")["customer"] is not None:
            raise StripeError(f"{name} is not a tax id of this account.", param=f"account_tax_ids[{place}]")
    return list(names) or None
