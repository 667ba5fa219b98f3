"""Celery tasks of recovery, on the money queue."""

import logging
from typing import Any

from celery import shared_task

from billing.payments.recovery import cards, messages, operations, queries
from billing.payments.recovery.carrying_out import advance_case
from billing.payments.recovery.write_offs import carry_out_write_offs
from billing.stripe.errors import StripeUnavailable
from config import clock

logger = logging.getLogger(__name__)
AT_ONCE_MAX = 200


@shared_task
def task_recover_payments(**_: Any) -> int:
    """Open what is overdue, and do what is due of each case. One case that fails does not stop the others."""
    now = clock.now()
    operations.open_overdue_cases(now=now, limit=AT_ONCE_MAX)
    advanced = 0
    for case_id in queries.due_cases(now=now, limit=AT_ONCE_MAX):
        try:
            advanced += advance_case(case_id=case_id, now=now)
        except StripeUnavailable:
            logger.warning("recovery case %s waits for Stripe", case_id)
        except Exception:
            logger.exception("recovery case %s failed", case_id)
    carry_out_write_offs(now=now, limit=AT_ONCE_MAX)
    return advanced


@shared_task
def task_send_messages(**_: Any) -> int:
    """Send the e-mails that wait."""
    return messages.send_due(now=clock.now(), limit=AT_ONCE_MAX)


@shared_task
def task_warn_of_card_expiry(**_: Any) -> int:
    """Tell customers whose card ends before the next charge."""
    return cards.warn_of_expiry(now=clock.now())
