"""Everything that is asked of metering from outside. Reads only; quantities are exact Decimals, times are UTC."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
from django.db import connection

from metering import windows
from metering.windows import WINDOW, WindowFigures, WindowMismatch

__all__ = [
    "Conservation",
    "DailyTotal",
    "MeterTotal",
    "Window",
    "WindowFigures",
    "WindowMismatch",
    "aggregated_through",
    "conservation",
    "count_windows",
    "customers_with_changes_since",
    "daily_totals",
    "ingest_lag_seconds",
    "totals",
    "totals_from_events",
    "verify_windows",
    "windows_for",
    "windows_for_many",
]

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


@dataclass(frozen=True, slots=True)
class MeterTotal:
    """A meter's sums over a time range, all versions and dimensions together. `windows` is 0 where events were
    summed."""

    meter_code: str
    quantity: Decimal
    events: int
    windows: int


@dataclass(frozen=True, slots=True)
class DailyTotal:
    """One day's sum of one meter and set of dimension values. The day is a UTC day."""

    day: date
    meter_code: str
    dimensions: dict[str, str | None]
    quantity: Decimal
    events: int


@dataclass(frozen=True, slots=True)
class Conservation:
    """pairs = counted + excluded, always; `events_without_meter` made no pair, as their meter had been ended."""

    events: int
    events_without_meter: int
    pairs: int
    counted: int
    excluded: dict[str, int]


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


def totals(start: datetime, end: datetime) -> list[MeterTotal]:
    """Per meter, the sums of all windows that start in [start, end), ordered by meter code."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT m.code, sum(w.quantity), sum(w.event_count)::bigint, count(*) FROM metering_window AS w"
            " JOIN metering_meter AS m ON m.id = w.meter_id"
            " WHERE w.window_start >= %s AND w.window_start < %s GROUP BY m.code ORDER BY m.code",
            [start, end],
        )
        return [MeterTotal(*row) for row in cursor.fetchall()]


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


def daily_totals(start: datetime, end: datetime, customer_key: str | None = None) -> list[DailyTotal]:
    """Sums by UTC day, meter and dimensions of the windows that start in [start, end), of one customer or all; in
    order."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (w.window_start AT TIME ZONE 'UTC')::date, m.code, w.dimensions::text, sum(w.quantity),"
            " sum(w.event_count)::bigint FROM metering_window AS w JOIN metering_meter AS m ON m.id = w.meter_id"
            " WHERE w.window_start >= %(start)s AND w.window_start < %(end)s"
            " AND (%(key)s::text IS NULL OR w.customer_key = %(key)s::text)"
            " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
            {"start": start, "end": end, "key": customer_key},
        )
        return [
            DailyTotal(day, code, msgspec.json.decode(dimensions), quantity, events)
            for day, code, dimensions, quantity, events in cursor.fetchall()
        ]


def totals_from_events(start: datetime, end: datetime) -> list[MeterTotal]:
    """As `totals`, but summed from the raw events of [start, end): slow, for checking. Includes events not in windows
    yet."""
    return [MeterTotal(code, quantity, events, 0) for code, quantity, events in windows.sum_events(start, end)]


def conservation() -> Conservation:
    """The figures of every advance so far, added up."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(events), 0)::bigint, coalesce(sum(events_without_meter), 0)::bigint,"
            " coalesce(sum(pairs), 0)::bigint, coalesce(sum(counted), 0)::bigint,"
            " coalesce(sum(excluded_absent), 0)::bigint, coalesce(sum(excluded_invalid), 0)::bigint"
            " FROM metering_aggregationadvance"
        )
        events, without, pairs, counted, absent, invalid = cursor.fetchone()
    return Conservation(events, without, pairs, counted, {"value_absent": absent, "value_invalid": invalid})


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
