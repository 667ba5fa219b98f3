"""Celery tasks of disputes, on the money queue."""

from typing import Any

from celery import shared_task

from billing.payments.disputing.operations import carry_out_answers, remind_of_deadlines
from config import clock

AT_ONCE_MAX = 50


@shared_task
def task_answer_disputes(**_: Any) -> int:
    """Send what was decided, and remind finance of deadlines."""
    now = clock.now()
    remind_of_deadlines(now=now)
    return carry_out_answers(now=now, limit=AT_ONCE_MAX)
