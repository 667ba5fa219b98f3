"""Windows, the proof of them, and how far aggregation has come."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection

from metering import windows
from metering.archived import require_events
from metering.spans import cut_hours, hour_of
from metering.windows import WindowMismatch, ranges
from metering.windows.figures import kinds_in_use

NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """One hour of one customer, meter and set of dimension values."""

    window_start: datetime
    customer_key: str
    meter_code: str
    meter_version: int
    dimensions: dict[str, str | None]
    quantity: Decimal
    event_count: int
    fingerprint: int


_WINDOWS = """
SELECT w.window_start, w.customer_key, m.code, m.version, w.dimensions::text, w.quantity, w.event_count, w.fingerprint
  FROM metering_window AS w JOIN metering_meter AS m ON m.id = w.meter_id
 WHERE w.customer_key = ANY(%s::text[]) AND w.window_start >= %s AND w.window_start < %s
 ORDER BY w.customer_key, w.window_start, m.code, m.version, w.dimensions
"""

_WINDOWS_BETWEEN = """
SELECT w.window_start, w.customer_key, m.code, m.version, w.dimensions::text, w.quantity, w.event_count, w.fingerprint
  FROM (SELECT window_start, customer_key, meter_id, dimensions, quantity, event_count, fingerprint
          FROM metering_window
         WHERE customer_key = ANY(%(keys)s::text[]) AND window_start >= %(first)s AND window_start < %(last)s
           AND window_start <> ALL(%(cut)s::timestamptz[])
         UNION ALL ({cut})) AS w
  JOIN metering_meter AS m ON m.id = w.meter_id
 ORDER BY w.customer_key, w.window_start, m.code, m.version, w.dimensions
"""


def windows_for(customer_key: str, start: datetime, end: datetime) -> list[Window]:
    """The customer's windows that start in [start, end), ordered by (window_start, meter_code, dimensions)."""
    return windows_for_many([customer_key], start, end)


def windows_for_many(customer_keys: Sequence[str], start: datetime, end: datetime) -> list[Window]:
    """The windows of several customers in one query, ordered by customer and then as `windows_for`."""
    with connection.cursor() as cursor:
        cursor.execute(_WINDOWS, [list(customer_keys), start, end])
        return [_window(row) for row in cursor.fetchall()]


def windows_between(customer_key: str, start: datetime, end: datetime) -> list[Window]:
    """As `windows_for` of [start, end) at any instant: an hour that the range cuts, at either end, holds what its
    events inside the range make of it, worked out from raw events; it is still named by the start of its hour. Raises
    EventsArchived where these are in an archive.
    """
    return windows_between_many([customer_key], start, end)


def windows_between_many(customer_keys: Sequence[str], start: datetime, end: datetime) -> list[Window]:
    """`windows_between` of several customers in one query, ordered by customer and then as `windows_for`."""
    cut = cut_hours([start, end])
    if not cut:
        return windows_for_many(customer_keys, start, end)
    require_events(cut)
    of_cut, parameters = ranges.cut_windows(customer_keys, start, end, kinds_in_use())
    parameters["first"] = hour_of(start)
    with connection.cursor() as cursor:
        cursor.execute(_WINDOWS_BETWEEN.format(cut=of_cut), parameters)
        return [_window(row) for row in cursor.fetchall()]


def _window(row: Sequence[Any]) -> Window:
    window_start, key, code, version, dimensions, quantity, count, fingerprint = row
    return Window(window_start, key, code, version, msgspec.json.decode(dimensions), quantity, count, int(fingerprint))


def customers_with_changes_since(cursor: int) -> tuple[list[str], int]:
    """Customers whose windows changed after `cursor` (0: ever), and the cursor to ask with next time.

    Advances are numbered in the order in which they commit, so what this reader cannot see yet has a higher number.
    """
    with connection.cursor() as database:
        database.execute(
            "SELECT customer_key, change_seq FROM metering_customer_change WHERE change_seq > %s ORDER BY customer_key",
            [cursor],
        )
        rows = database.fetchall()
    return [key for key, _ in rows], max((seq for _, seq in rows), default=cursor)


def aggregated_through() -> datetime:
    """Every event that was acknowledged before this instant is in its windows. 1970 before the first advance."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT aggregated_through FROM metering_cursor WHERE id = 1")
        row = cursor.fetchone()
    return row[0] if row is not None and row[0] is not None else NEVER


def ingest_lag_seconds(now: datetime) -> float:
    """Seconds by which windows lag behind acknowledged events, at `now`; a gauge, not a quantity."""
    return max(0.0, (now - aggregated_through()).total_seconds())


def count_windows(start: datetime, end: datetime, customer_keys: Sequence[str] | None = None) -> int:
    """How many windows start in [start, end), of these customers or of all."""
    keys = None if customer_keys is None else list(customer_keys)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM metering_window WHERE window_start >= %(start)s AND window_start < %(end)s"
            " AND (%(keys)s::text[] IS NULL OR customer_key = ANY(%(keys)s::text[]))",
            {"start": start, "end": end, "keys": keys},
        )
        (count,) = cursor.fetchone()
    return int(count)


def verify_windows(
    start: datetime,
    end: datetime,
    customer_keys: Sequence[str] | None = None,
    *,
    on_progress: Callable[[datetime], None] = lambda _done: None,
) -> Iterator[WindowMismatch]:
    """Windows of [start, end) that differ from what their raw events say that are not void: in quantity, number or
    fingerprint, or in what they keep beside these; also windows without events and events without a window. Events not
    aggregated yet are left out. `on_progress` is told up to which instant windows were proved. Raises ValueError for a
    range that does not start and end on the hour.
    """
    windows.require_whole_hours(start, end)
    return windows.mismatches(start=start, end=end, customer_keys=customer_keys, on_progress=on_progress)
