"""Invoices as drafts: made, changed and deleted by request. `invoice_statuses.py` has what ends the draft."""

from typing import Any

from tests.sandbox.billing.invoices.balance import claim_currency, require_currency
from tests.sandbox.billing.invoices.discounts import new_discounts, replaced_discounts
from tests.sandbox.billing.invoices.finalizing import collect_soon, finalize_when_due
from tests.sandbox.billing.invoices.invoice_fields import UPDATABLE, invoice_changes
from tests.sandbox.billing.invoices.invoicing import (
    InvoiceRequest,
    attach_items,
    item_subscription,
    new_invoice,
    pending_items,
    plan_finalization,
    subscription_of,
)
from tests.sandbox.billing.invoices.lines import resum
from tests.sandbox.billing.invoices.revising import copy_lines, fields_taken_over, revisable
from tests.sandbox.billing.payments.invoice_payments import intent_of, payment_of
from tests.sandbox.core.belonging import without_other_clocks
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.expand import includes
from tests.sandbox.core.lists import in_range, list_answer, matching, page_of
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.resources.invoice_items import remove_item, require_draft
from tests.sandbox.world import World

CREATABLE = UPDATABLE | {"currency", "customer", "from_invoice", "pending_invoice_items_behavior", "subscription"}
# What can still be changed when an invoice is final.
LATE = frozenset({"auto_advance", "default_payment_method", "default_source", "expand", "metadata", "payment_settings"})
URL = "/v1/invoices"


@handles("POST /v1/invoices")
def create_invoice(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/invoices")
    original = None
    if "from_invoice" in parameters:
        original = revisable(world, parameters["from_invoice"]["invoice"])
        parameters = {"customer": original["customer"], "currency": original["currency"], **parameters}
    wanted = _request(world, parameters)
    require_currency(wanted.customer, wanted.currency)
    name = world.ids.new("in")
    fields = fields_taken_over(original) if original else {}
    fields |= invoice_changes(world, _blank(world, fields, parameters), parameters)
    if "discounts" in parameters:
        fields["discounts"] = new_discounts(
            world, parameters["discounts"], customer=wanted.customer["id"], invoice=name, currency=wanted.currency
        )
    claim_currency(world, wanted.customer, wanted.currency)
    invoice = new_invoice(world, wanted, id=name, **{"auto_advance": False, **fields})
    if original is not None:
        copy_lines(world, original, invoice)
    attach_items(world, invoice, _waiting_for(world, wanted, parameters))
    resum(world, invoice, event=False)
    if parameters.get("auto_advance"):
        plan_finalization(world, invoice)
    elif invoice["automatically_finalizes_at"] is not None:
        finalize_when_due(world, invoice)
    world.emit("invoice.created", invoice)
    return invoice


@handles("GET /v1/invoices")
def list_invoices(world: World, parameters: Parameters) -> StripeObject:
    if "customer" in parameters:
        invoices = world.store.where("invoice", "customer", parameters["customer"])
    else:
        invoices = without_other_clocks(world.store.all("invoice"), parameters)
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
        fixed = set(parameters) - LATE
        if fixed:
            raise StripeError(
                f"Finalized invoices can't be updated in this way: {', '.join(sorted(fixed))}.",
                code="invoice_not_editable",
                param=min(fixed),
            )
    changes = invoice_changes(world, invoice, parameters)
    if "discounts" in parameters:
        changes["discounts"] = replaced_discounts(
            world,
            invoice["discounts"],
            parameters["discounts"],
            customer=invoice["customer"],
            invoice=invoice_id,
            currency=invoice["currency"],
            amount=invoice["subtotal"],
        )
    previous = world.update(invoice, None, **changes)
    if "discounts" in previous or "default_tax_rates" in previous:
        previous = {**resum(world, invoice, event=False), **previous}
    if previous:
        world.emit("invoice.updated", invoice, previous=previous)
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
    world.emit("invoice.deleted", invoice)
    invoice["status"] = None  # what the clock still holds for it finds no draft
    return {"id": invoice_id, "object": "invoice", "deleted": True}


@includes("invoice", "payments")
def invoice_payments(world: World, invoice: StripeObject) -> Any:
    payments = world.store.where("invoice_payment", "invoice", invoice["id"])
    return list_answer(payments, has_more=False, url=f"{URL}/{invoice['id']}/payments")


@includes("invoice", "amount_paid_off_stripe")
def amount_paid_off_stripe(world: World, invoice: StripeObject) -> Any:
    payments = world.store.where("invoice_payment", "invoice", invoice["id"])
    return sum(payment["amount_paid"] for payment in payments if payment["payment"]["type"] == "payment_record")


@includes("invoice", "confirmation_secret")
def confirmation_secret(world: World, invoice: StripeObject) -> Any:
    """What a page needs to confirm the invoice's payment intent; nothing of one without."""
    payment = payment_of(world, invoice)
    if payment is None:
        return None
    return {"client_secret": intent_of(world, payment)["client_secret"], "type": "payment_intent"}


def _request(world: World, parameters: Parameters) -> InvoiceRequest:
    """Whose invoice, in which currency. Raises `StripeError`."""
    subscription = None
    if "subscription" in parameters:
        if "pending_invoice_items_behavior" in parameters:  # Stripe's own words, from laravel/cashier-stripe issue 1433
            raise StripeError(
                "You may only specify one of these parameters: pending_invoice_items_behavior, subscription.",
                code="parameters_exclusive",
                param="pending_invoice_items_behavior",
            )
        subscription = world.store.get("subscription", parameters["subscription"], param="subscription")
    customer_id = parameters.get("customer") or (subscription["customer"] if subscription else None)
    if customer_id is None:
        raise StripeError("Missing required param: customer.", code="parameter_missing", param="customer")
    customer = world.store.get("customer", customer_id, param="customer")
    if subscription is not None and subscription["customer"] != customer_id:
        raise StripeError("The subscription belongs to another customer.", param="subscription")
    return InvoiceRequest(
        customer=customer,
        currency=parameters.get("currency", "").lower() or customer["currency"] or "usd",
        billing_reason="manual",
        period=(world.now, world.now),
        subscription=subscription,
        collection_method=parameters.get("collection_method", "charge_automatically"),
        days_until_due=parameters.get("days_until_due"),
    )


def _waiting_for(world: World, wanted: InvoiceRequest, parameters: Parameters) -> list[StripeObject]:
    """What waits and is billed with it: of a subscription what is its own, or else, if wanted, whatever waits."""
    items = pending_items(world, wanted.customer["id"])
    if wanted.subscription is not None:
        return [item for item in items if item_subscription(item) == wanted.subscription["id"]]
    return items if parameters.get("pending_invoice_items_behavior") == "include" else []


def _blank(world: World, taken_over: dict[str, Any], parameters: Parameters) -> StripeObject:
    """What the changes of a draft start from before there is one."""
    method = parameters.get("collection_method", "charge_automatically")
    return {**world.skeletons.new("invoice", collection_method=method, metadata={}, status="draft"), **taken_over}
