"""How much was used, over any range: exact for every aggregation, to the microsecond, in any time zone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection

from metering import spans
from metering.archived import require_events
from metering.models import Meter
from metering.queries import gauge_usage
from metering.spans import InvalidRange, WindowSize
from metering.windows import ranges

__all__ = ["InvalidRange", "UnknownDimension", "UnknownMeter", "UsageRow", "WindowSize", "usage"]


class UnknownMeter(LookupError):
    """There is no meter of that code."""


class UnknownDimension(ValueError):
    """No version of the meter has that dimension."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Usage of the part of one hour, day or month that lies in the range: [start, end), UTC. `quantity` is in the
    meter's unit; `dimensions` has the names that were asked for, None where an event had no value."""

    start: datetime
    end: datetime
    dimensions: dict[str, str | None]
    quantity: Decimal
    event_count: int


def usage(
    customer_key: str,
    meter_code: str,
    start: datetime,
    end: datetime,
    *,
    window_size: WindowSize,
    time_zone: str = "UTC",
    group_by: Sequence[str] = (),
    where: Mapping[str, Sequence[str]] | None = None,
) -> list[UsageRow]:
    """A customer's usage of a meter in [start, end), by hour, day or month of the zone's wall clock, or in total; in
    order of time and then of dimensions. Spans without usage have no row. All versions of the meter count together.

    Whole UTC hours come from windows, the hours that a boundary cuts from raw events, so that it costs what the range
    costs and not what there is behind it. What each aggregation says over a range: `sum` and `count` add up; `max` and
    `min` are those of all its events; `last` is the last event's value, by (time, id, source); `unique_count` counts a
    value once; `window_max` adds up the maxima of its UTC hours, each of the part that lies in the span;
    `time_weighted_average` is what `metering.gauges` says, each set of dimension values a gauge of its own and
    several of them together their sum. Events count once they are aggregated, and unless they are void.

    `where` keeps events whose dimension has one of the texts. Raises UnknownMeter, UnknownDimension, InvalidRange;
    EventsArchived, one of these, where an hour is cut whose events are in an archive.
    """
    meters = list(Meter.objects.filter(code=meter_code).order_by("version"))
    if not meters:
        raise UnknownMeter(f"There is no meter {meter_code!r}.")
    conditions = dict(where or {})
    _check_dimensions(meters, [*group_by, *conditions])
    instants = spans.boundaries(start, end, window_size, spans.zone_named(time_zone))
    require_events(spans.cut_hours(instants))
    question = ranges.Question(customer_key, tuple(meter.id for meter in meters), tuple(instants), conditions)
    kind = meters[0].aggregation
    if kind == Meter.TIME_WEIGHTED_AVERAGE:
        found = gauge_usage.averages(question, group_by)
    else:
        found = _combined(question, kind, group_by)
    return [
        UsageRow(instants[place], instants[place + 1], dimensions, quantity, events)
        for place, dimensions, quantity, events in sorted(found, key=_in_order)
    ]


def _combined(
    question: ranges.Question, kind: str, group_by: Sequence[str]
) -> list[tuple[int, dict[str, str | None], Decimal, int]]:
    statement, parameters = ranges.combined(question, kind, group_by)
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [
            (bucket - 1, msgspec.json.decode(dimensions), quantity, events)
            for bucket, dimensions, quantity, events in cursor.fetchall()
        ]


def _in_order(row: tuple[int, dict[str, str | None], Decimal, int]) -> tuple[Any, ...]:
    place, dimensions, *_ = row
    return place, [(value is not None, value or "") for _, value in sorted(dimensions.items())]


def _check_dimensions(meters: Sequence[Meter], names: Sequence[str]) -> None:
    known = sorted({name for meter in meters for name in meter.dimensions})
    for name in names:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise UnknownDimension(f"The meter {meters[0].code} has no dimension {name!r}; {has}.")
