"""Celery tasks of the inbox and the outbox on the money queue, and of dj-stripe's mirror on its own."""

import logging
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.conf import settings

from billing.stripe import gateway, inbox, mirror, poll, redriving, retention
from billing.stripe.projection import process_event
from config import clock

logger = logging.getLogger(__name__)

SWEPT_AT_ONCE_MAX = 500
MIRRORED_AT_ONCE_MAX = 200
INTENTS_SWEPT_AT_ONCE_MAX = 200


@shared_task
def task_process_event(*, event_id: str, **_: Any) -> None:
    """Project the object of an event, and again while events about it came in meanwhile."""
    next_id: str | None = event_id
    while next_id is not None and process_event(event_id=next_id, now=clock.now()):
        next_id = inbox.next_waiting(event_id=next_id)


@shared_task
def task_sweep_inbox(**_: Any) -> int:
    """Hand over what the broker lost, what failed and is due, and what a worker that died left behind."""
    now = clock.now()
    due = inbox.due_event_ids(now=now, limit=SWEPT_AT_ONCE_MAX)
    inbox.note_swept(event_ids=due, now=now)
    for event_id in due:
        task_process_event.delay(event_id=event_id)
    return len(due)


@shared_task
def task_poll_missed_events(**_: Any) -> int:
    """
    Ask Stripe for events and movements that never reached us, and hand the events over.

    A list that cannot be read keeps no other from being read; what went wrong with the first of them is raised then.
    """
    now, missed = clock.now(), 0
    failures: list[Exception] = []
    with gateway.bulk_work():
        for fetch in (poll.fetch_missed_events, poll.fetch_missed_thin_events):
            try:
                event_ids = fetch(now=now)
            except Exception as failure:
                logger.warning("a list of Stripe's events could not be polled", exc_info=True)
                failures.append(failure)
                continue
            missed += len(event_ids)
            for event_id in event_ids:
                task_process_event.delay(event_id=event_id)
        try:
            poll.fetch_missed_balance_transactions(now=now)
        except Exception as failure:
            logger.warning("the movements on our balance could not be polled", exc_info=True)
            failures.append(failure)
    if failures:
        raise failures[0]
    if any(poll.is_under_way(name) for name in poll.LISTS):
        task_poll_missed_events.delay()
    return missed


@shared_task
def task_drop_old_payloads(**_: Any) -> int:
    """Drop what events said some time after it was done; the rows stay, so that repeats are still recognised."""
    return retention.drop_old_payloads(keep=timedelta(days=settings.STRIPE_EVENT_PAYLOAD_DAYS), now=clock.now())


@shared_task
def task_refresh_mirror(**_: Any) -> int:
    """Bring dj-stripe's rows up to date for the objects of recent events. Touches nothing of ours but `mirrored_at`."""
    with gateway.bulk_work():
        return mirror.refresh(now=clock.now(), limit=MIRRORED_AT_ONCE_MAX)


@shared_task
def task_sweep_outbox(**_: Any) -> int:
    """Complete writes to Stripe whose process died before it recorded what came of them."""
    return redriving.sweep(now=clock.now(), limit=INTENTS_SWEPT_AT_ONCE_MAX)
