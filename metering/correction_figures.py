"""What the windows of some hours hold by the raw events that are in force at this moment, aggregated already or not: by
the definition that windows are made and proved by."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import NamedTuple

from django.db import connection

from metering.windows import WINDOW, WindowFigures
from metering.windows.figures import figures, kinds_in_use
from metering.windows.pairs import EFFECTIVE, METERS, VOIDED


class WindowKey(NamedTuple):
    """What names a window. `dimensions` is the text of its JSON object."""

    window_start: datetime
    customer_key: str
    meter_code: str
    meter_version: int
    dimensions: str


# Every transaction is settled here: what this one has done, and what waits for aggregation, counts.
_FIGURES = """
WITH settled AS MATERIALIZED (SELECT 9223372036854775807 AS xid), meter AS MATERIALIZED ({meters}
), voided AS MATERIALIZED ({voided}), effective AS ({effective}), figure AS ({figures})
SELECT f.window_start, f.customer_key, m.code, m.version, f.dimensions::text,
       f.quantity, f.event_count, f.fingerprint, f.kept
  FROM figure AS f JOIN metering_meter AS m ON m.id = f.meter_id
"""


def effective_figures(touched: Iterable[tuple[str, datetime]]) -> dict[WindowKey, WindowFigures]:
    """The windows of these customers' hours (each by its start, UTC) that have events in force. A day at a time."""
    days: dict[date, set[tuple[str, datetime]]] = defaultdict(set)
    for customer_key, hour in touched:
        days[hour.astimezone(UTC).date()].add((customer_key, hour))
    statement = _FIGURES.format(
        meters=METERS, voided=VOIDED, effective=EFFECTIVE, figures=figures("effective", kinds_in_use())
    )
    found: dict[WindowKey, WindowFigures] = {}
    for hours in days.values():
        start, end = min(hour for _, hour in hours), max(hour for _, hour in hours) + WINDOW
        keys = sorted({customer_key for customer_key, _ in hours})
        with connection.cursor() as cursor:
            cursor.execute(statement, {"start": start, "end": end, "keys": keys})
            rows = cursor.fetchall()
        for window_start, customer_key, code, version, dimensions, quantity, events, fingerprint, kept in rows:
            if (customer_key, window_start) in hours:
                key = WindowKey(window_start, customer_key, code, version, dimensions)
                found[key] = WindowFigures(quantity, events, int(fingerprint), kept)
    return found
