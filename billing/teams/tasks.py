"""Celery tasks of teams, on the money queue."""

import logging
from typing import Any

from celery import shared_task
from django.db.models import Q

from billing.alone import alone
from billing.teams import seats
from billing.teams.models import SeatOrder, TeamPolicy
from config import clock

logger = logging.getLogger(__name__)
ACTOR = "task:settle_seats"


@shared_task
def task_settle_seats(**_: Any) -> int:
    """Go on with seats that follow members, where a request ended before Stripe answered; return of how many teams."""
    with alone(ACTOR) as is_alone:
        return _settle_all() if is_alone else 0


def _settle_all() -> int:
    following = TeamPolicy.objects.filter(
        Q(seats_follow_members=True)
        | Q(customer__in=SeatOrder.objects.filter(state=SeatOrder.State.OPEN).values("customer"))
    )
    done = 0
    for customer_id in following.order_by("customer_id").values_list("customer_id", flat=True):
        try:
            seats.settle_seats(customer_id=customer_id, actor=ACTOR, now=clock.now())
            done += 1
        except Exception:
            # Another team's members do not wait for this one's; it is looked at again by the next run.
            logger.exception("the seats of customer %s could not be settled", customer_id)
    return done
