"""All that an invoice's page shows. What the reader may not open is not read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Max, Q

from billing.admin_links import list_url, page_url
from billing.invoicing import late_page
from billing.invoicing.metered import page as metered_page
from billing.invoicing.models import CreditNote, Invoice, InvoiceClose, InvoiceLine
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.page_actions import actions_of
from billing.invoicing.page_timeline import reason_text, timeline_of
from billing.invoicing.requests.models import InvoiceRequest
from billing.invoicing.rounding import from_minor
from billing.payments.models import Payment
from billing.rating.explanation.links import line_url
from billing.stripe.dashboard import object_text
from billing.stripe.models import InboxEvent
from ledger import queries as ledger_queries

EVENTS_SHOWN = 50
# Open, and a payment was tried and declined: the customer is late, not merely about to pay.
PAST_DUE = Q(status=Invoice.Status.OPEN, attempt_count__gt=0)


def is_past_due(invoice: Invoice) -> bool:
    """The condition PAST_DUE, of a row already read."""
    return invoice.status == Invoice.Status.OPEN and invoice.attempt_count > 0


@dataclass(frozen=True, slots=True)
class LineRow:
    """
    A line, where it is explained ("" for a line of no usage), the accruals it sums up, price by price, and the meter
    events that brought it, if Stripe's meter did.
    """

    line: InvoiceLine
    explanation_url: str
    why_url: str
    events_url: str


@dataclass(frozen=True, slots=True)
class LineTotals:
    """
    Sums over the lines, in currency units: exact + rounding = charged; charged - discount + tax on top is the total.

    Both taxes together are what is owed to the authorities.
    """

    exact: Decimal
    rounding: Decimal
    charged: Decimal
    discount: Decimal
    tax_on_top: Decimal
    tax_within: Decimal


def sections(*, invoice: Invoice, may: Callable[[str], bool], now: datetime) -> Mapping[str, Any]:
    """Everything the template needs, by name. A section the reader may not see is None."""
    found = _lines_of(invoice)
    billed_before = _billed_before(invoice, found)
    lines = [
        LineRow(line, _explanation_url(line), _why_url(line, billed_before), metered_page.events_url(line))
        for line in found
    ]
    return {
        "invoice": invoice,
        "reason": reason_text(invoice),
        "is_past_due": is_past_due(invoice),
        "stripe_object": object_text("invoices", invoice.stripe_invoice_id),
        "lines": lines,
        "line_totals": _totals([row.line for row in lines], currency=invoice.currency),
        "timeline": timeline_of(invoice, may=may),
        "actions": actions_of(invoice, may=may),
        "recovery": getattr(invoice, "recovery_case", None) if may("billing.view_recoverycase") else None,
        "order": InvoiceOrder.objects.filter(invoice=invoice).first() if may("billing.view_invoiceorder") else None,
        "requests": _requests_of(invoice) if may("billing.view_invoicerequest") else None,
        "held_for": _held_for(invoice, now=now),
        "close": _close_of(invoice) if may("billing.view_invoiceclose") else None,
        "entry": _entry_of(invoice) if may("ledger.view_journalentry") else None,
        "credit_notes": _credit_notes_of(invoice) if may("billing.view_creditnote") else None,
        "payments": _payments_of(invoice) if may("billing.view_payment") else None,
        "events": _events_about(invoice) if may("billing.view_inboxevent") else None,
        "metered": metered_page.of_invoice(invoice) if may("billing.view_meteredevent") else None,
        "late_usage": late_page.of_invoice(invoice) if may("billing.view_lateusage") else None,
    }


def _lines_of(invoice: Invoice) -> list[InvoiceLine]:
    found = InvoiceLine.objects.filter(invoice=invoice).select_related("rate", "period", "accrual")
    return list(found.order_by("position"))


def _billed_before(invoice: Invoice, lines: list[InvoiceLine]) -> dict[int, int]:
    """By period, the last accrual that an earlier invoice had billed already; periods without one are left out."""
    periods = {line.period_id for line in lines if line.period_id is not None}
    earlier = InvoiceLine.objects.filter(period_id__in=periods, kind=InvoiceLine.Kind.USAGE)
    earlier = earlier.filter(invoice__created_at__lt=invoice.created_at).exclude(invoice__status=Invoice.Status.VOID)
    rows = earlier.values("period_id").order_by("period_id").annotate(last=Max("accrual_id"))
    return {row["period_id"]: row["last"] for row in rows}


def _explanation_url(line: InvoiceLine) -> str:
    is_of_usage = line.kind in (InvoiceLine.Kind.USAGE, InvoiceLine.Kind.COVERAGE)
    return line_url(line.pk) if is_of_usage and line.period_id is not None else ""


def _why_url(line: InvoiceLine, billed_before: Mapping[int, int]) -> str:
    """
    The accrual lines whose unbilled amounts add up to a usage line: of its period and price, after those that an
    earlier invoice had billed, up to the one it was made at. A coverage line of no price leads to its period.
    """
    if line.period_id is None:
        return ""
    if line.rate_id is None:
        return page_url("billing.billingperiod", line.period_id)
    filters = {"accrual__period__id__exact": line.period_id, "rate__id__exact": line.rate_id}
    if line.period_id in billed_before:
        filters["accrual__id__gt"] = billed_before[line.period_id]
    if line.accrual_id is not None:
        filters["accrual__id__lte"] = line.accrual_id
    return list_url("billing.usageaccrualline", **filters)


def _totals(lines: list[InvoiceLine], *, currency: str) -> LineTotals:
    return LineTotals(
        exact=sum((line.exact_amount for line in lines), Decimal(0)),
        rounding=sum((line.rounding for line in lines), Decimal(0)),
        charged=from_minor(sum(line.amount_minor for line in lines), currency),
        discount=from_minor(sum(line.discount_minor for line in lines), currency),
        tax_on_top=from_minor(sum(line.exclusive_tax_minor for line in lines), currency),
        tax_within=from_minor(sum(line.inclusive_tax_minor for line in lines), currency),
    )


def _close_of(invoice: Invoice) -> InvoiceClose | None:
    return InvoiceClose.objects.filter(invoice=invoice).prefetch_related("steps").select_related("period").first()


def _entry_of(invoice: Invoice) -> ledger_queries.Entry | None:
    return ledger_queries.entry_by_key(f"invoice_finalized:{invoice.stripe_invoice_id}")


def _credit_notes_of(invoice: Invoice) -> list[CreditNote]:
    return list(CreditNote.objects.filter(invoice=invoice).order_by("issued_at", "id"))


def _payments_of(invoice: Invoice) -> list[Payment]:
    return list(Payment.objects.filter(invoice=invoice).order_by("occurred_at", "id"))


def _events_about(invoice: Invoice) -> list[InboxEvent]:
    found = InboxEvent.objects.filter(object_id=invoice.stripe_invoice_id).defer("payload")
    return list(found.order_by("stripe_created_at", "event_id")[:EVENTS_SHOWN])


def _requests_of(invoice: Invoice) -> list[InvoiceRequest]:
    return list(InvoiceRequest.objects.filter(invoice=invoice).order_by("-pk"))


def _held_for(invoice: Invoice, *, now: datetime) -> timedelta | None:
    """For how long its close has been held, in whole seconds; None where it is not."""
    held_at = InvoiceClose.objects.filter(invoice=invoice).exclude(held_reason="").values_list("held_at", flat=True)
    since = held_at.first()
    if since is None:
        return None
    # A worker's clock may be ahead of this one's: less than nothing is nothing.
    return max(timedelta(seconds=(now - since) // timedelta(seconds=1)), timedelta())
