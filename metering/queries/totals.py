"""Sums over many windows, and the conservation of (event, meter) pairs."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import msgspec
from django.db import connection

from metering import windows


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
    """pairs = counted + excluded, always; `events_without_meter` made no pair, as their meter had been ended.

    Marks are counted apart: of the counted pairs, windows hold counted - voided + restored.
    """

    events: int
    events_without_meter: int
    pairs: int
    counted: int
    excluded: dict[str, int]
    marks: int = 0
    voided: int = 0
    restored: int = 0


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
            " coalesce(sum(excluded_absent), 0)::bigint, coalesce(sum(excluded_invalid), 0)::bigint,"
            " coalesce(sum(excluded_filtered), 0)::bigint, coalesce(sum(marks), 0)::bigint,"
            " coalesce(sum(voided), 0)::bigint, coalesce(sum(restored), 0)::bigint"
            " FROM metering_aggregationadvance"
        )
        events, without, pairs, counted, absent, invalid, filtered, marks, voided, restored = cursor.fetchone()
    excluded = {"value_absent": absent, "value_invalid": invalid, "filtered_out": filtered}
    return Conservation(events, without, pairs, counted, excluded, marks, voided, restored)
