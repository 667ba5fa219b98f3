"""Which months of events are in an archive and no longer in the database. Below windows and queries, as both ask."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db import connection

from metering.spans import InvalidRange


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """A UTC month whose raw events are no longer in the database: [start, end), half-open. Its windows still are."""

    start: datetime
    end: datetime
    file_name: str
    events: int


class EventsArchived(InvalidRange):
    """A boundary lies inside an hour whose raw events are in an archive: its part cannot be told from the whole."""


def archived_months() -> list[ArchivedMonth]:
    """The months whose raw events are archived and dropped, oldest first. One that was restored is not among them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT m.month, a.file_name, a.events FROM metering_archived_month AS m"
            " JOIN metering_eventarchive AS a ON a.id = m.archive_id ORDER BY m.month"
        )
        return [ArchivedMonth(*month_range(month), name, events) for month, name, events in cursor.fetchall()]


def archived_months_between(start: datetime, end: datetime) -> list[ArchivedMonth]:
    """Those of them that [start, end) touches."""
    return [month for month in archived_months() if month.start < end and month.end > start]


def require_events(hours: Sequence[datetime]) -> None:
    """Raises EventsArchived when the raw events of any of these hours are in an archive."""
    if not hours:
        return
    for month in archived_months_between(min(hours), max(hours) + timedelta(hours=1)):
        if any(month.start <= hour < month.end for hour in hours):
            raise EventsArchived(
                f"The events of {month.start:%Y-%m} are archived: ask for whole UTC hours, or have the month brought"
                " back with manage.py restore_usage_archive."
            )


def spans_with_events(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The parts of [start, end) whose raw events are in the database, in order."""
    for month in archived_months_between(start, end):
        if start < month.start:
            yield start, month.start
        start = max(start, month.end)
    if start < end:
        yield start, end


def month_range(month: date) -> tuple[datetime, datetime]:
    """[start, end) of the UTC month that begins on this day."""
    start = datetime(month.year, month.month, 1, tzinfo=UTC)
    return start, (start + timedelta(days=32)).replace(day=1)
