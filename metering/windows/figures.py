"""What windows must hold, worked out from raw events: for proving and repairing them, for windows that a void changed,
and for the hours that a range cuts in two."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from django.db import connection

from metering.windows.pairs import DIMENSIONS, EFFECTIVE, GAUGES, METERS, PLAIN, SETTLED, UNIQUE, VOIDED, pairs

NOTHING_KEPT = (
    "''::text AS kept, NULL::timestamptz AS first_time, NULL::text AS first_event_id, NULL::text AS first_source,"
    " NULL::numeric AS first_value, NULL::timestamptz AS last_time, NULL::text AS last_event_id,"
    " NULL::text AS last_source, NULL::numeric AS last_value, NULL::numeric AS integral"
)
GROUP = "window_start, piece, customer_key, meter_id, only_value, dimension_values"
STRICT_ORDER = 'event_time, event_id COLLATE "C", source COLLATE "C"'
"""Events of one instant have an order too, so that the last one is the same whoever asks and whenever."""


def micros(later: str, earlier: str) -> str:
    """SQL of the microseconds between two instants, exact."""
    return f"(extract(epoch FROM {later} - {earlier}) * 1000000)::bigint"


def average(gauge: str, end: str) -> str:
    """SQL of a gauge's own average over its window: from its first event to `end`, 12 places, half away from zero.

    What it was before the first event, the window cannot know: `queries.usage` carries it over. The division is made
    with 24 places, more than any quotient of 12-place values by an hour of microseconds needs to be rounded rightly.
    """
    return (
        f"round(({gauge}.integral + {gauge}.last_value * {micros(end, f'{gauge}.last_time')})::numeric(60, 24)"
        f" / {micros(end, f'{gauge}.first_time')}, 12)"
    )


# The text by which what a window keeps is compared and shown.
LAST_KEPT = (
    "concat('last ', to_char({0}.last_time AT TIME ZONE 'UTC', 'HH24:MI:SS.US'), ' ', {0}.last_event_id, ' ',"
    " {0}.last_source, ' = ', trim_scale({0}.last_value))"
)
AVERAGE_KEPT = (
    "concat('first ', to_char({0}.first_time AT TIME ZONE 'UTC', 'HH24:MI:SS.US'), ' ', {0}.first_event_id, ' ',"
    " {0}.first_source, ' = ', trim_scale({0}.first_value), ', ', "
    + LAST_KEPT
    + ", ', integral ', trim_scale({0}.integral))"
)
VALUES_KEPT = "concat(count(*), ' values, fingerprint ', sum(uuid_hash_extended({0}, {1}) & 1152921504606846975))"

_PLAIN = f"""
SELECT g.window_start, g.piece, g.customer_key, g.meter_id, {DIMENSIONS} AS dimensions,
       CASE WHEN m.aggregation IN ('sum', 'count') THEN g.total
            WHEN m.aggregation = 'min' THEN g.lowest ELSE g.highest END AS quantity,
       g.event_count, g.fingerprint, {NOTHING_KEPT}
  FROM (SELECT {GROUP}, sum(quantity) AS total, max(quantity) AS highest, min(quantity) AS lowest,
               count(*) AS event_count, sum(print) AS fingerprint
          FROM ({{pairs}}) AS p WHERE state = 0 GROUP BY {GROUP}) AS g JOIN meter AS m ON m.id = g.meter_id
"""
_UNIQUE = f"""
SELECT g.window_start, g.piece, g.customer_key, g.meter_id, {DIMENSIONS} AS dimensions,
       g.quantity::numeric, g.event_count, g.fingerprint, {NOTHING_KEPT.replace("''::text AS kept", "g.kept")}
  FROM (SELECT {GROUP}, count(*) AS quantity, sum(events)::bigint AS event_count, sum(prints) AS fingerprint,
               {VALUES_KEPT.format("value_key", "events")} AS kept
          FROM (SELECT {GROUP}, value_key, count(*) AS events, sum(print) AS prints
                  FROM ({{pairs}}) AS p WHERE state = 0 GROUP BY {GROUP}, value_key) AS v
         GROUP BY {GROUP}) AS g JOIN meter AS m ON m.id = g.meter_id
