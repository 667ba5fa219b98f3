"""(event, meter) pairs: which of them count, with which value. Every statement about windows is built on this one.

The pieces of SQL here are measured: a pair passes through them once, and they are most of what aggregation costs.
"""

from datetime import timedelta

WINDOW = timedelta(hours=1)

ADDITIVE = ("sum", "count")
HIGHEST = ("max", "window_max")
LOWEST = ("min",)
EXTREME = (*HIGHEST, *LOWEST)
UNIQUE = ("unique_count",)
GAUGES = ("last", "time_weighted_average")
PLAIN = (*ADDITIVE, *EXTREME)

COUNTED, ABSENT, INVALID, FILTERED = range(4)
"""What became of a pair: counted, or the reason it was excluded for."""

# The meters with their paths taken apart once instead of once an event.
METERS = """
    SELECT id, event_type, aggregation, aggregation = 'count' AS is_count, aggregation = 'unique_count' AS is_unique,
           dimensions::text[] AS dimensions, cardinality(dimensions) AS dimension_count,
           CASE WHEN cardinality(dimensions) = 1 AND strpos(dimensions[1], '.') = 0
                THEN dimensions[1]::text END AS only_dimension,
           (string_to_array(value_path, '.'))[2:] AS path,
           CASE WHEN cardinality(string_to_array(value_path, '.')) = 2
                THEN (string_to_array(value_path, '.'))[2] END AS only_step,
           CASE WHEN filters <> '[]' THEN filters END AS filters, counts_from_xid, counts_before_xid
      FROM metering_meter
"""
COUNTS = """
    m.event_type = e.event_type AND e.recorded_xid >= m.counts_from_xid
    AND (m.counts_before_xid IS NULL OR e.recorded_xid < m.counts_before_xid)
"""
EVENT = (
    "e.event_time, e.received_at, e.recorded_xid, e.source, e.event_id, e.event_type, e.customer_key, e.data,"
    " metering_identity(e.source, e.event_id, e.event_time) AS identity"
)
HOUR = "date_bin('1 hour', {0}, timestamptz '2000-01-01 00:00:00+00')"

_PAIRS = """
SELECT window_start, customer_key, meter_id, only_value, dimension_values, event_time, event_id, source, value_key,
       quantity, {extra}
       CASE WHEN filtered THEN 3 WHEN quantity IS NOT NULL THEN 0 WHEN value IS NULL OR value = 'null' THEN 1
            ELSE 2 END AS state,
       (CASE WHEN value_key IS NULL THEN hash_numeric_extended(quantity, identity)
             ELSE uuid_hash_extended(value_key, identity) END) & 1152921504606846975 AS print
  FROM (
    SELECT window_start, customer_key, meter_id, only_value, dimension_values, event_time, event_id, source, value_key,
           filtered, identity, value, {extra}
           CASE WHEN is_count OR value_key IS NOT NULL THEN 1
                WHEN is_unique THEN NULL
                WHEN number >= 0 AND number < 1000000000000000000 AND scale(number) <= 12 THEN number END AS quantity
      FROM (
        SELECT *, CASE WHEN is_unique THEN metering_value_key(value) END AS value_key,
               CASE WHEN is_count OR is_unique THEN NULL
                    WHEN jsonb_typeof(value) = 'number' THEN value::numeric
                    ELSE metering_quantity(value, ARRAY[]::text[]) END AS number
          FROM (
            SELECT {hour} AS window_start, e.customer_key, m.id AS meter_id, m.is_count, m.is_unique,
                   CASE WHEN m.only_dimension IS NOT NULL THEN left(e.data ->> m.only_dimension, 200) END AS only_value,
                   CASE WHEN m.only_dimension IS NULL AND m.dimension_count > 0
                        THEN metering_dimension_values(e.data, m.dimensions) END AS dimension_values,
                   CASE WHEN m.is_count THEN NULL
                        WHEN m.only_step IS NOT NULL THEN e.data -> m.only_step ELSE e.data #> m.path END AS value,
                   m.filters IS NOT NULL AND NOT metering_matches(e.data, m.filters) AS filtered,
                   e.event_time, e.event_id, e.source, e.identity {event_extra}
              FROM {events} AS e JOIN {meters} AS m ON {counts} OFFSET 0
          ) AS drawn OFFSET 0
      ) AS read OFFSET 0
  ) AS pair
"""

# A group's dimension values as the one object a window has. Built once a group: an object per pair would cost 1 us.
DIMENSIONS = """
    CASE WHEN m.dimension_count = 0 THEN jsonb_build_object()
         WHEN m.only_dimension IS NOT NULL THEN jsonb_build_object(m.only_dimension, g.only_value)
         ELSE jsonb_object(m.dimensions, g.dimension_values) END
"""

NAMED = f"SELECT g.*, {DIMENSIONS} AS dimensions FROM grouped AS g JOIN meter AS m ON m.id = g.meter_id"
"""SQL of the relation `grouped` with the object in place."""


def pairs(events: str, *, meters: str = "meter", extra: str = "") -> str:
    """SQL of all (event, meter) pairs of the relation `events`, which has the columns of EVENT.

    `quantity` is NULL for what cannot be counted; `state` says what became of the pair, `print` is its share of the
    fingerprint. `extra` names one more column of `events` that is passed on.
    """
    return _PAIRS.format(
        events=events,
        meters=meters,
        counts=COUNTS,
        hour=HOUR.format("e.event_time"),
        extra=f"{extra}," if extra else "",
        event_extra=f", e.{extra}" if extra else "",
    )


# The voided among the events of a time range: those whose marks settled so far do not add up to nothing.
VOIDED = """
    SELECT key FROM metering_event_mark
     WHERE event_time >= %(start)s AND event_time < %(end)s AND recorded_xid < (SELECT xid FROM settled)
     GROUP BY key HAVING sum(sign) < 0
"""
# The events of a range that windows must hold: aggregated already, and not void.
EFFECTIVE = f"""
    SELECT {EVENT} FROM metering_event AS e LEFT JOIN voided AS v ON v.key = e.key
     WHERE e.event_time >= %(start)s AND e.event_time < %(end)s AND e.recorded_xid < (SELECT xid FROM settled)
       AND v.key IS NULL AND (%(keys)s::text[] IS NULL OR e.customer_key = ANY(%(keys)s::text[]))
"""
SETTLED = "SELECT coalesce(max(next_xid), 0) AS xid FROM metering_cursor"

# The same of single hours, those that a range cuts in two; `cut` are their starts.
VOIDED_OF_HOURS = """
    SELECT k.key FROM unnest(%(cut)s::timestamptz[]) AS h (hour)
      JOIN metering_event_mark AS k ON k.event_time >= h.hour AND k.event_time < h.hour + interval '1 hour'
     WHERE k.recorded_xid < (SELECT xid FROM settled) GROUP BY k.key HAVING sum(k.sign) < 0
"""
EFFECTIVE_OF_HOURS = f"""
    SELECT {EVENT} FROM unnest(%(cut)s::timestamptz[]) AS h (hour)
      JOIN metering_event AS e ON e.event_time >= h.hour AND e.event_time < h.hour + interval '1 hour'
      LEFT JOIN voided AS v ON v.key = e.key
     WHERE e.recorded_xid < (SELECT xid FROM settled) AND v.key IS NULL AND e.customer_key = ANY(%(keys)s::text[])
"""
