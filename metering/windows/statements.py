"""What an advance does with a chunk of new events: figures first, then what windows of other aggregations keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from metering.windows.figures import average, gauge_state, micros
from metering.windows.pairs import ADDITIVE, EVENT, GAUGES, HIGHEST, LOWEST, METERS, NAMED, UNIQUE, pairs
from metering.windows.repair import GAUGE_COLUMNS, Touched


@dataclass(frozen=True, slots=True)
class TakenEvents:
    """What became of a chunk's events and of their (event, meter) pairs."""

    events: int
    unmatched: int
    pairs: int
    counted: int
    absent: int
    invalid: int
    filtered: int
    windows: int
    received: tuple[tuple[datetime, int], ...]


_CHUNK = f"""
    SELECT {EVENT} FROM metering_event AS e WHERE e.recorded_xid >= %(start)s AND e.recorded_xid < %(end)s
"""
# One pass over all pairs: what is excluded is grouped like the rest, so that every pair is told of.
_EVENTS = f"""
WITH meter AS MATERIALIZED ({METERS}
), chunk AS MATERIALIZED ({_CHUNK}
), grouped AS MATERIALIZED (
    SELECT window_start, customer_key, meter_id, only_value, dimension_values, state,
           count(*) AS event_count, sum(quantity) AS total, sum(print) AS fingerprint {{extremes}}
      FROM ({pairs("chunk")}) AS p
     GROUP BY window_start, customer_key, meter_id, only_value, dimension_values, state
), counted AS MATERIALIZED (
    SELECT n.*, m.aggregation FROM ({NAMED}) AS n JOIN meter AS m ON m.id = n.meter_id WHERE n.state = 0
){{stored}}, changed AS (
    INSERT INTO metering_customer_change AS c (customer_key, change_seq)
    SELECT DISTINCT customer_key, %(change_seq)s::bigint FROM counted ORDER BY customer_key
        ON CONFLICT (customer_key) DO UPDATE SET change_seq = excluded.change_seq
), tally AS MATERIALIZED (
    SELECT meter_id, sum(event_count)::bigint AS pairs,
           coalesce(sum(event_count) FILTER (WHERE state = 0), 0)::bigint AS counted,
           coalesce(sum(event_count) FILTER (WHERE state = 1), 0)::bigint AS absent,
           coalesce(sum(event_count) FILTER (WHERE state = 2), 0)::bigint AS invalid,
           coalesce(sum(event_count) FILTER (WHERE state = 3), 0)::bigint AS filtered
      FROM grouped GROUP BY meter_id
), tallied AS (
    INSERT INTO metering_meter_tally AS t
           (meter_id, pairs, counted, excluded_absent, excluded_invalid, excluded_filtered, voided, restored)
    SELECT meter_id, pairs, counted, absent, invalid, filtered, 0, 0 FROM tally ORDER BY meter_id
        ON CONFLICT (meter_id) DO UPDATE
       SET pairs = t.pairs + excluded.pairs, counted = t.counted + excluded.counted,
           excluded_absent = t.excluded_absent + excluded.excluded_absent,
           excluded_invalid = t.excluded_invalid + excluded.excluded_invalid,
           excluded_filtered = t.excluded_filtered + excluded.excluded_filtered
), receipt AS MATERIALIZED (
    SELECT received_at, count(*) AS events FROM chunk GROUP BY received_at
)
SELECT (SELECT coalesce(sum(events), 0)::bigint FROM receipt),
       (SELECT count(*) FROM chunk AS e WHERE NOT EXISTS (
               SELECT FROM meter AS m WHERE m.event_type = e.event_type AND e.recorded_xid >= m.counts_from_xid
                  AND (m.counts_before_xid IS NULL OR e.recorded_xid < m.counts_before_xid))),
       coalesce(sum(pairs), 0)::bigint, coalesce(sum(counted), 0)::bigint, coalesce(sum(absent), 0)::bigint,
       coalesce(sum(invalid), 0)::bigint, coalesce(sum(filtered), 0)::bigint, (SELECT count(*) FROM counted),
       (SELECT array_agg(received_at ORDER BY received_at) FROM receipt),
       (SELECT array_agg(events ORDER BY received_at) FROM receipt)
  FROM tally
"""
# One for each way in which an hour's quantity goes on. What the others say is set when their state is kept.
_STORED = """, {name} AS (
    INSERT INTO metering_window AS w
           (window_start, customer_key, meter_id, dimensions, quantity, event_count, fingerprint, updated_at)
    SELECT window_start, customer_key, meter_id, dimensions, {quantity}, event_count, fingerprint, %(now)s
      FROM counted WHERE aggregation = ANY('{{{aggregations}}}'::text[])
     ORDER BY window_start, customer_key, meter_id
        ON CONFLICT (window_start, customer_key, meter_id, dimensions_key) DO UPDATE
       SET quantity = {merged}, event_count = w.event_count + excluded.event_count,
           fingerprint = w.fingerprint + excluded.fingerprint, updated_at = excluded.updated_at
)"""
_WAYS = (
    ("stored_sums", ADDITIVE, "total", "w.quantity + excluded.quantity"),
    (
        "stored_highest",
        HIGHEST,
        "highest",
        "CASE w.event_count WHEN 0 THEN excluded.quantity ELSE greatest(w.quantity, excluded.quantity) END",
    ),
    (
        "stored_lowest",
        LOWEST,
        "lowest",
        "CASE w.event_count WHEN 0 THEN excluded.quantity ELSE least(w.quantity, excluded.quantity) END",
    ),
    ("stored_others", (*UNIQUE, *GAUGES), "0", "w.quantity"),
)
_SAME_WINDOW = "USING (window_start, customer_key, meter_id, dimensions)"

