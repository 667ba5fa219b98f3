"""Where a month's events are: in the database, in an archive, or in both."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from django.db import connection

from metering.archived import month_range

State = Literal["here", "due", "archived", "verified", "dropped", "restored"]
# The owner's functions keep this distance from retention and horizon (migration 0005).
MARGIN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class MonthOfEvents:
    """One month of events: its state, what lies in the database (`size_bytes`, 0 for none) and its latest archive."""

    month: date
    state: State
    size_bytes: int
    archive_id: int | None
    file_name: str
    events: int | None
    sha256: str
    verified_at: datetime | None
    moved_at: datetime | None
    hold_until: datetime | None


@dataclass(frozen=True, slots=True)
class ArchiveRecord:
    """What the database knows of an archive file."""

    id: int
    month: date
    file_name: str
    sha256: str
    events: int
    fingerprint: Decimal
    last_xid: int | None


@dataclass(frozen=True, slots=True)
class Horizon:
    """Retention and dedupe horizon as the database has them, in days, and up to when identities are forgotten."""

    retention_days: int
    dedupe_horizon_days: int
    forgotten_before: datetime | None


_STATES = """
WITH partition AS (
    SELECT to_date(right(c.relname, 7), 'YYYY_MM') AS month, pg_total_relation_size(c.oid) AS size_bytes
      FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'metering_event'::regclass AND c.relname ~ '^metering_event_[0-9]{4}_[0-9]{2}$'
), archive AS (
    SELECT DISTINCT ON (month) a.month, a.id, a.file_name, a.events, a.sha256,
           (SELECT max(verified_at) FROM metering_archiveverification WHERE archive_id = a.id) AS verified_at
      FROM metering_eventarchive AS a ORDER BY a.month, a.id DESC
), moved AS (
    SELECT DISTINCT ON (month) month, move, moved_at, hold_until FROM metering_partitionmove ORDER BY month, id DESC
)
SELECT month, p.size_bytes IS NOT NULL, coalesce(p.size_bytes, 0), a.id, coalesce(a.file_name, ''), a.events,
       coalesce(a.sha256, ''), a.verified_at, m.move, m.moved_at, m.hold_until
  FROM partition AS p FULL JOIN archive AS a USING (month) LEFT JOIN moved AS m USING (month)
 ORDER BY month DESC
"""


def months_of_events(now: datetime) -> list[MonthOfEvents]:
    """Every month that has a partition or an archive, the latest first, with its state at `now`."""
    due_before = now - timedelta(days=horizon().retention_days) - MARGIN
    with connection.cursor() as cursor:
        cursor.execute(_STATES)
        rows = cursor.fetchall()
    months = []
    for month, is_here, size, archive_id, name, events, digest, verified_at, move, moved_at, hold_until in rows:
        state = _state(month, is_here, archive_id, verified_at, move, hold_until, now=now, due_before=due_before)
        months.append(
            MonthOfEvents(month, state, size, archive_id, name, events, digest, verified_at, moved_at, hold_until)
        )
    return months


def _state(
    month: date,
    is_here: bool,
    archive_id: int | None,
    verified_at: datetime | None,
    move: str | None,
    hold_until: datetime | None,
    *,
    now: datetime,
    due_before: datetime,
) -> State:
    if not is_here:
        return "dropped"
    if move == "restored" and hold_until is not None and hold_until > now:
        return "restored"
    if month_range(month)[1] > due_before:
        return "here"
    if archive_id is None:
        return "due"
    return "archived" if verified_at is None else "verified"


def latest_archive(month: date) -> ArchiveRecord | None:
    """The archive that counts for a month: the one it was last dropped by or restored from, else the latest made."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.id, a.month, a.file_name, a.sha256, a.events, a.fingerprint, a.last_xid"
            "  FROM metering_eventarchive AS a WHERE a.month = %s ORDER BY"
            " (a.id = (SELECT archive_id FROM metering_archived_month WHERE month = %s)) DESC NULLS LAST, a.id DESC"
            " LIMIT 1",
            [month, month],
        )
        row = cursor.fetchone()
    return None if row is None else ArchiveRecord(*row)


def months_ahead(now: datetime) -> int:
    """How many whole months after the present one have their partition, without a gap."""
    months = {month.month for month in months_of_events(now) if month.size_bytes or month.state == "here"}
    ahead, month = 0, month_range(now.astimezone(UTC).date().replace(day=1))[1].date()
    while month in months:
        ahead, month = ahead + 1, month_range(month)[1].date()
    return ahead


def horizon() -> Horizon:
    """Retention and horizon that the database keeps to; `manage.py migrate` brings them from the settings."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT retention_days, dedupe_horizon_days, (SELECT max(before) FROM metering_keyforgetting)"
            " FROM metering_retention"
        )
        return Horizon(*cursor.fetchone())
