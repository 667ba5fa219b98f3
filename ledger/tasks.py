"""Regular work on the ledger; each task makes one call."""

from datetime import timedelta

from celery import shared_task

from config import clock
from ledger.sealing import make_seals
from ledger.snapshots import take_snapshots

# From a seal's instant on nothing older can be recorded. Work that took its instant shortly before has to get through.
WORK_IN_HAND = timedelta(minutes=15)


@shared_task(name="ledger.tasks.task_seal_journal", queue="money")
def task_seal_journal(**_: object) -> int:
    """Seal what was recorded since the last seal; return how many entries that were."""
    return sum(seal.entry_count for seal in make_seals(sealed_at=clock.now() - WORK_IN_HAND))


@shared_task(name="ledger.tasks.task_take_snapshots", queue="money")
def task_take_snapshots(**_: object) -> int:
    """Snapshot the system accounts that were posted to often since their last snapshot; return how many those were."""
    return take_snapshots(taken_at=clock.now()).snapshot_count
