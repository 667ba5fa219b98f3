"""What the reader of an invoice's page may have done about it. Each leads to a page with a preview."""

from collections.abc import Callable
from dataclasses import dataclass

from django.urls import reverse

from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.requests.models import InvoiceRequest
from billing.invoicing.requests.operations import PERMISSIONS
from billing.rating import queries as rating_queries
from billing.subscriptions.models import BillingPeriod

Kind, Status = InvoiceRequest.Kind, Invoice.Status


@dataclass(frozen=True, slots=True)
class Action:
    """A button, where it leads, and a word on when to use it."""

    name: str
    url: str
    icon: str
    note: str = ""


def actions_of(invoice: Invoice, *, may: Callable[[str], bool]) -> list[Action]:
    """The actions that the invoice's state allows and the reader holds the permission for."""
    found = []
    if may(PERMISSIONS[Kind.CREDIT_NOTE]) and invoice.status in (Status.OPEN, Status.PAID) and invoice.total_minor > 0:
        found.append(Action("Credit note", _url("credit", invoice), "undo"))
    if may(PERMISSIONS[Kind.VOID]):
        if invoice.status in (Status.OPEN, Status.UNCOLLECTIBLE) and not invoice.amount_paid_minor:
            found.append(Action("Void", _url("void", invoice), "block"))
        elif invoice.status == Status.VOID and _has_usage_on_none(invoice):
            note = "Its usage is on no invoice: the next one takes it, unless somebody decides otherwise."
            found.append(Action("Decide about its usage", _url("void", invoice), "gavel", note))
    return found


def _has_usage_on_none(invoice: Invoice) -> bool:
    asked = invoice.lines.filter(kind=InvoiceLine.Kind.USAGE).values_list("period_id", flat=True)
    periods = BillingPeriod.objects.filter(pk__in=asked)
    return any(rating_queries.uninvoiced(period.subscription_id, period.pk) for period in periods)


def _url(name: str, invoice: Invoice) -> str:
    return reverse(f"admin:billing_invoicerequest_{name}", args=[invoice.pk])
