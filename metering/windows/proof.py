"""Proving windows against their effective raw events."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection

from metering.archived import spans_with_events
from metering.spans import hour_of
from metering.windows.figures import AVERAGE_KEPT, LAST_KEPT, PREAMBLE, VALUES_KEPT, figures, kinds_in_use

_SLICE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """What a window says of its events. `quantity` is in the meter's unit, exact; `kept` describes what a window of an
    aggregation that does not add up keeps beside it, empty for the others."""

    quantity: Decimal
    event_count: int
    fingerprint: int
    kept: str = ""


@dataclass(frozen=True, slots=True)
class WindowMismatch:
    """A window that differs from its raw events. `stored` is None for events without a window, `recomputed` for a
    window without events."""

    window_start: datetime
    customer_key: str
    meter_code: str
    dimensions: dict[str, str | None]
    stored: WindowFigures | None
    recomputed: WindowFigures | None
    meter_version: int = 1


_KEPT_GAUGE = """coalesce((
                     SELECT {0} FROM metering_window_gauge AS k
                      WHERE k.customer_key = w.customer_key AND k.meter_id = w.meter_id
                        AND k.dimensions_key = w.dimensions_key AND k.window_start = w.window_start), '')"""
# Windows with what they keep beside their figures, as text.
_STORED = f"""
    SELECT w.id, w.window_start, w.customer_key, w.meter_id, w.dimensions, w.quantity, w.event_count, w.fingerprint,
           CASE m.aggregation
                WHEN 'unique_count' THEN coalesce((
                     SELECT {VALUES_KEPT.format("v.value_key", "v.events")} FROM metering_window_value AS v
                      WHERE v.window_id = w.id HAVING count(*) > 0), '')
                WHEN 'last' THEN {{last}} WHEN 'time_weighted_average' THEN {{average}} ELSE '' END AS kept
      FROM metering_window AS w JOIN metering_meter AS m ON m.id = w.meter_id
     WHERE w.window_start >= %(start)s AND w.window_start < %(end)s
       AND (%(keys)s::text[] IS NULL OR w.customer_key = ANY(%(keys)s::text[]))
""".format(last=_KEPT_GAUGE.format(LAST_KEPT.format("k")), average=_KEPT_GAUGE.format(AVERAGE_KEPT.format("k")))

# A window that holds nothing any more is as good as none.
_MISMATCHES = """
{preamble}, stored AS ({stored}), recomputed AS ({figures})
SELECT j.window_start, j.customer_key, m.code, m.version, j.dimensions::text,
       j.stored_quantity, j.stored_count, j.stored_fingerprint, j.stored_kept,
       j.quantity, j.event_count, j.fingerprint, j.kept
  FROM (SELECT window_start, customer_key, meter_id, dimensions, r.quantity, r.event_count, r.fingerprint, r.kept,
               s.quantity AS stored_quantity, s.event_count AS stored_count, s.fingerprint AS stored_fingerprint,
               s.kept AS stored_kept
          FROM stored AS s FULL JOIN recomputed AS r USING (window_start, customer_key, meter_id, dimensions)) AS j
  JOIN metering_meter AS m ON m.id = j.meter_id
 WHERE (j.stored_quantity, j.stored_count, j.stored_fingerprint, j.stored_kept)
       IS DISTINCT FROM (j.quantity, j.event_count, j.fingerprint, j.kept)
   AND NOT (j.event_count IS NULL AND (j.stored_quantity, j.stored_count, j.stored_fingerprint, j.stored_kept)
                                      = (0, 0, 0, ''))
 ORDER BY j.window_start, j.customer_key, m.code, m.version, j.dimensions
"""


def require_whole_hours(start: datetime, end: datetime) -> None:
    """Raises ValueError unless the range starts and ends on the hour, in this order."""
    for instant in (start, end):
        if instant.tzinfo is None or instant != hour_of(instant):
            raise ValueError(f"{instant.isoformat()} is not on the hour; windows are whole hours, UTC")
    if start >= end:
        raise ValueError(f"the range ends at {end.isoformat()}, which is not after its start, {start.isoformat()}")


def mismatches(
    *,
    start: datetime,
    end: datetime,
    customer_keys: Sequence[str] | None,
    on_progress: Callable[[datetime], None] = lambda _done: None,
) -> Iterator[WindowMismatch]:
    """Windows of [start, end) that differ from their raw events; a day at a time, each in one snapshot.

    `on_progress` is told up to which instant windows were proved, after each day and after its mismatches. Months whose
    events are in an archive are passed over; `archived_months_between` names them.
    """
    kinds = kinds_in_use()
    statement = _MISMATCHES.format(preamble=PREAMBLE, stored=_STORED, figures=figures("effective", kinds))
    keys = None if customer_keys is None else list(customer_keys)
    for slice_start, slice_end in _slices(start, end):
        with connection.cursor() as cursor:
            cursor.execute(statement, {"start": slice_start, "end": slice_end, "keys": keys})
            rows = cursor.fetchall()
        for window_start, customer_key, code, version, dimensions, *found in rows:
            yield WindowMismatch(
                window_start,
                customer_key,
                code,
                msgspec.json.decode(dimensions),
                _figures(found[:4]),
                _figures(found[4:]),
                version,
            )
        on_progress(slice_end)


def _slices(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """[start, end) a day at a time. Months whose events are in an archive are left out: nothing here could prove their
    windows, and a repair would empty them."""
    for span_start, span_end in spans_with_events(start, end):
        slice_start = span_start
        while slice_start < span_end:
            slice_end = min(slice_start + _SLICE, span_end)
            yield slice_start, slice_end
            slice_start = slice_end


def _figures(values: Sequence[Any]) -> WindowFigures | None:
    quantity, event_count, fingerprint, kept = values
    return None if event_count is None else WindowFigures(quantity, event_count, int(fingerprint), kept)
