"""Bringing recorded events into their windows."""

import time
from datetime import datetime

from django.db import transaction

from metering import windows
from metering.operations.freshness import record_freshness
from metering.windows import WindowAdvance

_CATCH_UP_PAUSE_SECONDS = 0.05


class WindowsLagBehind(Exception):
    """Aggregation did not catch up in the time given; most likely a transaction somewhere stays open."""


def advance_windows(*, now: datetime, max_events: int = 100_000) -> WindowAdvance:
    """Bring newly recorded events into their windows, each exactly once, and commit. One advance runs at a time.

    Takes events of transactions that no open transaction can precede any more, so one that was recorded early and
    committed late is never passed over. A transaction is never split: `max_events` may be exceeded by the last one.
    Must be the outermost transaction. Raises TransactionCounterWentBack.
    """
    with transaction.atomic(durable=True):
        advance = windows.advance(now=now, max_events=max_events)
        record_freshness("windowed", at=now, received=advance.received)
    return advance


def catch_up_windows(*, now: datetime, patience_seconds: float = 60) -> WindowAdvance:
    """Advance until everything recorded so far is in its windows; returns the sums. Raises WindowsLagBehind.

    Waits, as long as `patience_seconds`, for transactions that are open anywhere on the database server.
    """
    events = window_changes = marks = 0
    deadline = time.monotonic() + patience_seconds
    while True:
        advance = advance_windows(now=now)
        events += advance.events
        window_changes += advance.windows
        marks += advance.marks
        if advance.caught_up:
            return WindowAdvance(events, window_changes, caught_up=True, marks=marks)
        if advance.events == 0 and advance.marks == 0:
            if time.monotonic() > deadline:
                raise WindowsLagBehind(
                    f"Events were still held back after {patience_seconds} s; is a transaction open?"
                )
            time.sleep(_CATCH_UP_PAUSE_SECONDS)
