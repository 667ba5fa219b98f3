"""Celery tasks of teams, on the money queue."""

import logging
from typing import Any

from celery import shared_task
from django.core.cache import cache
from django.db.models import Q

from billing.alone import alone
from billing.teams import seats
from billing.teams.models import SeatOrder, TeamPolicy
from config import clock

logger = logging.getLogger(__name__)
ACTOR = "task:settle_seats"
POSITION_CACHE_KEY = "billing.teams.seats_settled_through"
CUSTOMERS_AT_ONCE = 200


@shared_task
def task_settle_seats(**_: Any) -> int:
    """Go on with seats that follow members, where a request ended before Stripe answered; return of how many teams."""
    with alone(ACTOR) as is_alone:
        return _settle_all() if is_alone else 0


def _settle_all() -> int:
    """All teams, from where the last run was stopped; that is kept in the cache only: without it all begin anew."""
    following = TeamPolicy.objects.filter(
        Q(seats_follow_members=True)
        | Q(customer__in=SeatOrder.objects.filter(state=SeatOrder.State.OPEN).values("customer"))
    )
    done, after = 0, cache.get(POSITION_CACHE_KEY, 0)
    ids = following.order_by("customer_id").values_list("customer_id", flat=True)
    while batch := list(ids.filter(customer_id__gt=after)[:CUSTOMERS_AT_ONCE]):
        for customer_id in batch:
            try:
                seats.settle_seats(customer_id=customer_id, actor=ACTOR, now=clock.now())
                done += 1
            except Exception:
                # Another team's members do not wait for this one's; it is looked at again by the next run.
                logger.exception("the seats of customer %s could not be settled", customer_id)
        after = batch[-1]
        cache.set(POSITION_CACHE_KEY, after, timeout=None)
    cache.delete(POSITION_CACHE_KEY)
    return done
