"""Celery tasks of metered usage, on the money queue."""

from typing import Any

from celery import shared_task

from billing.invoicing.metered.sending import send_usage
from config import clock


@shared_task
def task_send_metered_usage(**_: Any) -> int:
    """Send what open periods come to now to Stripe's meters."""
    return send_usage(now=clock.now())
