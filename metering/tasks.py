"""Celery's door to metering. Each task makes one call; a newer publisher's extra arguments are ignored."""

import logging
from datetime import timedelta
from typing import Any

from celery import shared_task

from config import clock
from metering import operations

ADVANCES_PER_RUN = 50
PARTITIONS_AHEAD = timedelta(days=92)
# A month of events is packed and read back within this. The message is acknowledged first: another worker must not
# begin the same beside it, and a run that broke off is gone on with on the next day.
ARCHIVE_SECONDS = 6 * 3600
logger = logging.getLogger(__name__)


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


@shared_task(name="metering.tasks.task_continue_corrections", queue="metering")
def task_continue_corrections(**_: Any) -> None:
    """Go on with the correction that was begun, also after a worker died in the middle of it."""
    for correction_id in operations.corrections_under_way():
        operations.continue_correction(correction_id, now=clock.now)


@shared_task(
    name="metering.tasks.task_archive_usage",
    queue="metering",
    acks_late=False,
    soft_time_limit=ARCHIVE_SECONDS,
    time_limit=ARCHIVE_SECONDS + 60,
)
def task_archive_usage(**_: Any) -> None:
    """Bring out the months that are older than retention, one after the other."""
    try:
        operations.archive_due_months(now=clock.now(), actor="task:archive_usage")
    except operations.ArchivingInProgress:
        logger.info("usage is being archived by another process")


@shared_task(name="metering.tasks.task_forget_keys", queue="metering")
def task_forget_keys(**_: Any) -> None:
    """Forget identities of events that the door refuses for their age."""
    operations.forget_keys(now=clock.now(), actor="task:forget_keys")


@shared_task(name="metering.tasks.task_thin_figures", queue="metering")
def task_thin_figures(**_: Any) -> None:
    """Add up figures of lag that nobody looks at by the minute any more."""
    operations.thin_figures(now=clock.now())


@shared_task(name="metering.tasks.task_check_alarms", queue="metering")
def task_check_alarms(**_: Any) -> None:
    """Look for whatever is not as expected."""
    operations.check_alarms(now=clock.now())


@shared_task(name="metering.tasks.task_replay_quarantine", queue="metering")
def task_replay_quarantine(*, reason: str, event_type: str, source: str, actor: str, **_: Any) -> None:
    """Replay all waiting events that fit. Given to another worker when one dies: what was replayed waits no longer."""
    chosen = operations.QuarantineFilter(reason, event_type, source)
    operations.replay_quarantine(ids=chosen, actor=actor, now=clock.now())
