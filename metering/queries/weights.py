"""
The events behind windows, in order, and how much each of them weighs in its window.

An hour's usage is priced as a whole; what of it is one event's follows from its weight. Where quantities add up, the
weight of an event is its quantity. Where they do not: of different values, the first event with a value weighs 1 and
its repetitions nothing; of a highest, lowest or last value, the event that set it weighs 1; of a time-weighted average,
an event weighs its value times the microseconds for which it held.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, Decimal, Inexact
from itertools import groupby
from typing import Any

import msgspec
from django.db import connection

from metering.archived import EventsArchived, archived_months_between
from metering.event_keys import event_key
from metering.windows.figures import PREAMBLE
from metering.windows.pairs import DIMENSIONS, EXTREME, HIGHEST, UNIQUE, WINDOW, pairs

_NOTHING, _ONE = Decimal(0), Decimal(1)
# Holds the product of a value of 30 digits and the microseconds of an hour.
_EXACT = Context(prec=60, traps=[Inexact])
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class WeighedEvent:
    """An event that is counted in a window. `value` is what it counted with, in the meter's unit."""

    event_time: datetime
    source: str
    event_id: str
    window_start: datetime
    meter_code: str
    meter_version: int
    dimensions: dict[str, str | None]
    value: Decimal
    weight: Decimal

    @property
    def key(self) -> str:
        """The event's key: 32 hexadecimal digits."""
        return event_key(self.source, self.event_id)


_PAIRS = f"""
{PREAMBLE}, g AS MATERIALIZED (SELECT * FROM ({pairs("effective")}) AS p WHERE p.state = 0)
SELECT g.window_start, c.code, c.version, {DIMENSIONS}::text AS dims, m.aggregation, g.value_key::text,
       g.event_time, g.source, g.event_id, g.quantity
  FROM g JOIN meter AS m ON m.id = g.meter_id JOIN metering_meter AS c ON c.id = m.id
 WHERE %(code)s::text IS NULL OR c.code = %(code)s::text
 ORDER BY g.window_start, c.code, c.version, dims, g.event_time, g.source COLLATE "C", g.event_id COLLATE "C"
"""


def weighed_events(
    customer_key: str, start: datetime, end: datetime, *, meter_code: str | None = None, cuts: Sequence[datetime] = ()
) -> list[WeighedEvent]:
    """
    Return the events of [start, end) that are in windows, of one meter or of all: window by window, in each by time,
    source and id. One query. Where the range or one of `cuts`, which are in order, cuts an hour, the events of each
    part weigh among themselves, and `window_start` is where the part begins.

    Raises EventsArchived where raw events of the range are in an archive.
    """
    archived = archived_months_between(start, end)
    if archived:
        raise EventsArchived(
            f"The events of {archived[0].start:%Y-%m} are archived: what one of them cost can be told once the month"
            " was brought back with manage.py restore_usage_archive."
        )
    with connection.cursor() as cursor:
        cursor.execute(_PAIRS, {"start": start, "end": end, "keys": [customer_key], "code": meter_code})
        rows = cursor.fetchall()
    bounds = [start, *(cut for cut in cuts if start < cut < end), end]

    def part(row: Sequence[Any]) -> tuple[Any, ...]:
        return *row[:4], bisect_right(bounds, row[6])

    return [
        event
        for (*_, place), window in groupby(rows, key=part)
        for event in weighed(list(window), bounds[place - 1], bounds[place])
    ]


def weighed(rows: Sequence[Sequence[Any]], begin: datetime, end: datetime) -> Iterator[WeighedEvent]:
    """The events of one window, or of the part of it in [begin, end)."""
    hour, code, version, dimensions, aggregation = rows[0][:5]
    window_start, ends_at = max(hour, begin), min(hour + WINDOW, end)
    named = msgspec.json.decode(dimensions)
    for row, weight in zip(rows, _weights(aggregation, rows, ends_at), strict=True):
        at, source, event_id, value = row[6:]
        yield WeighedEvent(at, source, event_id, window_start, code, version, named, Decimal(value), weight)


def _weights(aggregation: str, rows: Sequence[Sequence[Any]], ends_at: datetime) -> list[Decimal]:
    values = [Decimal(row[9]) for row in rows]
    if aggregation in UNIQUE:
        return _first_seen([row[5] for row in rows])
    if aggregation in EXTREME:
        decisive = values.index(max(values) if aggregation in HIGHEST else min(values))
    elif aggregation == "last":
        decisive = max(range(len(rows)), key=lambda place: (rows[place][6], rows[place][8], rows[place][7]))
    elif aggregation == "time_weighted_average":
        return _held(values, [row[6] for row in rows], ends_at)
    else:
        return values
    return [_ONE if place == decisive else _NOTHING for place in range(len(rows))]


def _first_seen(keys: Sequence[str]) -> list[Decimal]:
    firsts = {key: place for place, key in reversed(list(enumerate(keys)))}
    return [_ONE if firsts[key] == place else _NOTHING for place, key in enumerate(keys)]


def _held(values: Sequence[Decimal], instants: Sequence[datetime], ends_at: datetime) -> list[Decimal]:
    """Each value times the microseconds until the next event, or the end."""
    until = [*instants[1:], ends_at]
    return [
        _EXACT.multiply(value, (later - at) // _MICROSECOND)
        for value, at, later in zip(values, instants, until, strict=True)
    ]
