"""The nightly run: which range it takes, and what it answers."""

from datetime import UTC, datetime

import pytest

from billing.reconciliation.models import ReconciliationRun
from billing.reconciliation.tasks import task_reconcile
from config import clock
from tests.billing.reconciliation.faults import FAULTS, planted
from tests.billing.reconciliation.month import live_through
from tests.billing.thread import SECOND_MONTH, Thread

NIGHT = datetime(2026, 12, 3, 5, tzinfo=UTC)


def test_reaches_from_the_oldest_open_period_to_midnight_and_counts(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_through(thread)
    monkeypatch.setattr(clock, "now", lambda: NIGHT)

    assert task_reconcile(argument_of_a_newer_publisher=1) == 0

    run = ReconciliationRun.objects.get()
    assert (run.range_start, run.range_end) == (SECOND_MONTH, NIGHT.replace(hour=0))
    assert run.actor == "task:reconcile"


def test_finds_what_is_wrong_with_accounts_whenever_it_happened(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_through(thread)
    monkeypatch.setattr(clock, "now", lambda: NIGHT)
    moved = next(fault for fault in FAULTS if fault.name == "a balance moved without a posting")

    with planted(moved):
        # The account, and the entry of its last posting, which the balance no longer follows.
        assert task_reconcile() == 2
