"""
Backtests that were asked for on a page, on the money queue: a little at a time, as money must not wait for them.

Only one task works at once, however many were asked for: a second one would take the queue's other process as well.
"""

import logging
from datetime import timedelta

from celery import shared_task

from billing.alone import alone
from billing.rollouts.backtests import operations as backtests
from billing.rollouts.models.backtests import Backtest
from config import clock

logger = logging.getLogger(__name__)

WORKS_FOR = timedelta(seconds=20)


@shared_task(queue="money")
def task_work_on_backtests(**_: object) -> int:
    """
    Work on the oldest backtest that is not finished, for a while; return its id, or 0.

    One that fails is left for the next run, and the one after it is worked on.
    """
    with alone("billing.work_on_backtests") as is_alone:
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
