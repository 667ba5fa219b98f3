"""
What of payments can still be refunded: what was paid, less what is refunded, asked for, or given back otherwise.

A credit note gives money of an invoice back onto the customer's balance or from the bank; a refund of its payment would
then give the same back twice. So the payments of an invoice have something left together as well. The database counts
the same (migrations/sql/0021_recovery.sql).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Sum

from billing.invoicing.models import CreditNote, Invoice
from billing.invoicing.requests.models import InvoiceRequest
from billing.payments.models import CreditNoteRefund, Payment, Refund
from billing.payments.refunding.models import RefundRequest

State = RefundRequest.State
LIVE = (State.WAITING, State.AGREED, State.SENT)
_UNDER_WAY = (InvoiceRequest.State.WAITING, InvoiceRequest.State.INTENDED)


@dataclass(frozen=True, slots=True)
class Left:
    """By payment and by invoice, what is left in minor units. An invoice's is that of all its payments together."""

    by_payment: dict[int, int]
    by_invoice: dict[int, int]

    def of(self, payment: Payment) -> int:
        own = self.by_payment[payment.pk]
        return max(own if payment.invoice_id is None else min(own, self.by_invoice[payment.invoice_id]), 0)

    def take(self, payment: Payment, amount_minor: int) -> None:
        self.by_payment[payment.pk] -= amount_minor
        if payment.invoice_id is not None:
            self.by_invoice[payment.invoice_id] -= amount_minor


def left_of(payment: Payment) -> int:
    """What of a payment can still be refunded, in minor units."""
    return left_of_each([payment]).of(payment)


def left_of_invoice(invoice: Invoice) -> int:
    """What of a paid invoice can still be given back in any way, in minor units: refunds made of it count."""
    payments = list(Payment.objects.filter(invoice=invoice, status=Payment.Status.SUCCEEDED))
    taken = sum(_taken(payments).values())
    return _settled_and_not_credited({invoice.pk})[invoice.pk] + sum(one.amount_minor for one in payments) - taken


def left_of_each(payments: Collection[Payment]) -> Left:
    """The same of many, in six queries."""
    invoice_ids = {payment.invoice_id for payment in payments if payment.invoice_id is not None}
    is_paid = Q(invoice__in=invoice_ids, status=Payment.Status.SUCCEEDED)
    known = {payment.pk: payment for payment in payments}
    known |= {payment.pk: payment for payment in Payment.objects.filter(is_paid).exclude(pk__in=known)}
    taken = _taken(known.values())
    by_invoice = _settled_and_not_credited(invoice_ids)
    for payment in known.values():
        if payment.invoice_id is not None:
            paid = payment.amount_minor if payment.status == Payment.Status.SUCCEEDED else 0
            by_invoice[payment.invoice_id] += paid - taken.get(payment.pk, 0)
    return Left({pk: payment.amount_minor - taken.get(pk, 0) for pk, payment in known.items()}, by_invoice)


def _taken(payments: Iterable[Payment]) -> dict[int, int]:
    """By payment, what is refunded or asked for already."""
    payments = list(payments)
    requests = RefundRequest.objects.filter(payment__in=payments, state__in=LIVE)
    asked = requests.exclude(stripe_refund_id__in=_back_at_us(payments).values("stripe_refund_id"))
    ours = RefundRequest.objects.filter(payment__in=payments).exclude(stripe_refund_id="").values("stripe_refund_id")
    elsewhere = _back_at_us(payments, is_back=False).exclude(stripe_refund_id__in=ours)
    taken: dict[int, int] = {}
    for rows in (asked, elsewhere):
        for payment_id, total in rows.order_by().values_list("payment_id").annotate(total=Sum("amount_minor")):
            taken[payment_id] = taken.get(payment_id, 0) + total
    return taken


def _back_at_us(payments: Iterable[Payment], *, is_back: bool = True) -> QuerySet[Refund]:
    """The refunds of these payments that failed or were called off; or all others."""
    found = Refund.objects.filter(payment__in=payments)
    back = (Refund.Status.FAILED, Refund.Status.CANCELED)
    return found.filter(status__in=back) if is_back else found.exclude(status__in=back)


def _settled_and_not_credited(invoice_ids: Collection[int]) -> dict[int, int]:
    """
    By invoice, what settled it beside payments at Stripe (from the bank, from the customer's balance), less what credit
    notes gave back after payment or are about to. What is still open is taken off first.
    """
    if not invoice_ids:
        return {}
    left: dict[int, int] = {}
    opens: dict[int, int] = {}
    for invoice in Invoice.objects.filter(pk__in=invoice_ids):
        starting, ending = invoice.starting_balance_minor, invoice.ending_balance_minor
        applied = 0 if ending is None else max(ending - starting, 0)
        left[invoice.pk] = invoice.paid_off_stripe_minor + applied
        opens[invoice.pk] = invoice.amount_remaining_minor
    notes = CreditNote.objects.filter(invoice__in=invoice_ids, unwound_at=None).order_by()
    given_back = notes.values_list("invoice_id").annotate(total=Sum(F("to_balance_minor") + F("out_of_band_minor")))
    for invoice_id, total in (*given_back, *_refunds_not_heard_of(invoice_ids)):
        left[invoice_id] -= total
    asked = InvoiceRequest.objects.filter(
        invoice__in=invoice_ids, kind=InvoiceRequest.Kind.CREDIT_NOTE, state__in=_UNDER_WAY
    )
    for invoice_id, total in asked.order_by().values_list("invoice_id").annotate(total=Sum("amount_minor")):
        assert invoice_id is not None  # they were looked for by it
        left[invoice_id] -= max(total - opens[invoice_id], 0)
    return left


def _refunds_not_heard_of(invoice_ids: Iterable[int]) -> QuerySet[CreditNoteRefund, tuple[int, int]]:
    """By invoice, what its credit notes refund by refunds that are not known yet, nor ours."""
    note = CreditNote.objects.filter(stripe_credit_note_id=OuterRef("stripe_credit_note_id"), invoice__in=invoice_ids)
    refund_id = OuterRef("stripe_refund_id")
    return (
        CreditNoteRefund.objects.filter(
            Exists(note),
            ~Exists(Refund.objects.filter(stripe_refund_id=refund_id)),
            ~Exists(RefundRequest.objects.filter(stripe_refund_id=refund_id)),
        )
        .annotate(of_invoice=Subquery(note.values("invoice_id")))
        .order_by()
        .values_list("of_invoice")
        .annotate(total=Sum("amount_minor"))
    )
