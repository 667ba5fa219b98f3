"""SQL that reads a range: whole hours from windows, hours that a boundary cuts from raw events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from metering.spans import cut_hours, hour_of
from metering.windows.figures import figures
from metering.windows.pairs import (
    DIMENSIONS,
    EFFECTIVE_OF_HOURS,
    GAUGES,
    METERS,
    SETTLED,
    VOIDED_OF_HOURS,
    pairs,
)

Statement = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Question:
    """One customer's usage of the versions of one meter, in order, between neighbouring instants."""

    customer_key: str
    meter_ids: tuple[int, ...]
    instants: tuple[datetime, ...]
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)


CUT_PREAMBLE = f"""
    settled AS MATERIALIZED ({SETTLED}), voided AS MATERIALIZED ({VOIDED_OF_HOURS}),
    meter AS MATERIALIZED ({METERS} WHERE %(meters)s::bigint[] IS NULL OR id = ANY(%(meters)s::bigint[])),
    effective AS ({EFFECTIVE_OF_HOURS})
"""
PIECE = "width_bucket(event_time, %(bounds)s::timestamptz[])"
_GAUGE_STATE = "{0}.first_time, {0}.last_time, {0}.last_event_id, {0}.last_source, {0}.last_value, {0}.integral"
_NO_STATE = (
    "NULL::timestamptz AS first_time, NULL::timestamptz AS last_time, NULL::text AS last_event_id,"
    " NULL::text AS last_source, NULL::numeric AS last_value, NULL::numeric AS integral"
)
_WHOLE = """
    SELECT width_bucket(w.window_start, %(bounds)s::timestamptz[]) AS bucket, w.id AS window_id, w.window_start,
           w.meter_id, w.dimensions, w.quantity, w.event_count, {state}
      FROM metering_window AS w {gauge}
     WHERE w.customer_key = %(customer)s AND w.window_start >= %(first)s AND w.window_start < %(last)s
       AND w.meter_id = ANY(%(meters)s::bigint[]) AND w.event_count > 0
       AND w.window_start <> ALL(%(cut)s::timestamptz[])
"""
_JOIN_GAUGE = """
      JOIN metering_window_gauge AS k
        ON (k.customer_key, k.meter_id, k.dimensions_key, k.window_start)
           = (w.customer_key, w.meter_id, w.dimensions_key, w.window_start)
"""
_PARTS = """
part AS MATERIALIZED (
    SELECT * FROM ({whole} {cut}) AS every WHERE {where}
)
"""
# How the parts of a span are put together, by aggregation.
_COMBINED = {
    "sum": "SELECT bucket, {group} AS dims, sum(quantity), sum(event_count)::bigint FROM part GROUP BY 1, 2",
    "max": "SELECT bucket, {group} AS dims, max(quantity), sum(event_count)::bigint FROM part GROUP BY 1, 2",
    "min": "SELECT bucket, {group} AS dims, min(quantity), sum(event_count)::bigint FROM part GROUP BY 1, 2",
    "window_max": """
        SELECT bucket, dims, sum(highest), sum(events)::bigint
          FROM (SELECT bucket, {group} AS dims, window_start, max(quantity) AS highest, sum(event_count) AS events
                  FROM part GROUP BY 1, 2, 3) AS hour GROUP BY 1, 2
    """,
    "last": """
        SELECT DISTINCT ON (bucket, dims) bucket, dims, last_value, events
          FROM (SELECT bucket, {group} AS dims, last_value, last_time, last_event_id, last_source,
                       sum(event_count) OVER (PARTITION BY bucket, {group})::bigint AS events FROM part) AS ordered
         ORDER BY bucket, dims, last_time DESC, last_event_id COLLATE "C" DESC, last_source COLLATE "C" DESC
    """,
    "unique_count": """
        SELECT bucket, dims, coalesce(v.number, 0)::numeric, e.events
          FROM (SELECT bucket, {group} AS dims, sum(event_count)::bigint AS events FROM part GROUP BY 1, 2) AS e
          LEFT JOIN (SELECT bucket, dims, count(*) AS number
                       FROM (SELECT DISTINCT bucket, {group} AS dims, value_key FROM found) AS each
                      GROUP BY 1, 2) AS v USING (bucket, dims)
    """,
}
_COMBINED["count"] = _COMBINED["sum"]
_VALUES_OF_CUT = f"""
    SELECT bucket, {DIMENSIONS} AS dimensions, value_key
      FROM (SELECT DISTINCT {PIECE} AS bucket, meter_id, only_value, dimension_values, value_key
              FROM ({pairs("effective")}) AS p WHERE state = 0) AS g JOIN meter AS m ON m.id = g.meter_id
"""


def combined(question: Question, kind: str, group_by: Sequence[str]) -> Statement:
    """The usage of every span and group: its place from 1, the group as JSON text, the quantity, the number of events.
    For every aggregation but the time-weighted average."""
    parameters = _parameters(question)
    group = _group(group_by, parameters)
    inside = f"bucket BETWEEN 1 AND {len(question.instants) - 1}"
    where = f"{inside}{_where(question.where, parameters)}"
    with_clauses = [*_cut_clauses(parameters), _parts(kind, parameters, where)]
    if kind == "unique_count":
        with_clauses.append(_found_values(parameters, where))
    statement = f"WITH {', '.join(with_clauses)} {_COMBINED[kind].format(group=group)}"
    columns = "bucket, dims, quantity, events"
    return f"SELECT bucket, dims::text, quantity, events FROM ({statement}) AS u ({columns})", parameters


def _parameters(question: Question) -> dict[str, Any]:
    instants = question.instants
    return {
        "customer": question.customer_key,
        "keys": [question.customer_key],
        "meters": list(question.meter_ids),
        "bounds": list(instants),
        "first": hour_of(instants[0]),
        "last": instants[-1],
        "cut": cut_hours(instants),
    }


