"""Regular rating; each task makes one domain call."""

from celery import shared_task

from billing.alone import alone
from billing.rating import operations
from config import clock


@shared_task(queue="money")
def task_accrue_usage(**_: object) -> int:
    """Accrue the open periods whose usage changed."""
    with alone("billing.accrue_usage") as is_alone:
        return operations.accrue_changed_periods(now=clock.now(), finished_at=clock.now) if is_alone else 0
