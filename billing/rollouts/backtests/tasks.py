"""
Backtests that were asked for on a page, on the money queue: a little at a time, as money must not wait for them.

Only one task works at once, however many were asked for: a second one would take the queue's other process as well.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from celery import shared_task
from django.db import connection

from billing.rollouts.backtests import operations as backtests
from billing.rollouts.models.backtests import Backtest
from config import clock

logger = logging.getLogger(__name__)

WORKS_FOR = timedelta(seconds=20)
_LOCK = "hashtextextended('billing.work_on_backtests', 0)"


@shared_task(queue="money")
def task_work_on_backtests(**_: object) -> int:
    """
    Work on the oldest backtest that is not finished, for a while; return its id, or 0.

    One that fails is left for the next run, and the one after it is worked on.
    """
    with _alone() as is_alone:
        return _work() if is_alone else 0


def _work() -> int:
    unfinished = Backtest.objects.filter(state__in=(Backtest.State.WAITING, Backtest.State.RUNNING))
    until = clock.now() + WORKS_FOR
    for backtest_id in unfinished.order_by("pk").values_list("pk", flat=True):
        try:
            backtests.run_backtest(backtest_id=backtest_id, clock=clock.now, go_on=lambda: clock.now() < until)
        except Exception:
            logger.exception("backtest %s could not be gone on with", backtest_id)
        else:
            return backtest_id
    return 0


@contextmanager
def _alone() -> Iterator[bool]:
    """Whether no other task is at it; a lock of the session, as the work is many transactions."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_lock({_LOCK})")
        is_alone = bool(cursor.fetchone()[0])
    try:
        yield is_alone
    finally:
        if is_alone:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT pg_advisory_unlock({_LOCK})")
