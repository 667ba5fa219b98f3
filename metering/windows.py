"""Aggregation windows: the SQL that fills them and the SQL that proves them, sharing one definition of what counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection

WINDOW = timedelta(hours=1)
_VERIFY_SLICE = timedelta(days=1)
_MAX_PENDING = 100_000


class TransactionCounterWentBack(Exception):
    """The database server counts transactions from a lower number than events were recorded with, as after restoring a
    dump into a new server. Aggregation stops rather than pass over events; the README says how to go on."""


@dataclass(frozen=True, slots=True)
class WindowAdvance:
    """What one advance did: events taken, windows made or changed, and whether nothing recorded was left behind."""

    events: int
    windows: int
    caught_up: bool


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """What a window says of its events. `quantity` is in the meter's unit, exact."""

    quantity: Decimal
    event_count: int
    fingerprint: int


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


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far an advance goes: transactions [start, end). `drained` when nothing settled lies beyond."""

    start: int
    end: int
    drained: bool


# The meters with their paths taken apart once instead of once an event, and the rule of which events one counts.
_METERS = """
    SELECT id, event_type, aggregation, dimensions::text[] AS dimensions, counts_from_xid, counts_before_xid,
           (string_to_array(value_path, '.'))[2:] AS path, cardinality(dimensions) AS dimension_count,
           dimensions[1]::text AS only_dimension, string_to_array(dimensions[1], '.') AS only_path
      FROM metering_meter
"""
_COUNTS = """
    m.event_type = e.event_type AND e.recorded_xid >= m.counts_from_xid
    AND (m.counts_before_xid IS NULL OR e.recorded_xid < m.counts_before_xid)
