"""
Usage by who held a dimension's value: values (say, members) belong to holders (say, groups) for spans of time.

Whole hours are added up in the database. An hour within which a value changes its holder, or that a boundary cuts, is
left out there and told apart by the caller: `windows_of_hours` are its windows, `weighed_events_of_hours` their events.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

import msgspec
from django.db import connection

from metering.archived import require_events
from metering.queries.weights import WeighedEvent, weighed
from metering.queries.windows import Window
from metering.spans import cut_hours
from metering.windows.pairs import DIMENSIONS, EFFECTIVE_OF_HOURS, METERS, SETTLED, VOIDED_OF_HOURS, pairs


@dataclass(frozen=True, slots=True)
class Holding:
    """A value belongs to a holder during [start, end). Of one value no two overlap."""

    value: str
    holder: int
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class HeldUsage:
    """
    The usage of whole hours of one piece that belongs to one holder; `piece` counts from 0, `dimensions` has the names
    asked for. `holder` is None where nobody held the value, or there is none; `is_told` is False where the meter does
    not keep the dimension at all.
    """

    piece: int
    holder: int | None
    is_told: bool
    meter_code: str
    dimensions: dict[str, str | None]
    quantity: Decimal
    event_count: int


# First by window's own dimensions and by the instants between which no value changes its holder: that is most of the
# work, and needs to look into no JSON. What is left is a row for each value, model and meter.
_HELD = """
WITH summed AS MATERIALIZED (
    SELECT width_bucket(w.window_start, %(instants)s::timestamptz[]) AS part, w.meter_id, w.dimensions,
           sum(w.quantity) AS quantity, sum(w.event_count)::bigint AS events
      FROM metering_window AS w
     WHERE w.customer_key = %(customer)s AND w.window_start >= %(first)s AND w.window_start < %(last)s
       AND w.window_start <> ALL(%(cut)s::timestamptz[]) AND w.event_count > 0
     GROUP BY 1, 2, 3
), part AS (
    SELECT * FROM unnest(%(instants)s::timestamptz[], %(pieces)s::int[]) WITH ORDINALITY AS p (begins, piece, part)
), holding AS MATERIALIZED (
    SELECT * FROM unnest(%(values)s::text[], %(holders)s::bigint[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
        AS h (value, holder, starts_at, ends_at)
), told AS (
    SELECT s.part, s.meter_id, s.dimensions ? %(dimension)s::text AS is_told,
           s.dimensions ->> %(dimension)s::text AS value,
           {names} AS named, s.quantity, s.events
      FROM summed AS s
)
SELECT p.piece, h.holder, t.is_told, m.code, t.named::text, sum(t.quantity), sum(t.events)::bigint
  FROM told AS t JOIN part AS p ON p.part = t.part
  LEFT JOIN holding AS h ON h.value = t.value AND h.starts_at <= p.begins AND p.begins < h.ends_at
  JOIN metering_meter AS m ON m.id = t.meter_id
 GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""
_WINDOWS = """
SELECT w.window_start, w.customer_key, m.code, m.version, w.dimensions::text, w.quantity, w.event_count, w.fingerprint
  FROM metering_window AS w JOIN metering_meter AS m ON m.id = w.meter_id
 WHERE w.customer_key = %s AND w.window_start = ANY(%s::timestamptz[]) AND w.event_count > 0
 ORDER BY w.window_start, m.code, m.version, w.dimensions
"""
_EVENTS = f"""
WITH settled AS MATERIALIZED ({SETTLED}), voided AS MATERIALIZED ({VOIDED_OF_HOURS}), meter AS MATERIALIZED ({METERS}),
effective AS ({EFFECTIVE_OF_HOURS}),
g AS MATERIALIZED (SELECT * FROM ({pairs("effective")}) AS p WHERE p.state = 0)
SELECT g.window_start, c.code, c.version, {DIMENSIONS}::text AS dims, m.aggregation, g.value_key::text,
       g.event_time, g.source, g.event_id, g.quantity
  FROM g JOIN meter AS m ON m.id = g.meter_id JOIN metering_meter AS c ON c.id = m.id
 WHERE g.event_time >= %(start)s AND g.event_time < %(end)s
 ORDER BY g.window_start, c.code, c.version, dims, g.event_time, g.source COLLATE "C", g.event_id COLLATE "C"
"""


def hours_to_tell_apart(instants: Sequence[datetime], holdings: Iterable[Holding]) -> list[datetime]:
    """The hours of [first, last) of `instants` that one of these, or a change of a holder, cuts."""
    start, end = instants[0], instants[-1]
    changes = {at for one in holdings for at in (one.start, one.end) if start < at < end}
    return cut_hours(sorted({*instants, *changes}))


def usage_by_holder(
    customer_key: str,
    instants: Sequence[datetime],
    *,
    dimension: str,
    holdings: Sequence[Holding],
    names: Sequence[str] = (),
) -> list[HeldUsage]:
    """
    A customer's usage between neighbouring instants by holder, without the hours of `hours_to_tell_apart`: the windows'
    quantities added up, in no more than one statement. Only for meters whose hours add up is that usage; for others it
    is what is priced by the hour.
    """
    start, end = instants[0], instants[-1]
    bounds = sorted({at for one in holdings for at in (one.start, one.end) if start < at < end} | set(instants[:-1]))
    parameters: dict[str, Any] = {
        "customer": customer_key,
        "instants": bounds,
        "pieces": [bisect_right(instants, at) - 1 for at in bounds],
        "first": start,
        "last": end,
        "cut": hours_to_tell_apart(instants, holdings),
        "dimension": dimension,
        "values": [one.value for one in holdings],
        "holders": [one.holder for one in holdings],
        "starts": [one.start for one in holdings],
        "ends": [one.end for one in holdings],
    }
    pieces = []
    for place, name in enumerate(names):
        parameters[f"name_{place}"] = name
        pieces.append(f"%(name_{place})s::text, s.dimensions ->> %(name_{place})s::text")
    statement = _HELD.format(names=f"jsonb_build_object({', '.join(pieces)})")
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [
            HeldUsage(piece, holder, is_told, code, msgspec.json.decode(named), quantity, events)
            for piece, holder, is_told, code, named, quantity, events in cursor.fetchall()
        ]


def windows_of_hours(customer_key: str, hours: Sequence[datetime]) -> list[Window]:
    """The customer's windows of some hours, whole, that have events."""
    with connection.cursor() as cursor:
        cursor.execute(_WINDOWS, [customer_key, list(hours)])
        return [
            Window(start, key, code, version, msgspec.json.decode(dims), quantity, count, int(fingerprint))
            for start, key, code, version, dims, quantity, count, fingerprint in cursor.fetchall()
        ]


def weighed_events_of_hours(
    customer_key: str, hours: Sequence[datetime], start: datetime, end: datetime, *, cuts: Sequence[datetime] = ()
) -> list[WeighedEvent]:
    """
    As `weighed_events` of [start, end), of some hours only; one query. `cuts`, in order, part hours too. Raises
    EventsArchived where raw events of these hours are in an archive.
    """
    if not hours:
        return []
    require_events(list(hours))
    parameters: dict[str, Any] = {"keys": [customer_key], "cut": list(hours), "start": start, "end": end}
    with connection.cursor() as cursor:
        cursor.execute(_EVENTS, parameters)
        rows = cursor.fetchall()
    bounds = [start, *(cut for cut in cuts if start < cut < end), end]

    def part(row: Sequence[Any]) -> tuple[Any, ...]:
        return *row[:4], bisect_right(bounds, row[6])

    return [
        event
        for (*_, place), window in groupby(rows, key=part)
        for event in weighed(list(window), bounds[place - 1], bounds[place])
    ]
