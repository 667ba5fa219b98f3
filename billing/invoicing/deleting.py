"""
Drafts that somebody deleted at Stripe: what they would have asked for is on no invoice again.

Only a draft can be deleted, so nothing of it was entered, and its row becomes void without an entry. What was on it is
asked for by whatever comes next; the order it came from can be made once more by a person.
"""

from datetime import datetime

from django.db import transaction

from billing.customers.operations import lock_customer
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceCloseStep
from billing.invoicing.orders.models import InvoiceOrder
from billing.stripe import gateway
from billing.stripe.errors import StripeRefused

DELETED = "The draft {invoice} was deleted at Stripe"
NOT_FOUND = 404


def is_deleted(stripe_invoice_id: str) -> bool:
    """Ask Stripe whether it has the invoice no more. Not inside a transaction."""
    try:
        gateway.retrieve(f"/v1/invoices/{stripe_invoice_id}")
    except StripeRefused as refused:
        if refused.status != NOT_FOUND:
            raise
        return True
    return False


def record_deleted_draft(*, stripe_invoice_id: str, now: datetime) -> None:
    """
    Take a deleted draft for void, end its close, and say so on its order. Said twice it changes nothing.

    Its close gives its period free, which another invoice may then close.
    """
    known = Invoice.objects.filter(stripe_invoice_id=stripe_invoice_id).first()
    if known is None:
        return
    words = DELETED.format(invoice=stripe_invoice_id)
    with transaction.atomic():
        lock_customer(customer_id=known.customer_id)
        drafts = Invoice.objects.filter(pk=known.pk, status=Invoice.Status.DRAFT)
        if not drafts.update(status=Invoice.Status.VOID, voided_at=now, amount_remaining_minor=0, projected_at=now):
            return
        close = InvoiceClose.objects.filter(invoice=known).exclude(step__in=InvoiceClose.ENDS).first()
        if close is not None:
            InvoiceClose.objects.filter(pk=close.pk).update(
                step=InvoiceClose.Step.ENDED, period=None, held_reason="", held_at=None, findings=[], error=""
            )
            InvoiceCloseStep.objects.create(close=close, step=InvoiceClose.Step.ENDED, recorded_at=now, detail=words)
        orders = InvoiceOrder.objects.filter(invoice=known, state=InvoiceOrder.State.DRAFTED)
        orders.update(state=InvoiceOrder.State.LOST, outcome=words)
