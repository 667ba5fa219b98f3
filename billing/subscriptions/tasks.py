"""Celery tasks of subscriptions, on the money queue."""

from typing import Any

from celery import shared_task

from billing.subscriptions import comparing, scheduling
from config import clock

AT_ONCE_MAX = 200


@shared_task
def task_apply_scheduled_changes(**_: Any) -> int:
    """Carry out the scheduled changes whose time has come."""
    return scheduling.apply_due(now=clock.now(), limit=AT_ONCE_MAX)


@shared_task
def task_compare_changes(**_: Any) -> int:
    """Compare what changes were said to cost with what was invoiced for them."""
    return comparing.compare_due(now=clock.now(), limit=AT_ONCE_MAX)
