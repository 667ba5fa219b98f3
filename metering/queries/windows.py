"""Windows, the proof of them, and how far aggregation has come."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from django.db import connection

from metering import windows
from metering.windows import WINDOW, WindowMismatch

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


def windows_for(customer_key: str, start: datetime, end: datetime) -> list[Window]:
    """The customer's windows that start in [start, end), ordered by (window_start, meter_code, dimensions)."""
    return windows_for_many([customer_key], start, end)


def windows_for_many(customer_keys: Sequence[str], start: datetime, end: datetime) -> list[Window]:
    """The windows of several customers in one query, ordered by customer and then as `windows_for`."""
    decode = msgspec.json.decode
    with connection.cursor() as cursor:
        cursor.execute(_WINDOWS, [list(customer_keys), start, end])
        return [
            Window(window_start, key, code, version, decode(dimensions), quantity, count, int(fingerprint))
            for window_start, key, code, version, dimensions, quantity, count, fingerprint in cursor.fetchall()
        ]


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
    start: datetime, end: datetime, customer_keys: Sequence[str] | None = None
) -> Iterator[WindowMismatch]:
    """Windows of [start, end) that differ from what their raw events say: in quantity, number or fingerprint; also
    windows without events and events without a window. Events not aggregated yet are left out. Raises ValueError for a
    range that does not start and end on the hour.
    """
    for instant in (start, end):
        if (instant - NEVER) % WINDOW:
            raise ValueError(f"{instant.isoformat()} is not on the hour; windows are whole hours, UTC")
    return windows.mismatches(start=start, end=end, customer_keys=customer_keys)
