"""Setting windows right that differ from their events."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from django.db import transaction

from metering import windows
from metering.windows import RepairedWindow

_SLICE = timedelta(days=1)


def repair_windows(
    *,
    start: datetime,
    end: datetime,
    customer_keys: Sequence[str] | None = None,
    reason: str,
    actor: str,
    now: datetime,
    on_progress: Callable[[datetime], None] = lambda _done: None,
) -> Iterator[RepairedWindow]:
    """Set right every window of [start, end) that differs from its effective events, each by a recorded correction:
    what it said, what it says now, who and why. Rating sees each as a change; what was counted and excluded stays.

    A day at a time, each committed before its windows are told, so that it may be stopped and run again: what is right
    is left alone. `on_progress` is told up to which instant it has come. Both instants are on the hour. Raises
    ValueError, also without a reason or an actor.
    """
    if not reason.strip() or not actor.strip():
        raise ValueError("A repair needs a reason and an actor.")
    windows.require_whole_hours(start, end)
    return _repaired(start, end, customer_keys, reason, actor, now, on_progress)


def _repaired(
    start: datetime,
    end: datetime,
    customer_keys: Sequence[str] | None,
    reason: str,
    actor: str,
    now: datetime,
    on_progress: Callable[[datetime], None],
) -> Iterator[RepairedWindow]:
    while start < end:
        slice_end = min(start + _SLICE, end)
        with transaction.atomic():
            repaired = windows.repair(
                start=start, end=slice_end, customer_keys=customer_keys, reason=reason, actor=actor, now=now
            )
        yield from repaired
        on_progress(slice_end)
        start = slice_end
