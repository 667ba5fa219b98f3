"""Invoices: drafts by request, and their way to paid, void or uncollectible."""

from typing import Any

from tests.sandbox.billing.balance import claim_currency
from tests.sandbox.billing.collecting import close_payment, mark_paid, pay_by_request
from tests.sandbox.billing.finalizing import collect_soon, finalize, finalize_when_due
from tests.sandbox.billing.invoicing import (
    InvoiceRequest,
    attach_pending_items,
    new_invoice,
    plan_finalization,
    subscription_of,
)
from tests.sandbox.billing.lines import resum
from tests.sandbox.billing.voiding import mark_uncollectible, void
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.expand import includes
from tests.sandbox.core.lists import in_range, list_answer, matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.resources.invoice_items import remove_item, require_draft
from tests.sandbox.resources.payment_methods import find_payment_method
from tests.sandbox.world import World

TEXTS = ("description", "footer", "statement_descriptor")
UPDATABLE = frozenset(
    {*TEXTS, "auto_advance", "automatically_finalizes_at", "collection_method", "custom_fields", "days_until_due"}
    | {"default_payment_method", "due_date", "effective_at", "metadata", "number"}
)
CREATABLE = UPDATABLE | {"currency", "customer", "pending_invoice_items_behavior", "subscription"}
URL = "/v1/invoices"


