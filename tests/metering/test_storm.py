"""A small storm; `make bench ARGS=storm` is the large one."""

import os

import pytest

from config.stack import ProcessSupervisor
from tests.bench.storm import storm

SEED = int(os.environ.get("STORM_SEED", "5"))


@pytest.mark.usefixtures("committed_db")
def test_eight_senders_and_kill_9_of_whatever_serves_them_leave_each_event_counted_once(
    processes: ProcessSupervisor,
) -> None:
    outcome = storm(processes, events=20_000, seed=SEED, kills=5)

    assert outcome.acknowledged >= 20_000 - outcome.abandoned
    assert outcome.acknowledged + outcome.abandoned_and_stored == outcome.stored == outcome.in_windows
    assert sum(outcome.kills.values()) >= 3
    for name in ("duplicate", "conflict", "unanswered"):
        assert outcome.figures[name] > 0, name
