"""Celery tasks of the inbox on the money queue, and of dj-stripe's mirror on its own."""

from typing import Any

from celery import shared_task

from billing.stripe import inbox, mirror, poll
from billing.stripe.projection import process_event
from config import clock

SWEPT_AT_ONCE_MAX = 500
MIRRORED_AT_ONCE_MAX = 200


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
    """Ask Stripe for events and movements that never reached us, and hand the events over."""
    missed = poll.fetch_missed_events(now=clock.now())
    for event_id in missed:
        task_process_event.delay(event_id=event_id)
    poll.fetch_missed_balance_transactions(now=clock.now())
    return len(missed)


@shared_task
def task_refresh_mirror(**_: Any) -> int:
    """Bring dj-stripe's rows up to date for the objects of recent events. Touches nothing of ours but `mirrored_at`."""
    return mirror.refresh(now=clock.now(), limit=MIRRORED_AT_ONCE_MAX)
