"""Reconciliation on a schedule."""

from datetime import datetime, time, timedelta
from typing import Any

from celery import shared_task

from billing.alone import alone
from billing.reconciliation import operations, queries
from billing.reconciliation.models import ReconciliationRun
from billing.stripe.gateway import bulk_work
from config import clock

# By then the journal is sealed and yesterday's invoices are verified.
BEGINS_AT = time(5)
# Below the time limit of a task by what one slice may take.
WORKS_FOR = timedelta(minutes=9)


@shared_task(name="billing.reconciliation.tasks.task_reconcile", queue="money")
def task_reconcile(**kwargs: Any) -> int:
    """
    Go on with the round that is under way, or begin the day's; return how many discrepancies it has found so far.

    A round reaches from the start of the oldest open period, or of yesterday if earlier, up to the end of yesterday.
    """
    with alone("billing.reconcile") as is_alone, bulk_work():
        run = _round() if is_alone else None
        if run is None:
            return 0
        until = clock.now() + WORKS_FOR
        while run.finished_at is None and clock.now() < until:
            operations.go_on(run, clock=clock.now, by_day=True)
        return run.discrepancy_count


def _round() -> ReconciliationRun | None:
    """The one under way, else a new one; None until the next day's may begin."""
    now = clock.now()
    midnight = datetime.combine(now.date(), time(), tzinfo=now.tzinfo)
    latest = queries.latest_round()
    if latest is not None and latest.finished_at is None:
        return latest
    if now.time() < BEGINS_AT or (latest is not None and latest.range_end >= midnight):
        return None
    yesterday = midnight - timedelta(days=1)
    oldest = queries.first_open_period_start()
    return operations.begin(
        range_start=min(yesterday, oldest) if oldest else yesterday,
        range_end=midnight,
        now=now,
        actor=queries.TASK_ACTOR,
    )
