"""Working windows out again from their effective raw events, and repairing those that differ from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection

from metering.models import Meter, WindowRepair
from metering.windows.figures import PREAMBLE, figures
from metering.windows.pairs import GAUGES, NAMED, UNIQUE, WINDOW, pairs
from metering.windows.proof import WindowFigures, WindowMismatch, mismatches


@dataclass(frozen=True, slots=True)
class RepairedWindow:
    """A window that was set right, and the change under which rating sees it."""

    mismatch: WindowMismatch
    change_seq: int


@dataclass(frozen=True, slots=True)
class Touched:
    """The identity of a window. `dimensions` is the object as JSON text."""

    window_start: datetime
    customer_key: str
    meter_id: int
    dimensions: str
    aggregation: str


# Windows of one hour of some customers. What their events say replaces what they hold; without events, nothing is left.
_TOUCHED = """
    SELECT %(start)s::timestamptz AS window_start, * FROM jsonb_to_recordset(%(touched)s::jsonb)
                                      AS t (customer_key varchar, meter_id bigint, dimensions jsonb)
"""
_CHANGED = """
WITH seq AS (UPDATE metering_cursor SET change_seq = change_seq + 1 WHERE id = 1 RETURNING change_seq
), changed AS (
    INSERT INTO metering_customer_change AS c (customer_key, change_seq)
    SELECT key, change_seq FROM seq, unnest(%s::text[]) AS key ORDER BY key
        ON CONFLICT (customer_key) DO UPDATE SET change_seq = excluded.change_seq
)
SELECT change_seq FROM seq
"""
_FIGURES_AGAIN = f"""
{PREAMBLE}, figure AS ({{figures}}
)
INSERT INTO metering_window AS w
       (window_start, customer_key, meter_id, dimensions, quantity, event_count, fingerprint, updated_at)
SELECT window_start, customer_key, meter_id, dimensions, coalesce(f.quantity, 0), coalesce(f.event_count, 0),
       coalesce(f.fingerprint, 0), %(now)s
  FROM ({_TOUCHED}) AS t LEFT JOIN figure AS f USING (window_start, customer_key, meter_id, dimensions)
 ORDER BY window_start, customer_key, meter_id
    ON CONFLICT (window_start, customer_key, meter_id, dimensions_key) DO UPDATE
   SET quantity = excluded.quantity, event_count = excluded.event_count, fingerprint = excluded.fingerprint,
       updated_at = excluded.updated_at
"""
_FORGET_VALUES = f"""
DELETE FROM metering_window_value WHERE window_id IN (
    SELECT w.id FROM metering_window AS w
      JOIN ({_TOUCHED}) AS t USING (window_start, customer_key, meter_id, dimensions))
"""
_VALUES_AGAIN = f"""
{PREAMBLE}, grouped AS (
    SELECT window_start, customer_key, meter_id, only_value, dimension_values, value_key, count(*) AS events
      FROM ({pairs("effective", meters="(SELECT * FROM meter WHERE is_unique)")}) AS p WHERE state = 0
     GROUP BY window_start, customer_key, meter_id, only_value, dimension_values, value_key
), named AS ({NAMED}
)
INSERT INTO metering_window_value (window_id, value_key, events)
SELECT w.id, n.value_key, n.events
  FROM named AS n JOIN ({_TOUCHED}) AS t USING (window_start, customer_key, meter_id, dimensions)
  JOIN metering_window AS w USING (window_start, customer_key, meter_id, dimensions)
"""
_FORGET_GAUGES = f"""
DELETE FROM metering_window_gauge AS k USING ({_TOUCHED}) AS t
 WHERE k.customer_key = t.customer_key AND k.meter_id = t.meter_id AND k.window_start = t.window_start
   AND k.dimensions_key = md5(t.dimensions::text)::uuid
"""
GAUGE_COLUMNS = (
    "customer_key, meter_id, dimensions_key, window_start, dimensions, first_time, first_event_id, first_source,"
    " first_value, last_time, last_event_id, last_source, last_value, integral"
)
_GAUGES_AGAIN = f"""
{PREAMBLE}, figure AS ({{figures}}
)
INSERT INTO metering_window_gauge ({GAUGE_COLUMNS})
SELECT {GAUGE_COLUMNS.replace("dimensions_key", "md5(dimensions::text)::uuid")}
  FROM figure AS f JOIN ({_TOUCHED}) AS t USING (window_start, customer_key, meter_id, dimensions)
