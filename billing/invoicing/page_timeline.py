"""One invoice from its order or draft to its end: each thing that happened, why, and where to look. Oldest first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from billing.admin_links import page_url
from billing.invoicing.models import CreditNote, Invoice, InvoiceClose
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.requests.models import InvoiceRequest
from billing.money_text import minor_text
from billing.payments.models import Payment

May = Callable[[str], bool]
TONES = {Payment.Status.SUCCEEDED: "good", Payment.Status.FAILED: "bad"}


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened. `url` leads to what it is about, or is empty."""

    at: datetime
    what: str
    words: str = ""
    url: str = ""
    tone: str = "plain"


def timeline_of(invoice: Invoice, *, may: May) -> list[Moment]:
    """All moments the reader may see; those of one instant in the order in which they are told here."""
    found = [*_of_order(invoice, may), *_of_document(invoice), *_of_close(invoice, may)]
    found += [*_of_requests(invoice, may), *_of_payments(invoice, may), *_of_notes(invoice, may)]
    return sorted(found, key=lambda moment: moment.at)


def _of_order(invoice: Invoice, may: May) -> Iterator[Moment]:
    order = InvoiceOrder.objects.filter(invoice=invoice).first() if may("billing.view_invoiceorder") else None
    if order is not None:
        words = f"{order.reason} ({order.ordered_by.removeprefix('user:')})"
        url = page_url("billing.invoiceorder", order.pk)
        yield Moment(order.ordered_at, f"Ordered: {order.get_kind_display()}", words, url)


def _of_close(invoice: Invoice, may: May) -> Iterator[Moment]:
    close = InvoiceClose.objects.filter(invoice=invoice).first() if may("billing.view_invoiceclose") else None
    if close is None:
        return
    url = page_url("billing.invoiceclose", close.pk)
    for step in close.steps.order_by("pk"):
        yield Moment(step.recorded_at, step.get_step_display(), step.detail, url, "good")
    for release in close.releases.order_by("pk"):
        if release.held_at is not None:
            yield Moment(release.held_at, "Held", release.held_reason, url, "bad")
        yield Moment(
            release.released_at, f"Let go on by {release.released_by.removeprefix('user:')}", release.words, url
        )
    if close.held_reason and close.held_at is not None:
        yield Moment(close.held_at, "Held", close.held_reason, url, "bad")


def reason_text(invoice: Invoice) -> str:
    """Why Stripe made it, or "manual" where somebody else did, in Stripe's word."""
    return invoice.billing_reason.replace("_", " ")


def _of_document(invoice: Invoice) -> Iterator[Moment]:
    yield Moment(invoice.created_at, "Draft made", reason_text(invoice))
    if invoice.finalized_at is not None:
        total = minor_text(invoice.total_minor, invoice.currency)
        yield Moment(invoice.finalized_at, f"Finalised as {invoice.number}", f"Total {total}", tone="good")
    if invoice.paid_at is not None:
        yield Moment(invoice.paid_at, "Paid", tone="good")
    if invoice.voided_at is not None:
        asked = InvoiceRequest.objects.filter(invoice=invoice, kind=InvoiceRequest.Kind.VOID).exists()
        words = "" if asked else "At Stripe: nobody asked for it here."
        yield Moment(invoice.voided_at, "Void", words, tone="bad")
    if invoice.status == Invoice.Status.OPEN and invoice.next_payment_attempt_at is not None:
        yield Moment(invoice.next_payment_attempt_at, "Next payment attempt", "Planned by Stripe", tone="waiting")


def _of_requests(invoice: Invoice, may: May) -> Iterator[Moment]:
    if not may("billing.view_invoicerequest"):
        return
    for asked in InvoiceRequest.objects.filter(invoice=invoice).order_by("pk"):
        url = page_url("billing.invoicerequest", asked.pk)
        who = asked.requested_by.removeprefix("user:")
        yield Moment(asked.requested_at, f"{asked.get_kind_display()}: asked for by {who}", asked.reason, url)
    for order in InvoiceOrder.objects.filter(replaces=invoice).order_by("pk"):
        yield Moment(order.ordered_at, "Re-issue ordered", order.outcome, page_url("billing.invoiceorder", order.pk))


def _of_payments(invoice: Invoice, may: May) -> Iterator[Moment]:
    if not may("billing.view_payment"):
        return
    for payment in Payment.objects.filter(invoice=invoice).order_by("pk"):
        amount = minor_text(payment.amount_minor, payment.currency)
        what = f"Payment of {amount}: {payment.get_status_display().lower()}"
        tone = TONES.get(Payment.Status(payment.status), "plain")
        yield Moment(payment.occurred_at, what, payment.failure_message, page_url("billing.payment", payment.pk), tone)


def _of_notes(invoice: Invoice, may: May) -> Iterator[Moment]:
    if not may("billing.view_creditnote"):
        return
    for note in CreditNote.objects.filter(invoice=invoice).order_by("pk"):
        total = minor_text(note.total_minor, note.currency)
        yield Moment(
            note.issued_at, f"Credit note {note} of {total}", note.memo, page_url("billing.creditnote", note.pk)
        )