# A value adds to its window's number when its first event comes.
_VALUES = f"""
WITH meter AS MATERIALIZED ({METERS}
), chunk AS ({_CHUNK}
), grouped AS (
    SELECT window_start, customer_key, meter_id, only_value, dimension_values, value_key, count(*) AS events
      FROM ({pairs("chunk", meters="(SELECT * FROM meter WHERE is_unique)")}) AS p WHERE state = 0
     GROUP BY window_start, customer_key, meter_id, only_value, dimension_values, value_key
), named AS ({NAMED}
), found AS MATERIALIZED (
    SELECT w.id AS window_id, n.value_key, n.events, v.window_id IS NULL AS is_new
      FROM named AS n
      JOIN metering_window AS w
        ON (w.window_start, w.customer_key, w.meter_id) = (n.window_start, n.customer_key, n.meter_id)
       AND w.dimensions_key = md5(n.dimensions::text)::uuid
      LEFT JOIN metering_window_value AS v ON v.window_id = w.id AND v.value_key = n.value_key
), stored AS (
    INSERT INTO metering_window_value AS v (window_id, value_key, events)
    SELECT window_id, value_key, events FROM found ORDER BY window_id, value_key
        ON CONFLICT (window_id, value_key) DO UPDATE SET events = v.events + excluded.events
)
UPDATE metering_window AS w SET quantity = w.quantity + f.new_values
  FROM (SELECT window_id, count(*) FILTER (WHERE is_new) AS new_values FROM found GROUP BY window_id) AS f
 WHERE w.id = f.window_id AND f.new_values > 0
"""

# Later events are appended. With one among them that lies before the last one known, a `last` keeps what is last, and
# an average is stale: its window is worked out again from raw events.
_FIRST_NEW = "(excluded.first_time, excluded.first_event_id, excluded.first_source)"
_LAST_NEW = "(excluded.last_time, excluded.last_event_id, excluded.last_source)"
_LAST_KNOWN = "(k.last_time, k.last_event_id, k.last_source)"
_APPENDS = f"{_FIRST_NEW} > {_LAST_KNOWN}"
_IS_LATER = f"{_LAST_NEW} > {_LAST_KNOWN}"
_GAUGES = f"""
WITH meter AS MATERIALIZED ({METERS}
), chunk AS ({_CHUNK}
), state AS MATERIALIZED ({gauge_state("chunk")}
), stored AS (
    INSERT INTO metering_window_gauge AS k ({GAUGE_COLUMNS})
    SELECT {GAUGE_COLUMNS.replace("dimensions_key", "md5(dimensions::text)::uuid")}
      FROM state ORDER BY customer_key, meter_id, 3, window_start
        ON CONFLICT (customer_key, meter_id, dimensions_key, window_start) DO UPDATE
       SET stale = NOT ({_APPENDS}) AND (SELECT aggregation FROM meter WHERE id = k.meter_id) <> 'last',
           last_time = CASE WHEN {_IS_LATER} THEN excluded.last_time ELSE k.last_time END,
           last_event_id = CASE WHEN {_IS_LATER} THEN excluded.last_event_id ELSE k.last_event_id END,
           last_source = CASE WHEN {_IS_LATER} THEN excluded.last_source ELSE k.last_source END,
           last_value = CASE WHEN {_IS_LATER} THEN excluded.last_value ELSE k.last_value END,
           integral = k.integral + excluded.integral
                      + CASE WHEN {_APPENDS}
                             THEN k.last_value * {micros("excluded.first_time", "k.last_time")} ELSE 0 END
    RETURNING k.*
), set_right AS (
    UPDATE metering_window AS w
       SET quantity = CASE m.aggregation WHEN 'last' THEN k.last_value
                      ELSE {average("k", "k.window_start + interval '1 hour'")} END
      FROM stored AS k JOIN meter AS m ON m.id = k.meter_id
     WHERE (w.window_start, w.customer_key, w.meter_id, w.dimensions_key)
           = (k.window_start, k.customer_key, k.meter_id, k.dimensions_key) AND NOT k.stale
)
SELECT k.window_start, k.customer_key, k.meter_id, k.dimensions::text, m.aggregation
  FROM stored AS k JOIN meter AS m ON m.id = k.meter_id WHERE k.stale
"""


def take_events(cursor: Any, kinds: Sequence[str], parameters: Mapping[str, Any]) -> TakenEvents:
    """Add the events of the transactions [start, end) to the figures of their windows."""
    used = [way for way in _WAYS if set(way[1]).intersection(kinds)]
    stored = "".join(
        _STORED.format(name=name, aggregations=",".join(aggregations), quantity=quantity, merged=merged)
        for name, aggregations, quantity, merged in used
    )
    extremes = ", max(quantity) AS highest" if set(HIGHEST).intersection(kinds) else ""
    extremes += ", min(quantity) AS lowest" if set(LOWEST).intersection(kinds) else ""
    cursor.execute(_EVENTS.format(stored=stored, extremes=extremes), parameters)
    *figures, times, counts = cursor.fetchone()
    names = ("events", "unmatched", "pairs", "counted", "absent", "invalid", "filtered", "windows")
    received = tuple(zip(times or (), counts or (), strict=True))
    return TakenEvents(**dict(zip(names, figures, strict=True)), received=received)


def keep(kinds: Sequence[str], parameters: Mapping[str, Any]) -> list[Touched]:
    """Keep what the windows of unique counts and gauges need of the same events; returns the windows that must be
    worked out from raw events, as events came out of order."""
    with connection.cursor() as cursor:
        if set(kinds).intersection(UNIQUE):
            cursor.execute(_VALUES, parameters)
        if not set(kinds).intersection(GAUGES):
            return []
        cursor.execute(_GAUGES, parameters)
        return [Touched(*row) for row in cursor.fetchall()]
