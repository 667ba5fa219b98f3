"""Months of events that are old enough to leave, and where their archives go in a test."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg

from config import clock
from metering import operations, queries
from tests.metering import usage

ACTOR = "task:archive_usage"


def old_month(*, months_past_retention: int = 1) -> date:
    """A month that retention passed, by the database's own clock: its rules believe no other."""
    passed = clock.now() - timedelta(days=396 + 1)
    month = passed.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(months_past_retention):
        month = (month - timedelta(days=1)).replace(day=1)
    return month.date()


def fill(month: date, count: int = 20, *, prefix: str = "old") -> datetime:
    """Events of this month, received while they were young enough, and counted; returns the first one's time."""
    start, _ = queries.month_range(month)
    received = start + timedelta(days=27)
    events = [
        usage.event(f"{prefix}-{number}", time=start + timedelta(hours=number, microseconds=number))
        for number in range(count)
    ]
    usage.ingest(*events, received_at=received)
    operations.catch_up_windows(now=clock.now())
    return start


def raw_rows(connection: psycopg.Connection, month: date) -> list[tuple]:
    """Every column of the month's events in the database."""
    start, end = queries.month_range(month)
    return connection.execute(
        "SELECT * FROM metering_event WHERE event_time >= %s AND event_time < %s ORDER BY event_time, key", [start, end]
    ).fetchall()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def month_text(month: date) -> str:
    return f"{month:%Y-%m}"


NOVEMBER_2026 = datetime(2026, 11, 1, tzinfo=UTC)
