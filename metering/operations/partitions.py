"""The months of the event table."""

from datetime import datetime

from metering import event_store


def ensure_partitions(*, start: datetime, end: datetime) -> int:
    """Make the monthly partitions for events from `start` up to and including `end`; returns how many were missing."""
    return event_store.ensure_partitions(start=start, end=end)
