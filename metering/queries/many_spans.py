"""The usage of many customers, each over a span of their own, in one query: hour by hour, or added up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection

from metering.archived import archived_months
from metering.queries.windows import Window
from metering.spans import cut_hours, hour_of
from metering.windows.figures import figures, kinds_in_use
from metering.windows.pairs import EVENT, METERS, SETTLED, VOIDED_OF_HOURS

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class CustomerSpan:
    """[start, end) of one customer, at any instants."""

    customer_key: str
    start: datetime
    end: datetime

    @property
    def cut_hours(self) -> list[datetime]:
        """The starts of the hours that its ends cut in two: what of these is inside is worked out from raw events."""
        return cut_hours([self.start, self.end])


_CUT = f"""
settled AS MATERIALIZED ({SETTLED}), voided AS MATERIALIZED ({VOIDED_OF_HOURS}), meter AS MATERIALIZED ({METERS}),
effective AS (
    SELECT f.* FROM unnest(%(cut_keys)s::text[], %(cut_starts)s::timestamptz[], %(cut_ends)s::timestamptz[])
                 AS c (cut_key, cut_start, cut_end)
      -- Piece by piece by its index: of a customer's millions of events two hours are read.
      JOIN LATERAL (SELECT {EVENT}, e.key FROM metering_event AS e
                     WHERE e.customer_key = c.cut_key AND e.event_time >= c.cut_start AND e.event_time < c.cut_end
                       AND e.recorded_xid < (SELECT xid FROM settled) OFFSET 0) AS f ON true
      LEFT JOIN voided AS v ON v.key = f.key WHERE v.key IS NULL
)
"""
# An hour's average ends where the span does.
_END = (
    "least(s.window_start + interval '1 hour', (SELECT o.end_at FROM span AS o WHERE o.customer_key = s.customer_key))"
)
_USAGE = """
WITH span AS MATERIALIZED (
    SELECT * FROM unnest(%(keys)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[], %(ends)s::timestamptz[])
        AS s (customer_key, first_hour, last_hour, end_at)
) {cut}
SELECT {columns}
  FROM (SELECT w.window_start, w.customer_key, w.meter_id, w.dimensions, w.quantity, w.event_count, w.fingerprint
          FROM span AS s JOIN metering_window AS w
            ON w.customer_key = s.customer_key AND w.window_start >= s.first_hour AND w.window_start < s.last_hour
        {of_cut}) AS w
  JOIN metering_meter AS m ON m.id = w.meter_id
"""
_OF_CUT = (
    "UNION ALL SELECT window_start, customer_key, meter_id, dimensions, quantity, event_count, fingerprint FROM ({}) f"
)
_HOURS = (
    "w.window_start, w.customer_key, m.code, m.version, w.dimensions::text, w.quantity, w.event_count, w.fingerprint"
)
_SUMS = (
    "min(w.window_start), w.customer_key, m.code, m.version, w.dimensions::text, sum(w.quantity),"
    " sum(w.event_count)::bigint, sum(w.fingerprint)"
)


def hours_of_spans(spans: Sequence[CustomerSpan]) -> dict[str, list[Window]]:
    """
    As `windows_between` of each span, by customer; one query. No customer may come twice.

    Spans whose `cut_hours` are in an archive have to be left out by the caller: see `spans_archived`.
    """
    return _read(spans, _HOURS, "ORDER BY w.customer_key, w.window_start, m.code, m.version, w.dimensions")


def sums_of_spans(spans: Sequence[CustomerSpan]) -> dict[str, list[Window]]:
    """
    As `hours_of_spans`, each customer's windows of the same meter and dimensions added up into one, which is named by
    the first of these hours. That is only usage where the hours of a meter add up.
    """
    order = "GROUP BY w.customer_key, m.code, m.version, w.dimensions ORDER BY 2, 3, 4, w.dimensions"
    return _read(spans, _SUMS, order)


def spans_archived(spans: Sequence[CustomerSpan]) -> list[CustomerSpan]:
    """The spans that cut an hour whose raw events are in an archive: what of it is inside cannot be told."""
    months = archived_months()
    return [
        span for span in spans if any(month.start <= hour < month.end for hour in span.cut_hours for month in months)
    ]


def _read(spans: Sequence[CustomerSpan], columns: str, order: str) -> dict[str, list[Window]]:
    if len({span.customer_key for span in spans}) != len(spans):
        raise ValueError("a customer comes twice")
    parameters: dict[str, Any] = {
        "keys": [span.customer_key for span in spans],
        "firsts": [_ceiling(span.start) for span in spans],
        "lasts": [hour_of(span.end) for span in spans],
        "ends": [span.end for span in spans],
    }
    pieces = [piece for span in spans for piece in _pieces(span)]
    cut = of_cut = ""
    if pieces:
        cut, of_cut = f", {_CUT}", _OF_CUT.format(figures("effective", kinds_in_use(), end=_END))
        parameters |= {
            "cut_keys": [piece.customer_key for piece in pieces],
            "cut_starts": [piece.start for piece in pieces],
            "cut_ends": [piece.end for piece in pieces],
            "cut": sorted({hour_of(piece.start) for piece in pieces}),
        }
    statement = f"{_USAGE.format(cut=cut, of_cut=of_cut, columns=columns)} {order}"
    found: dict[str, list[Window]] = {}
    known: dict[str, dict[str, str | None]] = {}
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        for start, key, code, version, dimensions, quantity, count, fingerprint in cursor:
            # The same few values come back in every hour; nobody changes them.
            values = known.get(dimensions)
            if values is None:
                values = known[dimensions] = msgspec.json.decode(dimensions)
            window = Window(start, key, code, version, values, quantity, count, int(fingerprint))
            found.setdefault(key, []).append(window)
    return found


def _pieces(span: CustomerSpan) -> list[CustomerSpan]:
    """The parts of the span that are no whole hours."""
    first, last = _ceiling(span.start), hour_of(span.end)
    if last < first:
        return [span]
    key = span.customer_key
    ends = [CustomerSpan(key, span.start, first), CustomerSpan(key, last, span.end)]
    return [piece for piece in ends if piece.start < piece.end]


def _ceiling(instant: datetime) -> datetime:
    hour = hour_of(instant)
    return hour if hour == instant else hour + _HOUR
