"""
Carrying out what was decided about invoices, at Stripe: voids with what becomes of their usage, and credit notes.

A void has one purpose for its invoice and a credit note one for its request, so that two workers, or two people, do
each once; what somebody did at Stripe's dashboard meanwhile is taken as it is.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F

from billing.customers.operations import lock_customer
from billing.invoicing.absorbing import StillUnderWay, absorb_void_lines, require_at_rest
from billing.invoicing.crediting import project_credit_note
from billing.invoicing.models import Invoice
from billing.invoicing.operations import project_invoice
from billing.invoicing.orders.operations import order_reissue
from billing.invoicing.requests.models import InvoiceRequest
from billing.invoicing.requests.terms import ABSORB, BALANCE, REFUND, REISSUE, InvalidRequest, credited_parts, void
from billing.money_text import minor_text
from billing.stripe import gateway, outbox, readers
from billing.stripe.errors import NotYetKnown, OutboxConflict, ProjectionRefused, StripeRefused, StripeUnavailable
from ledger.operations import LedgerError

logger = logging.getLogger(__name__)
Kind, State = InvoiceRequest.Kind, InvoiceRequest.State
LEASE = timedelta(seconds=settings.BILLING_LEASE_SECONDS)
WAIT_FIRST, WAIT_MAX = timedelta(seconds=2), timedelta(minutes=15)
ON_THE_NEXT = "Void; its usage goes onto the next invoice"


def due_requests(*, now: datetime, limit: int) -> list[int]:
    """Requests that were decided and are due, the longest waiting first."""
    due = InvoiceRequest.objects.filter(state=State.INTENDED, next_attempt_at__lte=now)
    return list(due.order_by("next_attempt_at", "pk").values_list("pk", flat=True)[:limit])


def carry_out_request(*, request_id: int, now: datetime) -> str:
    """
    Carry out a request that is due, and return its state. Not inside a transaction. Safe to repeat.

    What cannot be done now is put off with the reason; what Stripe refuses ends the request, visibly.
    """
    due = InvoiceRequest.objects.filter(pk=request_id, state=State.INTENDED, next_attempt_at__lte=now)
    if not due.update(next_attempt_at=now + LEASE, attempts=F("attempts") + 1):
        return InvoiceRequest.objects.get(pk=request_id).state
    asked = InvoiceRequest.objects.select_related("customer", "invoice__subscription").get(pk=request_id)
    try:
        (_void if asked.kind == Kind.VOID else _credit)(asked, now=now)
    except (StripeRefused, OutboxConflict, InvalidRequest) as refused:
        logger.warning("invoice request %s was refused: %s", asked.pk, refused)
        _finish(asked, State.REFUSED, str(refused), now=now)
    except (StripeUnavailable, ProjectionRefused, NotYetKnown, LedgerError, StillUnderWay) as failure:
        wait = min(WAIT_FIRST * 2 ** min(asked.attempts - 1, 20), WAIT_MAX)
        wait = max(wait, getattr(failure, "retry_after", None) or wait)
        still = InvoiceRequest.objects.filter(pk=asked.pk, state=State.INTENDED)
        still.update(error=f"{type(failure).__name__}: {failure}", next_attempt_at=now + wait)
    asked.refresh_from_db(fields=["state"])
    return asked.state


def _void(asked: InvoiceRequest, *, now: datetime) -> None:
    invoice = asked.invoice
    assert invoice is not None  # a CHECK of the table
    # What was checked when it was asked for may be otherwise by now: said before Stripe is told anything.
    void(invoice=invoice, usage=asked.terms["usage"])
    if asked.terms["usage"] == ABSORB:
        require_at_rest(invoice)
    path = f"/v1/invoices/{invoice.stripe_invoice_id}"
    if gateway.retrieve(path)["status"] != "void":
        try:
            outbox.perform(
                purpose=f"invoice:{invoice.stripe_invoice_id}:void",
                operation="invoices.void",
                target=invoice.stripe_invoice_id,
                params={},
                now=now,
            )
        except StripeRefused:
            # Somebody else may have been faster, or it was paid at this moment: only the former is as good.
            if gateway.retrieve(path)["status"] != "void":
                raise
    fetched, lines = readers.invoice_with_lines(invoice.stripe_invoice_id)
    notes, payments = readers.credit_notes_of(fetched), readers.payments_after_giving_up(fetched)
    with transaction.atomic():
        lock_customer(customer_id=asked.customer_id)
        projected = project_invoice(
            fetched, lines=lines, notes=notes, payments=payments, subscription=invoice.subscription, now=now
        )
        outcome = _settle_usage(asked, projected, now=now)
        _finish(asked, State.DONE, outcome, now=now)


def _settle_usage(asked: InvoiceRequest, invoice: Invoice, *, now: datetime) -> str:
    """Do with the usage of the void invoice, which is on none again, what the request says. The customer is held."""
    way = asked.terms["usage"]
    if way == REISSUE:
        order = order_reissue(invoice=invoice, reason=asked.reason, actor=asked.requested_by, now=now)
        return f"Void; order {order.pk} asks for it again"
    if way != ABSORB:
        return ON_THE_NEXT
    rows = absorb_void_lines(
        invoice=invoice, reason=asked.reason, actor=asked.requested_by, key=f"void:{asked.pk}", now=now
    )
    return f"Void; usage of {len(rows)} prices absorbed" if rows else "Void; none of its usage was left to absorb"


def _credit(asked: InvoiceRequest, *, now: datetime) -> None:
    invoice = asked.invoice
    assert invoice is not None  # a CHECK of the table
    request = asked.stripe_request
    if request is None:
        fetched = gateway.retrieve(f"/v1/invoices/{invoice.stripe_invoice_id}")
        request = _fixed(asked, _credit_request(asked, invoice, remaining_minor=fetched["amount_remaining"]))
    answer = outbox.perform(
        purpose=f"invoice_request:{asked.pk}:credit_note",
        operation="credit_notes.create",
        target="",
        params=request,
        now=now,
    )
    note_fetched = readers.credit_note_with_lines(answer["id"])
    with transaction.atomic():
        lock_customer(customer_id=asked.customer_id)
        note = project_credit_note(note_fetched, now=now)
        outcome = f"Credit note {note} of {minor_text(note.total_minor, note.currency)}"
        _finish(asked, State.DONE, outcome, now=now, credit_note=note)


def _credit_request(asked: InvoiceRequest, invoice: Invoice, *, remaining_minor: int) -> dict[str, Any]:
    """What to ask Stripe for: what is open now is taken off first, the rest goes back the way that was chosen."""
    ids = dict(invoice.lines.values_list("pk", "stripe_line_id"))
    after_payment = asked.amount_minor - min(asked.amount_minor, remaining_minor)
    ways = {BALANCE: "credit_amount", REFUND: "refund_amount"}
    way = ways.get(asked.terms["way"], "credit_amount")
    return {
        "invoice": invoice.stripe_invoice_id,
        "lines": [
            {"type": "invoice_line_item", "invoice_line_item": ids[part.line_id], "amount": part.amount_minor}
            for part in credited_parts(asked.terms)
        ],
        "metadata": {"invoice_request": str(asked.pk)},
        **({way: after_payment} if after_payment else {}),
    }


def _fixed(asked: InvoiceRequest, request: dict[str, Any]) -> dict[str, Any]:
    """Keep what is asked for, so that a repeat asks for the same; the first of two workers says what that is."""
    InvoiceRequest.objects.filter(pk=asked.pk, stripe_request__isnull=True).update(stripe_request=request)
    asked.refresh_from_db(fields=["stripe_request"])
    assert asked.stripe_request is not None  # the update above has just seen to that
    return dict(asked.stripe_request)


def _finish(asked: InvoiceRequest, state: str, outcome: str, *, now: datetime, **became: object) -> None:
    InvoiceRequest.objects.filter(pk=asked.pk, state=State.INTENDED).update(
        state=state, outcome=outcome[:500], error="", finished_at=now, **became
    )