"""
# Every (event, meter) pair, with its quantity if it has one. One dimension is the common case: it is spelled out here
# as PostgreSQL would not inline the function's subquery, which costs 4 us a pair.
_PAIRS = f"""
    SELECT date_trunc('hour', e.event_time, 'UTC') AS window_start, e.customer_key, m.id AS meter_id,
           CASE WHEN m.dimension_count = 1
                THEN jsonb_build_object(m.only_dimension, left(e.data #>> m.only_path, 200))
                ELSE metering_dimensions(e.data, m.dimensions) END AS dimensions,
           CASE m.aggregation WHEN 'count' THEN 1 ELSE metering_quantity(e.data, m.path) END AS quantity,
           m.aggregation = 'count' OR e.data #>> m.path IS NOT NULL AS present,
           e.source, e.event_id, e.event_time
      FROM {{events}} AS e JOIN meter AS m ON {_COUNTS}
"""
_GROUPED = """
    SELECT window_start, customer_key, meter_id, dimensions, sum(quantity) AS quantity, count(*) AS event_count,
           sum(metering_fingerprint(source, event_id, event_time, quantity)) AS fingerprint
      FROM {pairs}
     WHERE quantity IS NOT NULL
     GROUP BY window_start, customer_key, meter_id, dimensions
"""

_ADVANCE = f"""
WITH meter AS MATERIALIZED ({_METERS}
), chunk AS MATERIALIZED (
    SELECT event_time, received_at, recorded_xid, source, event_id, event_type, customer_key, data
      FROM metering_event WHERE recorded_xid >= %(start)s AND recorded_xid < %(end)s
), pair AS MATERIALIZED ({_PAIRS.format(events="chunk")}
), counted AS MATERIALIZED ({_GROUPED.format(pairs="pair")}
), stored AS (
    INSERT INTO metering_window AS w
           (window_start, customer_key, meter_id, dimensions, quantity, event_count, fingerprint, updated_at)
    SELECT window_start, customer_key, meter_id, dimensions, quantity, event_count, fingerprint, %(now)s
      FROM counted ORDER BY window_start, customer_key, meter_id
        ON CONFLICT (window_start, customer_key, meter_id, dimensions_key) DO UPDATE
       SET quantity = w.quantity + excluded.quantity, event_count = w.event_count + excluded.event_count,
           fingerprint = w.fingerprint + excluded.fingerprint, updated_at = excluded.updated_at
), changed AS (
    INSERT INTO metering_customer_change AS c (customer_key, change_seq)
    SELECT DISTINCT customer_key, %(change_seq)s::bigint FROM counted ORDER BY customer_key
        ON CONFLICT (customer_key) DO UPDATE SET change_seq = excluded.change_seq
)
INSERT INTO metering_aggregationadvance
       (change_seq, advanced_at, from_xid, to_xid, events, oldest_received_at, events_without_meter,
        pairs, counted, excluded_absent, excluded_invalid, windows)
SELECT %(change_seq)s, %(now)s, %(start)s, %(end)s, e.events, e.oldest, e.unmatched,
       p.pairs, p.counted, p.absent, p.invalid, (SELECT count(*) FROM counted)
  FROM (SELECT count(*) AS events, min(received_at) AS oldest,
               count(*) FILTER (WHERE NOT EXISTS (SELECT FROM meter AS m WHERE {_COUNTS})) AS unmatched FROM chunk AS e)
               AS e,
       (SELECT count(*) AS pairs, count(quantity) AS counted,
               count(*) FILTER (WHERE quantity IS NULL AND NOT present) AS absent,
               count(*) FILTER (WHERE quantity IS NULL AND present) AS invalid FROM pair) AS p
 WHERE e.events > 0
RETURNING events, windows
"""

_MISMATCHES = f"""
WITH meter AS MATERIALIZED ({_METERS}
), stored AS (
    SELECT window_start, customer_key, meter_id, dimensions, quantity, event_count, fingerprint FROM metering_window
     WHERE window_start >= %(start)s AND window_start < %(end)s
       AND (%(keys)s::text[] IS NULL OR customer_key = ANY(%(keys)s::text[]))
), settled AS (
    SELECT * FROM metering_event
     WHERE event_time >= %(start)s AND event_time < %(end)s
       AND (%(keys)s::text[] IS NULL OR customer_key = ANY(%(keys)s::text[]))
       AND recorded_xid < (SELECT coalesce(max(next_xid), 0) FROM metering_cursor)
), pair AS ({_PAIRS.format(events="settled")}
), recomputed AS ({_GROUPED.format(pairs="pair")}
)
SELECT j.window_start, j.customer_key, m.code, j.dimensions::text,
       j.stored_quantity, j.stored_count, j.stored_fingerprint, j.quantity, j.event_count, j.fingerprint
  FROM (SELECT window_start, customer_key, meter_id, dimensions, r.quantity, r.event_count, r.fingerprint,
               s.quantity AS stored_quantity, s.event_count AS stored_count, s.fingerprint AS stored_fingerprint
          FROM stored AS s FULL JOIN recomputed AS r USING (window_start, customer_key, meter_id, dimensions)) AS j
  JOIN metering_meter AS m ON m.id = j.meter_id
 WHERE (j.stored_quantity, j.stored_count, j.stored_fingerprint) IS DISTINCT FROM (j.quantity, j.event_count,
 j.fingerprint) ORDER BY j.window_start, j.customer_key, m.code, j.dimensions
"""

_EVENT_SUMS = f"""
WITH meter AS MATERIALIZED ({_METERS}
), ranged AS (SELECT * FROM metering_event WHERE event_time >= %(start)s AND event_time < %(end)s
), pair AS ({_PAIRS.format(events="ranged")}
)
SELECT m.code, sum(p.quantity), count(p.quantity) FROM pair AS p JOIN metering_meter AS m ON m.id = p.meter_id
 WHERE p.quantity IS NOT NULL GROUP BY m.code ORDER BY m.code
"""


def advance(*, now: datetime, max_events: int) -> WindowAdvance:
    """Take the next chunk of settled transactions into windows; joins the caller's transaction.

    The lock comes before anything is written, so `change_seq` numbers advances in the order in which they commit.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('metering.advance_windows', 0))")
        cursor.execute("SET LOCAL jit = off")  # compiling costs more than a chunk
        cursor.execute("SET LOCAL work_mem = '64MB'")  # a chunk is sorted and grouped in memory
        next_xid, change_seq, through = _cursor_row(cursor)
        reach = _reach(cursor, next_xid, max_events)
        cursor.execute(_ADVANCE, {"start": reach.start, "end": reach.end, "now": now, "change_seq": change_seq + 1})
        events, window_count = cursor.fetchone() or (0, 0)
        pending, through = _aggregated_through(cursor, reach, now, through)
        cursor.execute(
            "UPDATE metering_cursor SET next_xid = %s, change_seq = %s, aggregated_through = %s WHERE id = 1",
            [reach.end, change_seq + (1 if events else 0), through],
        )
    return WindowAdvance(events, window_count, caught_up=reach.drained and not pending)


def _cursor_row(cursor: Any) -> tuple[int, int, datetime | None]:
    query = "SELECT next_xid, change_seq, aggregated_through FROM metering_cursor WHERE id = 1"
    cursor.execute(query)
    row = cursor.fetchone()
    if row is None:
        cursor.execute("INSERT INTO metering_cursor (id, next_xid, change_seq) VALUES (1, 0, 0)")
        row = (0, 0, None)
    return row  # type: ignore[no-any-return]


def _reach(cursor: Any, next_xid: int, max_events: int) -> _Reach:
    """The transactions to take: from the cursor up to, not including, the oldest one still open when this was asked.

    Every transaction below that one has ended, so what it recorded is visible to the statements that follow.
    """
    cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    (horizon,) = cursor.fetchone()
    if horizon < next_xid:
        raise TransactionCounterWentBack(
            f"The oldest open transaction is {horizon}, aggregation stands at {next_xid}:"
            " was this server restored from a dump?"
        )
    cursor.execute(
        "SELECT recorded_xid FROM metering_event WHERE recorded_xid >= %s AND recorded_xid < %s"
        " ORDER BY recorded_xid OFFSET %s LIMIT 1",
        [next_xid, horizon, max_events],
    )
    row = cursor.fetchone()
    if row is None:
        return _Reach(next_xid, horizon, drained=True)
    cursor.execute(
        "SELECT min(recorded_xid) FROM metering_event WHERE recorded_xid >= %s AND recorded_xid < %s",
        [next_xid, horizon],
    )
    (first,) = cursor.fetchone()
    return _Reach(next_xid, row[0] if row[0] > first else first + 1, drained=False)


def _aggregated_through(
    cursor: Any, reach: _Reach, now: datetime, through: datetime | None
) -> tuple[int, datetime | None]:
    """How many recorded events are left, and the instant before which every acknowledged event is in its window.

    An event is acknowledged after its transaction committed, and that is after it was received. So the earliest receipt
    among the visible events not taken yet bounds it; an event not visible yet will be acknowledged after `now`. With a
    backlog the former instant stands: looking through all of it every time would cost more than working it off.
    """
    if not reach.drained:
        return 1, through
    cursor.execute(
        "SELECT count(*), min(received_at) FROM"
        " (SELECT received_at FROM metering_event WHERE recorded_xid >= %s LIMIT %s) AS pending",
        [reach.end, _MAX_PENDING + 1],
    )
    pending, oldest = cursor.fetchone()
    if pending > _MAX_PENDING:
        return pending, through
    bound = now if oldest is None else min(now, oldest)
    return pending, bound if through is None else max(through, bound)


def mismatches(*, start: datetime, end: datetime, customer_keys: Sequence[str] | None) -> Iterator[WindowMismatch]:
    """Windows of [start, end) that differ from their raw events; a day at a time, each in one snapshot."""
    keys = None if customer_keys is None else list(customer_keys)
    while start < end:
        slice_end = min(start + _VERIFY_SLICE, end)
        with connection.cursor() as cursor:
            cursor.execute(_MISMATCHES, {"start": start, "end": slice_end, "keys": keys})
            rows = cursor.fetchall()
        for window_start, customer_key, code, dimensions, *figures in rows:
            yield WindowMismatch(
                window_start,
                customer_key,
                code,
                msgspec.json.decode(dimensions),
                _figures(figures[:3]),
                _figures(figures[3:]),
            )
        start = slice_end


def sum_events(start: datetime, end: datetime) -> list[tuple[str, Decimal, int]]:
    """Per meter code, quantity and number of the raw events of [start, end), by the definition that windows are made
    by."""
    with connection.cursor() as cursor:
        cursor.execute(_EVENT_SUMS, {"start": start, "end": end})
        return list(cursor.fetchall())


def _figures(values: Sequence[Any]) -> WindowFigures | None:
    quantity, event_count, fingerprint = values
    return None if event_count is None else WindowFigures(quantity, event_count, int(fingerprint))