def _cut_clauses(parameters: Mapping[str, Any]) -> list[str]:
    return [CUT_PREAMBLE] if parameters["cut"] else []


def _parts(kind: str, parameters: Mapping[str, Any], where: str) -> str:
    is_gauge = kind in GAUGES
    state = _GAUGE_STATE.format("k") if is_gauge else _NO_STATE
    whole = _WHOLE.format(state=state, gauge=_JOIN_GAUGE if is_gauge else "")
    cut = ""
    if parameters["cut"]:
        cut = (
            "UNION ALL SELECT piece, NULL::bigint, window_start, meter_id, dimensions, quantity, event_count,"
            f" {_GAUGE_STATE.format('f')} FROM ({figures('effective', [kind], piece=PIECE)}) AS f"
        )
    return _PARTS.format(whole=whole, cut=cut, where=where)


def _found_values(parameters: Mapping[str, Any], where: str) -> str:
    cut = f"UNION ALL SELECT * FROM ({_VALUES_OF_CUT}) AS cut WHERE {where}" if parameters["cut"] else ""
    return (
        "found AS (SELECT part.bucket, part.dimensions, v.value_key FROM part"
        f" JOIN metering_window_value AS v ON v.window_id = part.window_id {cut})"
    )


def _group(names: Sequence[str], parameters: dict[str, Any]) -> str:
    pieces = []
    for place, name in enumerate(names):
        parameters[f"group_{place}"] = name
        pieces.append(f"%(group_{place})s::text, dimensions ->> %(group_{place})s::text")
    return f"jsonb_build_object({', '.join(pieces)})"


def _where(conditions: Mapping[str, Sequence[str]], parameters: dict[str, Any]) -> str:
    text = ""
    for place, (name, allowed) in enumerate(conditions.items()):
        parameters[f"name_{place}"], parameters[f"allowed_{place}"] = name, list(allowed)
        text += f" AND dimensions ->> %(name_{place})s::text = ANY(%(allowed_{place})s::text[])"
    return text


# Series by series: the next key is looked for, and of each the last row before the range. It does not read the history.
_BEFORE = """
    SELECT 0 AS bucket, k.window_start, k.meter_id, k.dimensions, 0::bigint AS event_count, {state}
      FROM series AS s JOIN LATERAL (
           SELECT * FROM metering_window_gauge AS g
            WHERE g.customer_key = %(customer)s AND g.meter_id = s.meter_id AND g.dimensions_key = s.dimensions_key
              AND g.window_start < %(first)s ORDER BY g.window_start DESC LIMIT 1) AS k ON true
"""
_SERIES = """
RECURSIVE series AS (
    SELECT m.meter_id, (SELECT g.dimensions_key FROM metering_window_gauge AS g
                         WHERE g.customer_key = %(customer)s AND g.meter_id = m.meter_id
                         ORDER BY g.dimensions_key LIMIT 1) AS dimensions_key
      FROM unnest(%(meters)s::bigint[]) AS m (meter_id)
     UNION ALL
    SELECT s.meter_id, (SELECT g.dimensions_key FROM metering_window_gauge AS g
                         WHERE g.customer_key = %(customer)s AND g.meter_id = s.meter_id
                           AND g.dimensions_key > s.dimensions_key ORDER BY g.dimensions_key LIMIT 1)
      FROM series AS s WHERE s.dimensions_key IS NOT NULL
)
"""


def gauge_parts(question: Question) -> Statement:
    """What every series of a time-weighted average needs, in order of time: meter, dimensions as JSON text, place of
    the span (0 before the range), events, first and last time, last value, integral."""
    parameters = _parameters(question)
    where = f"true{_where(question.where, parameters)}"
    clauses = [_SERIES, *_cut_clauses(parameters), _parts("time_weighted_average", parameters, where)]
    columns = "meter_id, dimensions, bucket, event_count, first_time, last_time, last_value, integral"
    before = _BEFORE.format(state=_GAUGE_STATE.format("k"))
    statement = (
        f"WITH {', '.join(clauses)} SELECT meter_id, dimensions::text, bucket, event_count, first_time, last_time,"
        f" last_value, integral FROM (SELECT {columns} FROM part UNION ALL"
        f" SELECT {columns} FROM ({before}) AS b WHERE {where}) AS every ORDER BY first_time, last_time"
    )
    return statement, parameters


def first_gauge_events(question: Question) -> Statement:
    """Of each version the customer's first event that is in a gauge."""
    statement = """
        SELECT meter_id, min(first_time) FROM metering_window_gauge
         WHERE customer_key = %(customer)s AND meter_id = ANY(%(meters)s::bigint[]) GROUP BY meter_id
    """
    return statement, {"customer": question.customer_key, "meters": list(question.meter_ids)}


def cut_windows(customer_keys: Sequence[str], start: datetime, end: datetime, kinds: Sequence[str]) -> Statement:
    """The windows that the events of [start, end) make in the hours that the range cuts: start of the hour, customer,
    meter, dimensions, quantity, events, fingerprint. An hour's average ends where the range does."""
    shorter = figures("effective", kinds, piece=PIECE, end="least(s.window_start + interval '1 hour', %(last)s)")
    statement = f"""
        WITH {CUT_PREAMBLE}
        SELECT window_start, customer_key, meter_id, dimensions, quantity, event_count, fingerprint
          FROM ({shorter}) AS f WHERE piece = 1
    """
    parameters = {"keys": list(customer_keys), "meters": None, "bounds": [start, end], "last": end}
    return statement, {**parameters, "cut": cut_hours([start, end])}
