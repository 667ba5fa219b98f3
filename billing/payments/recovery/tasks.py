"""Celery tasks of recovery, on the money queue."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from celery import shared_task

from billing.alone import alone
from billing.payments.recovery import cards, messages, operations, queries
from billing.payments.recovery.carrying_out import advance_case
from billing.payments.recovery.write_offs import carry_out_write_offs
from billing.stripe.errors import StripeUnavailable
from config import clock

logger = logging.getLogger(__name__)
AT_ONCE_MAX = 200
# Below the time limit of a task by what one case may wait for Stripe, and over when Beat's second next run comes.
WORKS_FOR = timedelta(minutes=9)


@shared_task
def task_recover_payments(**_: Any) -> int:
    """Open what is overdue, and do what is due of each case. One case that fails does not stop the others."""
    with alone("billing.recover_payments") as is_alone:
        return _recover(until=clock.now() + WORKS_FOR) if is_alone else 0


def _recover(*, until: datetime) -> int:
    """
    Batch after batch while one is full and comes on: a month's end has more than one batch every five minutes gets
    done. Where all of one fail they are at its head again, and wait for the next run.
    """
    advanced, is_more = 0, True
    while is_more and (now := clock.now()) < until:
        opened = operations.open_overdue_cases(now=now, limit=AT_ONCE_MAX)
        due = queries.due_cases(now=now, limit=AT_ONCE_MAX)
        done, is_answered = _advance(due, until=until)
        advanced += done
        carry_out_write_offs(now=now, limit=AT_ONCE_MAX)
        is_more = is_answered and (opened == AT_ONCE_MAX or (len(due) == AT_ONCE_MAX and done > 0))
    return advanced


def _advance(case_ids: Sequence[int], *, until: datetime) -> tuple[int, bool]:
    """How many were advanced, and whether Stripe answered: more are tried only then."""
    advanced, is_answered = 0, True
    for case_id in case_ids:
        if (now := clock.now()) >= until:
            break
        try:
            advanced += advance_case(case_id=case_id, now=now)
        except StripeUnavailable:
            is_answered = False
            logger.warning("recovery case %s waits for Stripe", case_id)
        except Exception:
            logger.exception("recovery case %s failed", case_id)
    return advanced, is_answered


@shared_task
def task_send_messages(**_: Any) -> int:
    """Send the e-mails that wait."""
    return messages.send_due(now=clock.now(), limit=AT_ONCE_MAX)


@shared_task
def task_warn_of_card_expiry(**_: Any) -> int:
    """Tell customers whose card ends before the next charge."""
    return cards.warn_of_expiry(now=clock.now())
