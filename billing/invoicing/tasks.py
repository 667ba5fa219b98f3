"""Celery tasks of the close, on the money queue."""

from typing import Any

from celery import shared_task

from billing.alone import alone
from billing.invoicing import queries
from billing.invoicing.closing import advance_close
from billing.invoicing.late import settle_late_usage
from billing.invoicing.metered.deciding import settle_shortfalls
from billing.invoicing.models import InvoiceClose
from billing.invoicing.orders.carrying_out import carry_out, due_orders
from billing.invoicing.orders.thresholds import order_threshold_invoices
from billing.invoicing.requests.carrying_out import carry_out_request, due_requests
from config import clock

SWEPT_AT_ONCE_MAX = 200
STEPS_MAX = len(InvoiceClose.Step)


@shared_task
def task_close_invoice(*, close_id: int, **_: Any) -> str:
    """Take a close as far as it goes now."""
    reached = ""
    for _step in range(STEPS_MAX):
        step = advance_close(close_id=close_id, now=clock.now())
        if step in (reached, *InvoiceClose.ENDS):
            return step
        reached = step
    return reached


@shared_task
def task_settle_late_usage(**_: Any) -> int:
    """
    Accrue closed periods that something arrived for, and settle what was found as the contract says; before that, what
    Stripe left off invoices: its documents are made with the others.
    """
    with alone("billing.settle_late_usage") as is_alone:
        if not is_alone:
            return 0
        settle_shortfalls(now=clock.now())
        return settle_late_usage(now=clock.now())


@shared_task
def task_sweep_closes(**_: Any) -> int:
    """Hand over every close that is due: what waited, and what a worker that died left behind."""
    now = clock.now()
    due = queries.due_closes(now=now, limit=SWEPT_AT_ONCE_MAX)
    # The broker has its time again for these, or a long queue would be filled up by sweeps.
    InvoiceClose.objects.filter(pk__in=due, attempts=0).update(next_attempt_at=now)
    for close_id in due:
        task_close_invoice.delay(close_id=close_id)
    return len(due)


@shared_task
def task_order_threshold_invoices(**_: Any) -> int:
    """Order invoices for open periods whose usage reached an amount."""
    return len(order_threshold_invoices(now=clock.now()))


@shared_task
def task_carry_out_invoice_orders(**_: Any) -> int:
    """Make the drafts of orders that are due, and carry out what was decided about invoices; hand over their closes."""
    now = clock.now()
    for request_id in due_requests(now=now, limit=SWEPT_AT_ONCE_MAX):
        carry_out_request(request_id=request_id, now=now)
    due = due_orders(now=now, limit=SWEPT_AT_ONCE_MAX)
    for order_id in due:
        close_id = carry_out(order_id=order_id, now=now)
        if close_id is not None:
            task_close_invoice.delay(close_id=close_id)
    return len(due)
