"""Verifying on a schedule, and what is too large for a page."""

from datetime import datetime, time, timedelta
from typing import Any

from celery import shared_task

from billing.invoicing.models import Invoice
from billing.invoicing.proofs import queries
from billing.invoicing.proofs.operations import verify_invoice
from config import clock

SAMPLE = 200
ACTOR = "task:verify_invoices"


@shared_task(name="billing.invoicing.proofs.tasks.task_verify_invoices", queue="money")
def task_verify_invoices(**_: Any) -> int:
    """Verify a sample of the invoices that were finalised yesterday; return how many of them are not proved.

    Reconciliation, which runs after it, makes a discrepancy of each.
    """
    now = clock.now()
    midnight = datetime.combine(now.date(), time(), tzinfo=now.tzinfo)
    proofs = queries.sample(start=midnight - timedelta(days=1), end=midnight, limit=SAMPLE)
    return sum(not verify_invoice(invoice=one.invoice, actor=ACTOR, now=clock.now()).is_proved for one in proofs)


@shared_task(name="billing.invoicing.proofs.tasks.task_verify_invoice", queue="money")
def task_verify_invoice(*, invoice_id: int, actor: str, **_: Any) -> bool:
    """Verify one invoice that a person asked for; the row that is added tells what came of it."""
    invoice = Invoice.objects.get(pk=invoice_id)
    return verify_invoice(invoice=invoice, actor=actor, now=clock.now()).is_proved
