"""Reconciliation on a schedule."""

from datetime import datetime, time, timedelta
from typing import Any

from celery import shared_task

from billing.reconciliation import operations, queries
from billing.stripe.gateway import bulk_work
from config import clock


@shared_task(name="billing.reconciliation.tasks.task_reconcile", queue="money")
def task_reconcile(**kwargs: Any) -> int:
    """Reconcile from the start of the oldest open period, or of yesterday if earlier, up to the end of yesterday."""
    now = clock.now()
    midnight = datetime.combine(now.date(), time(), tzinfo=now.tzinfo)
    yesterday = midnight - timedelta(days=1)
    oldest = queries.first_open_period_start()
    with bulk_work():
        run = operations.reconcile(
            range_start=min(yesterday, oldest) if oldest else yesterday,
            range_end=midnight,
            now=now,
            actor="task:reconcile",
            clock=clock.now,
        )
    return run.discrepancy_count
