"""A customer's invoices with their lines and what is open, and one-off invoices that a service asks for."""

from typing import Annotated

import msgspec
from django.http import HttpResponse
from rest_framework.request import Request

from billing.api import invoices_schema as described
from billing.api import parameters
from billing.api.refusals import BadParameter, NotThere
from billing.api.views import SEES_INVOICE, BillingView
from billing.api.writing import Body, Reason, WritingView
from billing.customers.models import Customer
from billing.customers.queries import customer_by_key
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.orders.operations import OrderedLine
from billing.invoicing.page import is_past_due
from billing.invoicing.requests import operations, terms
from billing.invoicing.requests.models import InvoiceRequest
from billing.rating.explanation.as_json import instant_text, number_text

INVOICES_MAX = 50
STATUSES = tuple(Invoice.Status.values)


class CustomerInvoices(BillingView):
    """The newest first, with every line; `before` (an id of ours) leads to older ones."""

    permissions = (SEES_INVOICE,)
    takes = frozenset({"status", "before"})

    @described.invoices
    def get(self, request: Request, customer_key: str) -> HttpResponse:
        customer = _customer(customer_key)
        found = Invoice.objects.filter(customer=customer).order_by("-pk")
        status, before = request.query_params.get("status"), request.query_params.get("before")
        if status is not None:
            if status not in STATUSES:
                raise BadParameter("status", f"Choose one of {', '.join(STATUSES)}.")
            found = found.filter(status=status)
        if before is not None:
            if not (before.isascii() and before.isdecimal() and len(before) < 19):
                raise BadParameter("before", "Send the id of the last invoice of the page before.")
            found = found.filter(pk__lt=int(before))
        page = list(found.prefetch_related("lines", "order")[: INVOICES_MAX + 1])
        rows = [invoice_body(invoice) for invoice in page[:INVOICES_MAX]]
        body = {"customer_key": customer.customer_key, "invoices": rows, "has_more": len(page) > INVOICES_MAX}
        return HttpResponse(msgspec.json.encode(body), content_type="application/json")


def invoice_body(invoice: Invoice) -> dict[str, object]:
    """Amounts in minor units of the currency; `exact_amount` of a line in currency units."""
    order = getattr(invoice, "order", None)
    return {
        "id": invoice.pk,
        "invoice": invoice.stripe_invoice_id,
        "number": invoice.number,
        "status": invoice.status,
        "is_past_due": is_past_due(invoice),
        "why": order.kind if order is not None else invoice.billing_reason,
        "currency": invoice.currency,
        "total_minor": invoice.total_minor,
        "paid_minor": invoice.amount_paid_minor,
        "open_minor": invoice.amount_remaining_minor if invoice.status == Invoice.Status.OPEN else 0,
        "created_at": instant_text(invoice.created_at),
        "finalized_at": invoice.finalized_at and instant_text(invoice.finalized_at),
        "due_at": invoice.due_at and instant_text(invoice.due_at),
        "lines": [_line(line) for line in invoice.lines.all()],
    }


def _line(line: InvoiceLine) -> dict[str, object]:
    return {
        "id": line.pk,
        "kind": line.kind,
        "description": line.description,
        "quantity": number_text(line.quantity),
        "exact_amount": number_text(line.exact_amount),
        "amount_minor": line.amount_minor,
        "discount_minor": line.discount_minor,
        "tax_minor": line.exclusive_tax_minor + line.inclusive_tax_minor,
    }


class OneOffLine(Body, frozen=True, kw_only=True):
    description: Reason
    amount_minor: Annotated[int, msgspec.Meta(ge=1, le=terms.AMOUNT_MINOR_MAX)]
    is_taxed: bool = True


class OneOffBody(Body, frozen=True, kw_only=True):
    lines: Annotated[list[OneOffLine], msgspec.Meta(min_length=1, max_length=terms.LINES_MAX)]
    reason: Reason


class OneOffInvoices(WritingView):
    """Ask for a one-off invoice. A service may within the limit of one person; a person above it waits for a second."""

    permissions = (SEES_INVOICE,)
    write_permissions = (operations.PERMISSIONS[InvoiceRequest.Kind.ONE_OFF],)
    refused = {
        operations.RequestConflict: 409,
        operations.NotPermitted: 422,
        terms.InvalidRequest: 422,
    }

    @described.one_off
    def post(self, request: Request, customer_key: str) -> HttpResponse:
        asked = self.asked(request, OneOffBody)
        customer = _customer(customer_key)
        lines = [OrderedLine(line.description, line.amount_minor, line.is_taxed) for line in asked.body.lines]
        made = operations.ask(
            terms.one_off(customer_key=customer.customer_key, lines=lines),
            reason=asked.body.reason,
            actor=asked.actor,
            idempotency_key=f"api:{asked.actor}:{asked.key}",
            now=asked.now,
        )
        return self.answer(request_body(made), status=201)


def request_body(asked: InvoiceRequest) -> dict[str, object]:
    order = asked.order
    return {
        "id": asked.pk,
        "state": asked.state,
        "needs_second_person": asked.needs_second_person,
        "amount_minor": asked.amount_minor,
        "currency": asked.currency,
        "order": order and order.pk,
        "order_state": order and order.state,
        "invoice": order.invoice.stripe_invoice_id if order is not None and order.invoice is not None else None,
    }


def _customer(customer_key: str) -> Customer:
    customer = customer_by_key(customer_key) if parameters.is_text(customer_key) else None
    if customer is None:
        raise NotThere("customer_key", f"There is no customer {customer_key[:128]!r}. Check the key.")
    return customer
