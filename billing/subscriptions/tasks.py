"""Celery tasks of subscriptions, on the money queue."""

from typing import Any

from celery import shared_task

from billing.subscriptions import comparing, end_comparing, moving, scheduling
from config import clock

AT_ONCE_MAX = 200


@shared_task
def task_apply_scheduled_changes(**_: Any) -> int:
    """Carry out the scheduled changes whose time has come, and go on to boundaries that were moved at Stripe."""
    moving.open_due(now=clock.now(), limit=AT_ONCE_MAX)
    return scheduling.apply_due(now=clock.now(), limit=AT_ONCE_MAX)


@shared_task
def task_compare_changes(**_: Any) -> int:
    """Compare what changes and ends were said to come to with what was invoiced for them."""
    now = clock.now()
    return comparing.compare_due(now=now, limit=AT_ONCE_MAX) + end_comparing.compare_ends_due(
        now=now, limit=AT_ONCE_MAX
    )
