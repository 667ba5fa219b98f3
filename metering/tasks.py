"""Celery's door to metering. Each task makes one call; a newer publisher's extra arguments are ignored."""

from datetime import timedelta
from typing import Any

from celery import shared_task

from config import clock
from metering import operations

ADVANCES_PER_RUN = 50
PARTITIONS_AHEAD = timedelta(days=92)


@shared_task(name="metering.tasks.task_advance_windows", queue="metering")
def task_advance_windows(**_: Any) -> None:
    """Work off what was recorded. A long backlog is left to the next run, so that one run stays short."""
    for _run in range(ADVANCES_PER_RUN):
        advance = operations.advance_windows(now=clock.now())
        # No events and not caught up: an open transaction holds them back, the next run will find them.
        if advance.caught_up or advance.events == 0:
            break


@shared_task(name="metering.tasks.task_ensure_partitions", queue="metering")
def task_ensure_partitions(**_: Any) -> None:
    """Make the partitions of the coming months before their first event has to wait for one."""
    now = clock.now()
    operations.ensure_partitions(start=now, end=now + PARTITIONS_AHEAD)
