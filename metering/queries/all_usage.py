"""Usage of all customers together, of the meters that add up over customers."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec
from django.db import connection

from metering.models import Meter
from metering.queries.usage import UnknownMeter, UsageRow
from metering.queries.windows import NEVER
from metering.spans import InvalidRange, WindowSize, boundaries, zone_named
from metering.windows import WINDOW

ADDITIVE = frozenset({Meter.SUM, Meter.COUNT})
"""Aggregations whose figures add up over hours, customers and dimension values."""

_SUMS = """
SELECT width_bucket(w.window_start, %(starts)s::timestamptz[]),
       (SELECT coalesce(jsonb_object_agg(name, w.dimensions ->> name), '{}')
          FROM unnest(%(names)s::text[]) AS name)::text,
       sum(w.quantity), sum(w.event_count)::bigint
  FROM metering_window AS w JOIN metering_meter AS m ON m.id = w.meter_id
 WHERE m.code = %(code)s AND w.window_start >= %(start)s AND w.window_start < %(end)s
 GROUP BY 1, 2 HAVING sum(w.event_count) > 0 ORDER BY 1, 2
"""


def usage_of_all(
    meter_code: str,
    start: datetime,
    end: datetime,
    *,
    window_size: WindowSize,
    time_zone: str = "UTC",
    group_by: Sequence[str] = (),
) -> list[UsageRow]:
    """As `usage`, of all customers together, from windows alone: whole hours, of meters that sum or count.

    Raises UnknownMeter; InvalidRange for a meter that does not add up, and where the range or a day of the zone begins
    within an hour of UTC.
    """
    aggregations = set(Meter.objects.filter(code=meter_code).values_list("aggregation", flat=True))
    if not aggregations:
        raise UnknownMeter(f"There is no meter {meter_code!r}.")
    if not aggregations <= ADDITIVE:
        raise InvalidRange(f"{meter_code} does not add up over customers. Look at the usage of one customer.")
    instants = boundaries(start, end, window_size, zone_named(time_zone))
    if any((instant - NEVER) % WINDOW for instant in instants):
        raise InvalidRange(
            "Usage of all customers is added up from whole hours of UTC. Choose a span of whole hours, and a time zone "
            "whose clock is whole hours from UTC; or look at the usage of one customer."
        )
    cut = list(pairwise(instants))
    parameters: dict[str, Any] = {
        "starts": instants[:-1],
        "names": list(group_by),
        "code": meter_code,
        "start": start,
        "end": end,
    }
    with connection.cursor() as cursor:
        cursor.execute(_SUMS, parameters)
        return [
            UsageRow(cut[piece - 1][0], cut[piece - 1][1], msgspec.json.decode(dimensions), quantity, events)
            for piece, dimensions, quantity, events in cursor.fetchall()
        ]
