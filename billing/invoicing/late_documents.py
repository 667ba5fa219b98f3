"""
The documents that settle late usage apart from the next invoice: a credit note on the invoice that billed it, and an
invoice of its own.

A document is intended, with all that it says, in the transaction that decides on it; `carry_out` then makes it at
Stripe, outside of any transaction, and records what it became. A crash in between is mended by carrying it out again.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Sum

from billing.customers.operations import lock_customer
from billing.invoicing import drafting
from billing.invoicing.collecting import terms_of
from billing.invoicing.crediting import project_credit_note
from billing.invoicing.late_intending import is_under_way
from billing.invoicing.late_models import LateCorrection, LateCreditLine
from billing.invoicing.late_states import OUTCOME_CHARS_MAX, rows_of
from billing.invoicing.models import (
    CreditNoteLine,
    Invoice,
    InvoiceClose,
    InvoiceCloseStep,
    InvoiceLine,
)
from billing.invoicing.operations import project_invoice
from billing.money_text import counted, minor_text
from billing.rating.models import LateUsage
from billing.stripe import gateway, outbox, readers
from billing.stripe.errors import NotYetKnown, OutboxConflict, ProjectionRefused, StripeRefused, StripeUnavailable
from billing.subscriptions.operations import ENDED_STATUSES
from ledger.operations import LedgerError

logger = logging.getLogger(__name__)

Kind, State = LateCorrection.Kind, LateCorrection.State
AT_ONCE_MAX = 200


def carry_out(*, now: datetime) -> int:
    """
    Make every intended document at Stripe; return how many were made. Not inside a transaction; safe to repeat.

    What Stripe refuses goes before a person; what it does not answer is tried again next time.
    """
    made, after = 0, 0
    due = LateCorrection.objects.filter(state=State.INTENDED).order_by("pk")
    due = due.select_related("period__subscription__customer", "period__plan_version", "invoice")
    while batch := list(due.filter(pk__gt=after)[:AT_ONCE_MAX]):
        made += sum(_make(correction, now=now) for correction in batch)
        after = batch[-1].pk
    return made


def _make(correction: LateCorrection, *, now: datetime) -> bool:
    try:
        if correction.kind == Kind.CREDIT_NOTE:
            _credit(correction, now=now)
        else:
            _debit(correction, now=now)
    except (StripeRefused, OutboxConflict, ProjectionRefused) as refused:
        logger.warning("%s for period %s was refused: %s", correction, correction.period_id, refused)
        _refuse(correction, f"{correction} was refused: {refused}", now=now)
        return False
    except (StripeUnavailable, NotYetKnown, LedgerError) as failure:
        LateCorrection.objects.filter(pk=correction.pk).update(error=f"{type(failure).__name__}: {failure}")
        return False
    return True


def _credit(correction: LateCorrection, *, now: datetime) -> None:
    invoice, lines = correction.invoice, _credit_lines(correction)
    assert invoice is not None  # a CHECK of the table
    request = correction.request
    if request is None:
        stripe_invoice = gateway.retrieve(f"/v1/invoices/{invoice.stripe_invoice_id}")
        wanted = _credit_request(correction, invoice, lines, remaining_minor=stripe_invoice["amount_remaining"])
        request = _fixed(correction, wanted)
    answer = outbox.perform(
        purpose=f"late_correction:{correction.pk}:credit_note",
        operation="credit_notes.create",
        target="",
        params=request,
        now=now,
    )
    fetched = readers.credit_note_with_lines(answer["id"])
    with transaction.atomic():
        note = project_credit_note(fetched, now=now)
        given_back = minor_text(note.total_minor, note.currency)
        outcome = f"Credit note {note} of {given_back} on invoice {invoice}"
        _finish(correction, outcome, now=now, credit_note=note)


def _credit_lines(correction: LateCorrection) -> list[LateCreditLine]:
    return list(correction.lines.select_related("invoice_line__period", "invoice_line__rate").order_by("pk"))


def _credit_request(
    correction: LateCorrection, invoice: Invoice, lines: Sequence[LateCreditLine], *, remaining_minor: int
) -> dict[str, Any]:
    """
    What to ask Stripe for: what is still open is not asked for any more; what was paid goes onto the customer's
    balance, or, where no invoice will come to use it up, back to the card.
    """
    total_minor = sum(_with_tax(line) for line in lines)
    after_payment = total_minor - min(total_minor, remaining_minor)
    is_over = correction.period.subscription.status in ENDED_STATUSES
    way = "refund_amount" if is_over and invoice.amount_paid_minor >= after_payment else "credit_amount"
    return {
        "invoice": invoice.stripe_invoice_id,
        "lines": [
            {
                "type": "invoice_line_item",
                "invoice_line_item": line.invoice_line.stripe_line_id,
                "amount": -line.amount_minor,
            }
            for line in lines
        ],
        "memo": f"Usage of {correction.period} was found to be less after it was invoiced",
        "metadata": {"late_correction": str(correction.pk)},
        **({way: after_payment} if after_payment else {}),
    }


def _with_tax(line: LateCreditLine) -> int:
    """
    What giving back a line takes off the invoice's total: its share of the tax on top with it.

    As Stripe counts: the rounded share of all that is credited of the line, less what earlier credit notes took. Should
    Stripe come to another figure it refuses, and a person decides.
    """
    charged = line.invoice_line
    earlier = CreditNoteLine.objects.filter(invoice_line=charged, credit_note__unwound_at=None)
    sums = earlier.aggregate(amount=Sum("amount_minor"), tax=Sum("exclusive_tax_minor"))
    credited = (sums["amount"] or 0) - line.amount_minor
    share = (2 * credited * charged.exclusive_tax_minor + charged.amount_minor) // (2 * charged.amount_minor)
    return -line.amount_minor + share - (sums["tax"] or 0)


def _debit(correction: LateCorrection, *, now: datetime) -> None:
    customer = correction.period.subscription.customer
    request = correction.request
    if request is None:
        request = _fixed(correction, _debit_request(correction, customer.stripe_customer_id or ""))
    answer = outbox.perform(
        purpose=f"late_correction:{correction.pk}:invoice",
        operation="invoices.create",
        target="",
        params=request,
        now=now,
    )
    with transaction.atomic():
        lock_customer(customer_id=customer.pk)
        invoice = project_invoice(answer, lines=[], subscription=correction.period.subscription, now=now)
        if InvoiceClose.objects.filter(invoice=invoice).exists():
            return  # another worker was faster
        lines = drafting.late_rows(invoice=invoice, period=correction.period, after=0, increases_only=True)
        if not lines:
            raise ProjectionRefused(f"nothing is left to ask for on {invoice}; delete the draft at Stripe")
        InvoiceLine.objects.bulk_create(lines)
        close = InvoiceClose.objects.create(invoice=invoice, step=InvoiceClose.Step.ACCRUED, next_attempt_at=now)
        detail = f"{counted(len(lines), 'line')} of late usage of {correction.period}"
        InvoiceCloseStep.objects.create(close=close, step=InvoiceClose.Step.ACCRUED, recorded_at=now, detail=detail)
        asked = minor_text(sum(line.amount_minor for line in lines), invoice.currency)
        _finish(correction, f"{asked} on an invoice of its own", now=now, invoice=invoice)


def _debit_request(correction: LateCorrection, stripe_customer_id: str) -> dict[str, Any]:
    """An empty draft that is taxed and collected as the invoice of the period was."""
    request: dict[str, Any] = {
        "customer": stripe_customer_id,
        "auto_advance": False,
        "pending_invoice_items_behavior": "exclude",
        "description": f"Usage of {correction.period} that became known after it was invoiced",
        "metadata": {"late_correction": str(correction.pk)},
    }
    closes = InvoiceClose.objects.filter(period=correction.period).select_related("invoice")
    close = closes.first()
    if close is not None:
        request |= terms_of(gateway.retrieve(f"/v1/invoices/{close.invoice.stripe_invoice_id}"))
    return request


def _fixed(correction: LateCorrection, request: dict[str, Any]) -> dict[str, Any]:
    """Keep what is asked for, so that a repeat asks for the same; the first of two workers says what that is."""
    LateCorrection.objects.filter(pk=correction.pk, request__isnull=True).update(request=request)
    correction.refresh_from_db(fields=["request"])
    assert correction.request is not None  # the update above has just seen to that
    return dict(correction.request)


def _finish(correction: LateCorrection, outcome: str, *, now: datetime, **became: object) -> None:
    """Record what a document became; with the last one of its period, the late usage is settled."""
    LateCorrection.objects.filter(pk=correction.pk, state=State.INTENDED).update(
        state=State.DONE, finished_at=now, error="", **became
    )
    for row in rows_of(correction.period_id, LateUsage.State.CORRECTING):
        said = f"{row.outcome}; {outcome}" if row.outcome else outcome
        is_last = not is_under_way(correction.period_id)
        row.outcome = said[:OUTCOME_CHARS_MAX]
        if is_last:
            row.state, row.settled_at = LateUsage.State.SETTLED, now
        row.save(update_fields=["outcome", "state", "settled_at"])


def _refuse(correction: LateCorrection, why: str, *, now: datetime) -> None:
    with transaction.atomic():
        lock_customer(customer_id=correction.period.subscription.customer_id)
        LateCorrection.objects.filter(pk=correction.pk, state=State.INTENDED).update(
            state=State.REFUSED, finished_at=now, error=why
        )
        rows = rows_of(correction.period_id, LateUsage.State.CORRECTING)
        rows.update(state=LateUsage.State.DECISION, outcome=why[:OUTCOME_CHARS_MAX])
