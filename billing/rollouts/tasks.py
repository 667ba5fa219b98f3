"""Celery tasks of rollouts, on the money queue. Beside `tasks`, so that a check that takes long delays no backtest."""

import logging
from typing import Any

from celery import shared_task

from billing.catalog.operations import sync_catalog_to_stripe
from billing.rollouts import moves
from billing.rollouts import operations as rollouts
from billing.rollouts.models.rollouts import Rollout
from config import clock

logger = logging.getLogger(__name__)


@shared_task
def task_advance_rollouts(**_: Any) -> int:
    """Check every running rollout that is due, go on or halt; then tell Stripe of the moves whose time has come."""
    for rollout_id in Rollout.objects.filter(state=Rollout.State.RUNNING).order_by("id").values_list("id", flat=True):
        try:
            rollouts.advance(rollout_id=rollout_id, now=clock.now())
        except Exception:
            # Another rollout's customers do not wait for this one's; it is looked at again by the next run.
            logger.exception("rollout %s could not be checked", rollout_id)
    _bring_prices()
    return moves.tell_due_moves(now=clock.now())


def _bring_prices() -> None:
    """Let Stripe have the price of every candidate that is being rolled out, so that nobody has to think of it."""
    if not Rollout.objects.filter(state=Rollout.State.RUNNING, candidate__stripe_price_id=None).exists():
        return
    try:
        sync_catalog_to_stripe(now=clock.now())
    except Exception:
        # The moves say what they wait for, and others wait for no price; the next run tries again.
        logger.exception("the price of a candidate is not at Stripe yet")
