"""Time-weighted averages of a range, put together from what the windows of gauges keep."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
from django.db import connection

from metering.gauges import GaugePart, add, average, integrate
from metering.windows import ranges

Found = list[tuple[int, dict[str, str | None], Decimal, int]]


def averages(question: ranges.Question, group_by: Sequence[str]) -> Found:
    """The average of each span and group, with the number of events in it; only where there is any of the two."""
    series: dict[tuple[int, str], list[GaugePart]] = defaultdict(list)
    events: dict[tuple[int, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    with connection.cursor() as cursor:
        cursor.execute(*ranges.gauge_parts(question))
        for meter_id, dimensions, bucket, event_count, first_time, last_time, last_value, integral in cursor.fetchall():
            series[meter_id, dimensions].append(GaugePart(first_time, last_time, last_value, integral))
            if 0 < bucket < len(question.instants):
                events[meter_id, dimensions][bucket - 1] += event_count
    ends = _ends(question)
    integrals: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
    counts: dict[tuple[int, str], int] = defaultdict(int)
    for (meter_id, dimensions), parts in series.items():
        group = _group(dimensions, group_by)
        for place, amount in enumerate(integrate(parts, question.instants, until=ends.get(meter_id))):
            integrals[place, group] = add(integrals[place, group], amount)
        for place, count in events[meter_id, dimensions].items():
            counts[place, group] += count
    return [
        (
            place,
            msgspec.json.decode(group),
            average(integrals[place, group], question.instants[place], question.instants[place + 1]),
            counts[place, group],
        )
        for place, group in sorted(integrals)
        if integrals[place, group] or counts[place, group]
    ]


def _group(dimensions: str, group_by: Sequence[str]) -> str:
    values = msgspec.json.decode(dimensions)
    return msgspec.json.encode({name: values.get(name) for name in group_by}).decode()


def _ends(question: ranges.Question) -> dict[int, datetime]:
    """When each version's gauges ended: at the customer's first event that a later version counted."""
    if len(question.meter_ids) == 1:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(*ranges.first_gauge_events(question))
        first = dict(cursor.fetchall())
    ends = {}
    for place, meter_id in enumerate(question.meter_ids):
        later = [first[other] for other in question.meter_ids[place + 1 :] if other in first]
        if later:
            ends[meter_id] = min(later)
    return ends
