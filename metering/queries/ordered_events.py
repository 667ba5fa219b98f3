"""What each event counts as, in one order that is the same whoever asks and whenever."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db import connection

from metering.archived import EventsArchived, archived_months_between
from metering.windows.pairs import ADDITIVE, COUNTED, DIMENSIONS, EFFECTIVE, METERS, SETTLED, VOIDED, pairs


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """An event that a meter counts, with the quantity it adds, in the meter's unit."""

    event_time: datetime
    source: str
    event_id: str
    meter_code: str
    dimensions: dict[str, str | None]
    quantity: Decimal


_IN_ORDER = f"""
WITH settled AS MATERIALIZED ({SETTLED}), voided AS MATERIALIZED ({VOIDED}),
     meter AS MATERIALIZED ({METERS} WHERE code = ANY(%(codes)s::text[]) AND aggregation = ANY(%(additive)s::text[])),
     effective AS ({EFFECTIVE})
SELECT g.event_time, g.source, g.event_id, named.code, ({DIMENSIONS})::text, g.quantity
  FROM ({pairs("effective")}) AS g
  JOIN meter AS m ON m.id = g.meter_id
  JOIN metering_meter AS named ON named.id = g.meter_id
 WHERE g.state = {COUNTED}
 ORDER BY g.event_time, g.source COLLATE "C", g.event_id COLLATE "C", named.code
"""


def events_between(customer_key: str, start: datetime, end: datetime, meter_codes: Sequence[str]) -> list[MeterEvent]:
    """
    The customer's events of [start, end) that are in the windows of these meters, by (time, source, id).

    Of meters that add up their events (sum, count): their quantities come to the windows'. Raises EventsArchived where
    events of the range are in an archive.
    """
    for month in archived_months_between(start, end):
        raise EventsArchived(
            f"The events of {month.start:%Y-%m} are archived, and prices by the event need every one: have the month"
            " brought back with manage.py restore_usage_archive."
        )
    asked: dict[str, Any] = {"codes": list(meter_codes), "additive": list(ADDITIVE), "keys": [customer_key]}
    asked |= {"start": start, "end": end}
    with connection.cursor() as cursor:
        cursor.execute(_IN_ORDER, asked)
        return [
            MeterEvent(event_time, source, event_id, code, msgspec.json.decode(dimensions), quantity)
            for event_time, source, event_id, code, dimensions, quantity in cursor.fetchall()
        ]
