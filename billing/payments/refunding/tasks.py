"""Celery tasks of refunds, on the money queue."""

from typing import Any

from celery import shared_task

from billing.payments.refunding.operations import due_refunds, send_refunds
from config import clock

AT_ONCE_MAX = 100


@shared_task
def task_send_refunds(**_: Any) -> int:
    """Send what was agreed to. A batch is resumed where the last run ended."""
    now = clock.now()
    return send_refunds(due_refunds(now=now, limit=AT_ONCE_MAX), now=now)