"""
_GAUGE_STATE = f"""
SELECT g.window_start, g.piece, g.customer_key, g.meter_id, {DIMENSIONS} AS dimensions, m.aggregation,
       g.event_count, g.fingerprint, g.first_time, g.first_ids[1] AS first_event_id, g.first_ids[2] AS first_source,
       g.first_value, g.last_time, g.last_ids[1] AS last_event_id, g.last_ids[2] AS last_source, g.last_value,
       coalesce(g.integral, 0) AS integral
  FROM (SELECT {GROUP}, count(*) AS event_count, sum(print) AS fingerprint,
               min(event_time) AS first_time, max(event_time) AS last_time,
               min(CASE WHEN at_first THEN quantity END) AS first_value,
               min(CASE WHEN at_last THEN quantity END) AS last_value,
               min(CASE WHEN at_first THEN ids END) AS first_ids, min(CASE WHEN at_last THEN ids END) AS last_ids,
               sum(quantity * {micros("next_time", "event_time")}) AS integral
          FROM (SELECT *, ARRAY[event_id::text, source::text] AS ids, lead(event_time) OVER series AS next_time,
                       lag(event_time) OVER series IS NULL AS at_first, lead(event_time) OVER series IS NULL AS at_last
                  FROM ({{pairs}}) AS p WHERE state = 0
                WINDOW series AS (PARTITION BY {GROUP} ORDER BY {STRICT_ORDER})) AS s
         GROUP BY {GROUP}) AS g JOIN meter AS m ON m.id = g.meter_id
"""
_GAUGES = f"""
SELECT s.window_start, s.piece, s.customer_key, s.meter_id, s.dimensions,
       CASE s.aggregation WHEN 'last' THEN s.last_value ELSE {{average}} END AS quantity,
       s.event_count, s.fingerprint,
       CASE s.aggregation WHEN 'last' THEN {LAST_KEPT.format("s")}
            ELSE {AVERAGE_KEPT.format("s")} END AS kept,
       s.first_time, s.first_event_id, s.first_source, s.first_value,
       s.last_time, s.last_event_id, s.last_source, s.last_value, s.integral
  FROM ({_GAUGE_STATE}) AS s
"""


def figures(
    events: str, kinds: Iterable[str], *, piece: str = "0", end: str = "s.window_start + interval '1 hour'"
) -> str:
    """SQL of the windows that the events of the relation `events` make, of meters of these aggregations.

    `piece` parts an hour that a range cuts: an expression over the pair's event_time. `end` is where an hour's average
    ends. The relation `meter` must be in scope. The statement tells the windows' figures, what they keep as text, and a
    gauge's state.
    """
    found = set(kinds)
    parts = []
    for aggregations, statement in ((PLAIN, _PLAIN), (UNIQUE, _UNIQUE), (GAUGES, _GAUGES)):
        wanted = sorted(found.intersection(aggregations))
        if not wanted:
            continue
        meters = f"(SELECT * FROM meter WHERE aggregation = ANY('{{{','.join(wanted)}}}'::text[]))"
        source = f"SELECT *, {piece} AS piece FROM ({pairs(events, meters=meters)}) AS whole"
        parts.append(statement.format(pairs=source, average=average("s", end)))
    return " UNION ALL ".join(parts)


def gauge_state(events: str) -> str:
    """SQL of what the gauges among the pairs of `events` keep, by window; `piece` is 0."""
    meters = f"(SELECT * FROM meter WHERE aggregation = ANY('{{{','.join(GAUGES)}}}'::text[]))"
    source = f"SELECT *, 0 AS piece FROM ({pairs(events, meters=meters)}) AS whole"
    return _GAUGE_STATE.format(pairs=source)


def kinds_in_use() -> list[str]:
    """The aggregations that any version of any meter has. Never none, so that statements can be made of them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT aggregation FROM metering_meter ORDER BY 1")
        return [kind for (kind,) in cursor.fetchall()] or ["sum"]


_EVENT_SUMS = """
WITH settled AS MATERIALIZED (SELECT {far} AS xid), meter AS MATERIALIZED ({meters}), voided AS ({voided}
), effective AS ({effective}), figure AS ({figures})
SELECT m.code, sum(f.quantity), sum(f.event_count)::bigint
  FROM figure AS f JOIN metering_meter AS m ON m.id = f.meter_id
 GROUP BY m.code ORDER BY m.code
"""


def sum_events(start: datetime, end: datetime) -> list[tuple[str, Decimal, int]]:
    """Per meter code, the sum of the hours' quantities and the number of the events of [start, end) that are not void,
    by the definition that windows are made by. Includes events that are not in windows yet."""
    statement = _EVENT_SUMS.format(
        far="9223372036854775807",
        meters=METERS,
        voided=VOIDED,
        effective=EFFECTIVE,
        figures=figures("effective", kinds_in_use()),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, {"start": start, "end": end, "keys": None})
        return list(cursor.fetchall())


PREAMBLE = f"""
WITH settled AS MATERIALIZED ({SETTLED}), meter AS MATERIALIZED ({METERS}), voided AS MATERIALIZED ({VOIDED}
), effective AS ({EFFECTIVE})
"""
"""What statements over effective raw events begin with. Parameters: start, end, keys."""