"""


def recompute(touched: Sequence[Touched], *, now: datetime) -> None:
    """Set these windows and what they keep to what their effective events say; one pass an hour.

    Events and marks count up to `metering_cursor.next_xid`. The caller holds the lock that advances take.
    """
    by_hour: dict[datetime, list[Touched]] = {}
    for window in touched:
        by_hour.setdefault(window.window_start, []).append(window)
    for start, windows in sorted(by_hour.items()):
        _recompute_hour(start, windows, now)


def _recompute_hour(start: datetime, windows: Sequence[Touched], now: datetime) -> None:
    kinds = {window.aggregation for window in windows}
    parameters: dict[str, Any] = {
        "start": start,
        "end": start + WINDOW,
        "now": now,
        "keys": sorted({window.customer_key for window in windows}),
        "touched": _as_json(windows),
    }
    with connection.cursor() as cursor:
        cursor.execute(_FIGURES_AGAIN.format(figures=figures("effective", kinds)), parameters)
        if kinds.intersection(UNIQUE):
            cursor.execute(_FORGET_VALUES, parameters)
            cursor.execute(_VALUES_AGAIN, parameters)
        if gauges := kinds.intersection(GAUGES):
            cursor.execute(_FORGET_GAUGES, parameters)
            cursor.execute(_GAUGES_AGAIN.format(figures=figures("effective", gauges)), parameters)


def _as_json(windows: Sequence[Touched]) -> str:
    return msgspec.json.encode(
        [
            {
                "customer_key": window.customer_key,
                "meter_id": window.meter_id,
                "dimensions": msgspec.Raw(window.dimensions.encode()),
            }
            for window in windows
        ]
    ).decode()


def repair(
    *, start: datetime, end: datetime, customer_keys: Sequence[str] | None, reason: str, actor: str, now: datetime
) -> list[RepairedWindow]:
    """Set right every window of [start, end) that differs from its events, and record each; joins the caller's
    transaction. Takes the lock of advances, so nothing is added to a window between its proof and its repair."""
    with connection.cursor() as cursor:
        lock_windows(cursor)
        wrong = list(mismatches(start=start, end=end, customer_keys=customer_keys))
        if not wrong:
            return []
        meters = {(meter.code, meter.version): meter for meter in Meter.objects.all()}
        rows = [(mismatch, meters[mismatch.meter_code, mismatch.meter_version]) for mismatch in wrong]
        recompute([_touched(mismatch, meter) for mismatch, meter in rows], now=now)
        cursor.execute(_CHANGED, [sorted({mismatch.customer_key for mismatch in wrong})])
        (change_seq,) = cursor.fetchone()
    WindowRepair.objects.bulk_create(
        [_repair_row(mismatch, meter, reason, actor, now, change_seq) for mismatch, meter in rows], batch_size=1_000
    )
    return [RepairedWindow(mismatch, change_seq) for mismatch in wrong]


def lock_windows(cursor: Any) -> None:
    """Until the transaction ends, nobody else writes windows."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('metering.advance_windows', 0))")


def _touched(mismatch: WindowMismatch, meter: Meter) -> Touched:
    dimensions = msgspec.json.encode(mismatch.dimensions).decode()
    return Touched(mismatch.window_start, mismatch.customer_key, meter.id, dimensions, meter.aggregation)


def _repair_row(
    mismatch: WindowMismatch, meter: Meter, reason: str, actor: str, now: datetime, change_seq: int
) -> WindowRepair:
    before, after = mismatch.stored, mismatch.recomputed or WindowFigures(Decimal(0), 0, 0)
    return WindowRepair(
        window_start=mismatch.window_start,
        customer_key=mismatch.customer_key,
        meter=meter,
        dimensions=mismatch.dimensions,
        quantity_before=before.quantity if before else None,
        events_before=before.event_count if before else None,
        fingerprint_before=before.fingerprint if before else None,
        kept_before=before.kept if before else "",
        quantity_after=after.quantity,
        events_after=after.event_count,
        fingerprint_after=after.fingerprint,
        kept_after=after.kept,
        reason=reason,
        actor=actor,
        repaired_at=now,
        change_seq=change_seq,
    )
