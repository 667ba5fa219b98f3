"""What an advance does with marks: the events they void are taken out of windows, those they restore come back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metering.windows.pairs import ADDITIVE, EVENT, METERS, NAMED, pairs
from metering.windows.repair import Touched


class WindowMissing(Exception):
    """A marked event is in no window, though it was counted: windows were damaged. Aggregation stops rather than lose
    the mark; `manage.py verify_windows --repair` sets them right."""


@dataclass(frozen=True, slots=True)
class TakenMarks:
    """What became of a chunk's marks, and the windows that must be worked out from raw events."""

    marks: int
    pairs: int
    voided: int
    restored: int
    excluded: int
    windows: int
    touched: tuple[Touched, ...]


NO_MARKS = TakenMarks(0, 0, 0, 0, 0, 0, ())

_ANY = "SELECT EXISTS (SELECT FROM metering_event_mark WHERE recorded_xid >= %(start)s AND recorded_xid < %(end)s)"
_MARKED = f"""
    SELECT k.sign, {EVENT}
      FROM metering_event_mark AS k JOIN metering_event AS e ON e.event_time = k.event_time AND e.key = k.key
     WHERE k.recorded_xid >= %(start)s AND k.recorded_xid < %(end)s
"""
_TAKE = f"""
WITH meter AS MATERIALIZED ({METERS}
), marked AS MATERIALIZED ({_MARKED}
), grouped AS MATERIALIZED (
    SELECT window_start, customer_key, meter_id, only_value, dimension_values, state,
           count(*) AS pairs, count(*) FILTER (WHERE sign < 0) AS voided, sum(sign)::bigint AS event_count,
           sum(sign * quantity) AS quantity, sum(sign * print) AS fingerprint
      FROM ({pairs("marked", extra="sign")}) AS p
     GROUP BY window_start, customer_key, meter_id, only_value, dimension_values, state
), changing AS MATERIALIZED (
    SELECT n.*, m.aggregation FROM ({NAMED}) AS n JOIN meter AS m ON m.id = n.meter_id WHERE n.state = 0
), updated AS (
    UPDATE metering_window AS w
       SET quantity = CASE WHEN w.event_count + c.event_count = 0 THEN 0
                           WHEN c.aggregation = ANY('{{{",".join(ADDITIVE)}}}'::text[]) THEN w.quantity + c.quantity
                           ELSE w.quantity END,
           event_count = w.event_count + c.event_count, fingerprint = w.fingerprint + c.fingerprint,
           updated_at = %(now)s
      FROM changing AS c
     WHERE (w.window_start, w.customer_key, w.meter_id) = (c.window_start, c.customer_key, c.meter_id)
       AND w.dimensions_key = md5(c.dimensions::text)::uuid
    RETURNING w.window_start, w.customer_key, w.meter_id, w.dimensions::text, c.aggregation
), changed AS (
    INSERT INTO metering_customer_change AS c (customer_key, change_seq)
    SELECT DISTINCT customer_key, %(change_seq)s::bigint FROM changing ORDER BY customer_key
        ON CONFLICT (customer_key) DO UPDATE SET change_seq = excluded.change_seq
), tallied AS (
    UPDATE metering_meter_tally AS t SET voided = t.voided + c.voided, restored = t.restored + c.restored
      FROM (SELECT meter_id, sum(voided)::bigint AS voided, sum(pairs - voided)::bigint AS restored
              FROM changing GROUP BY meter_id) AS c
     WHERE t.meter_id = c.meter_id
), totals AS MATERIALIZED (
SELECT (SELECT count(*) FROM marked) AS marks, coalesce(sum(pairs), 0)::bigint AS pairs,
       coalesce(sum(voided) FILTER (WHERE state = 0), 0)::bigint AS voided,
       coalesce(sum(pairs - voided) FILTER (WHERE state = 0), 0)::bigint AS restored,
       coalesce(sum(pairs) FILTER (WHERE state <> 0), 0)::bigint AS excluded,
       (SELECT count(*) FROM updated) AS updated, (SELECT count(*) FROM changing) AS changing
  FROM grouped)
SELECT t.*, u.* FROM totals AS t
  LEFT JOIN (SELECT * FROM updated WHERE NOT aggregation = ANY('{{{",".join(ADDITIVE)}}}'::text[])) AS u ON true
"""


def take_marks(cursor: Any, parameters: Mapping[str, Any]) -> TakenMarks:
    """Bring the marks of the transactions [start, end) into the windows of their events, after their events. Raises
    WindowMissing."""
    cursor.execute(_ANY, parameters)
    if not cursor.fetchone()[0]:
        return NO_MARKS
    cursor.execute(_TAKE, parameters)
    rows = cursor.fetchall()
    marks, pair_count, voided, restored, excluded, updated, changing = rows[0][:7]
    if updated != changing:
        raise WindowMissing(
            f"{changing - updated} windows of voided or restored events are missing: repair them with"
            " `manage.py verify_windows --repair`"
        )
    touched = tuple(Touched(*row[7:]) for row in rows if row[7] is not None)
    return TakenMarks(marks, pair_count, voided, restored, excluded, changing, touched)