@handles("POST /v1/invoices")
def create_invoice(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/invoices")
    subscription = None
    if "subscription" in parameters:
        subscription = world.store.get("subscription", parameters["subscription"], param="subscription")
    customer_id = parameters.get("customer") or (subscription["customer"] if subscription else None)
    if customer_id is None:
        raise StripeError("Missing required param: customer.", code="parameter_missing", param="customer")
    customer = world.store.get("customer", customer_id, param="customer")
    if subscription is not None and subscription["customer"] != customer_id:
        raise StripeError("The subscription belongs to another customer.", param="subscription")
    currency = parameters.get("currency", "").lower() or customer["currency"] or "usd"
    claim_currency(world, customer, currency)
    wanted = InvoiceRequest(
        customer=customer,
        currency=currency,
        billing_reason="manual",
        period=(world.now, world.now),
        subscription=subscription,
        collection_method=parameters.get("collection_method", "charge_automatically"),
        days_until_due=parameters.get("days_until_due"),
    )
    invoice = new_invoice(world, wanted, auto_advance=False)
    invoice.update(_changes(world, invoice, parameters))
    if parameters.get("pending_invoice_items_behavior") == "include":
        attach_pending_items(world, invoice, subscription_id=subscription["id"] if subscription else None)
    resum(world, invoice, event=False)
    if parameters.get("auto_advance"):
        plan_finalization(world, invoice)
    world.emit("invoice.created", invoice)
    return invoice


@handles("GET /v1/invoices")
def list_invoices(world: World, parameters: Parameters) -> StripeObject:
    if "customer" in parameters:
        invoices = world.store.where("invoice", "customer", parameters["customer"])
    else:
        invoices = world.store.all("invoice")
    if "subscription" in parameters:
        invoices = [invoice for invoice in invoices if subscription_of(invoice) == parameters["subscription"]]
    if "due_date" in parameters:
        wanted = parameters["due_date"]
        invoices = [invoice for invoice in invoices if invoice["due_date"] and in_range(invoice["due_date"], wanted)]
    return page_of(world.store, matching(invoices, parameters, "status", "collection_method"), parameters, url=URL)


@handles("GET /v1/invoices/{invoice}")
def retrieve_invoice(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    return world.store.get("invoice", invoice_id)


@handles("POST /v1/invoices/{invoice}")
def update_invoice(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    refuse_unsupported(parameters, UPDATABLE, "POST /v1/invoices/{invoice}")
    invoice = world.store.get("invoice", invoice_id)
    if invoice["status"] != "draft":
        fixed = set(parameters) - {"auto_advance", "expand", "metadata", "default_payment_method"}
        if fixed:
            raise StripeError(
                f"Finalized invoices can't be updated in this way: {', '.join(sorted(fixed))}.",
                code="invoice_not_editable",
                param=min(fixed),
            )
    world.update(invoice, "invoice.updated", **_changes(world, invoice, parameters))
    if invoice["status"] == "draft" and invoice["automatically_finalizes_at"] is not None:
        finalize_when_due(world, invoice)
    elif invoice["status"] == "open" and parameters.get("auto_advance"):
        collect_soon(world, invoice)
    return invoice


@handles("DELETE /v1/invoices/{invoice}")
def delete_invoice(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    invoice = world.store.get("invoice", invoice_id)
    require_draft(invoice)
    if subscription_of(invoice) is not None and invoice["billing_reason"] != "manual":
        raise StripeError("You can't delete invoices created by subscriptions.", code="invoice_not_editable")
    for item in world.store.where("invoiceitem", "customer", invoice["customer"]):
        if item["invoice"] == invoice_id:
            remove_item(world, item)
    world.store.remove(invoice)
    world.lines.pop(invoice_id, None)
    invoice["status"] = None  # what the clock still holds for it finds no draft
    world.emit("invoice.deleted", invoice)
    return {"id": invoice_id, "object": "invoice", "deleted": True}


@handles("POST /v1/invoices/{invoice}/finalize")
def finalize_invoice(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    invoice = world.store.get("invoice", invoice_id)
    require_draft(invoice)
    if "auto_advance" in parameters:
        invoice["auto_advance"] = parameters["auto_advance"]
    finalize(world, invoice)
    collect_soon(world, invoice)
    return invoice


@handles("POST /v1/invoices/{invoice}/pay")
def pay_invoice(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    refuse_unsupported(
        parameters, frozenset({"off_session", "paid_out_of_band", "payment_method"}), "POST /v1/invoices/{invoice}/pay"
    )
    invoice = world.store.get("invoice", invoice_id)
    payment_method = None
    if "payment_method" in parameters:
        payment_method = find_payment_method(world, parameters["payment_method"])
    if invoice["status"] == "draft":
        finalize(world, invoice)
        if invoice["status"] == "paid":
            return invoice
    if invoice["status"] not in ("open", "uncollectible"):
        raise StripeError(f"Invoice is already {invoice['status']}", code="invoice_already_paid")
    if parameters.get("paid_out_of_band"):
        close_payment(world, invoice, reason="void_invoice")
        mark_paid(world, invoice, off_stripe=invoice["amount_remaining"])
    else:
        pay_by_request(world, invoice, payment_method)
    return invoice


@handles("POST /v1/invoices/{invoice}/void")
def void_invoice(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    invoice = world.store.get("invoice", invoice_id)
    void(world, invoice)
    return invoice


@handles("POST /v1/invoices/{invoice}/mark_uncollectible")
def mark_invoice_uncollectible(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    invoice = world.store.get("invoice", invoice_id)
    mark_uncollectible(world, invoice)
    return invoice


@handles("POST /v1/invoices/{invoice}/send")
def send_invoice(world: World, parameters: Parameters, invoice_id: str) -> StripeObject:
    """No mail leaves the sandbox; the event says that one would."""
    invoice = world.store.get("invoice", invoice_id)
    if invoice["collection_method"] != "send_invoice":
        raise StripeError("You can only manually send an invoice if its collection method is `send_invoice`.")
    if invoice["status"] == "draft":
        finalize(world, invoice)
    world.emit("invoice.sent", invoice)
    return invoice


@includes("invoice", "payments")
def invoice_payments(world: World, invoice: StripeObject) -> Any:
    payments = world.store.where("invoice_payment", "invoice", invoice["id"])
    return list_answer(payments, has_more=False, url=f"{URL}/{invoice['id']}/payments")


def _changes(world: World, invoice: StripeObject, parameters: Parameters) -> dict[str, Any]:
    changes: dict[str, Any] = {name: unset(parameters[name]) for name in TEXTS if name in parameters}
    changes["metadata"] = merged_metadata(invoice["metadata"] or {}, parameters)
    for name in ("collection_method", "due_date"):
        if name in parameters:
            changes[name] = parameters[name]
    for name in ("custom_fields", "effective_at", "number"):
        if name in parameters:
            changes[name] = parameters[name] or None
    if "days_until_due" in parameters:
        changes["due_date"] = world.now + 86_400 * int(parameters["days_until_due"])
    if "default_payment_method" in parameters:
        name = parameters["default_payment_method"]
        changes["default_payment_method"] = find_payment_method(world, name)["id"] if name else None
    if "auto_advance" in parameters:
        changes["auto_advance"] = parameters["auto_advance"]
        if invoice["status"] == "draft":
            planned = invoice["automatically_finalizes_at"] or world.now + 3600
            changes["automatically_finalizes_at"] = planned if parameters["auto_advance"] else None
    if "automatically_finalizes_at" in parameters:
        changes |= {"auto_advance": True, "automatically_finalizes_at": parameters["automatically_finalizes_at"]}
    return changes
