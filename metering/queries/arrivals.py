"""
What arrived since: events and corrections by the database transaction that recorded them.

Windows say what usage came to; these say what made them change, for whoever has to explain a change to figures that
were given out. A position is a number of transactions: everything recorded below it is in its windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What changed a customer's usage of some hours: events received, taken out, put back; when; and which hours.

    Instants are None where nothing arrived.
    """

    events: int
    voided: int
    restored: int
    first_received_at: datetime | None
    last_received_at: datetime | None
    first_window: datetime | None
    last_window: datetime | None
    windows: int


@dataclass(frozen=True, slots=True)
class ArrivedFor:
    """A customer with arrivals, and the earliest and latest event time among them."""

    customer_key: str
    first_event_time: datetime
    last_event_time: datetime


# An event counts from the transaction that recorded it, a correction of it from its own.
_MOVES = """
    SELECT e.customer_key, e.event_time, e.received_at AS arrived_at, 1 AS events, 0 AS voided, 0 AS restored
      FROM metering_event AS e
     WHERE e.recorded_xid >= %(from_xid)s AND e.recorded_xid < %(to_xid)s {of_events}
     UNION ALL
    SELECT e.customer_key, e.event_time, k.marked_at, 0, (k.sign < 0)::int, (k.sign > 0)::int
      FROM metering_event_mark AS k JOIN metering_event AS e ON e.event_time = k.event_time AND e.key = k.key
     WHERE k.recorded_xid >= %(from_xid)s AND k.recorded_xid < %(to_xid)s {of_events}
"""
_OF_CUSTOMER = "AND e.customer_key = %(customer_key)s AND e.event_time >= %(start)s AND e.event_time < %(end)s"
_ARRIVALS = f"""
SELECT coalesce(sum(events), 0), coalesce(sum(voided), 0), coalesce(sum(restored), 0), min(arrived_at), max(arrived_at),
       date_trunc('hour', min(event_time), 'UTC'), date_trunc('hour', max(event_time), 'UTC'),
       count(DISTINCT date_trunc('hour', event_time, 'UTC'))
  FROM ({_MOVES.format(of_events=_OF_CUSTOMER)}) AS moved
"""
_ARRIVED_FOR = f"""
SELECT customer_key, min(event_time), max(event_time) FROM ({_MOVES.format(of_events="")}) AS moved
 GROUP BY customer_key ORDER BY customer_key
"""


def counted_before() -> int:
    """The position of aggregation: what transactions below this one recorded is in its windows, and nothing else."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT next_xid FROM metering_cursor WHERE id = 1")
        row = cursor.fetchone()
    return int(row[0]) if row is not None else 0


def arrivals(customer_key: str, start: datetime, end: datetime, *, from_xid: int, to_xid: int) -> Arrivals:
    """What changed the customer's usage of [start, end) and was recorded at positions [from_xid, to_xid)."""
    with connection.cursor() as cursor:
        cursor.execute(
            _ARRIVALS,
            {"customer_key": customer_key, "start": start, "end": end, "from_xid": from_xid, "to_xid": to_xid},
        )
        return Arrivals(*cursor.fetchone())


def arrived_between(*, from_xid: int, to_xid: int) -> Sequence[ArrivedFor]:
    """Whose usage changed at positions [from_xid, to_xid), by customer; costs in proportion to what arrived."""
    with connection.cursor() as cursor:
        cursor.execute(_ARRIVED_FOR, {"from_xid": from_xid, "to_xid": to_xid})
        return [ArrivedFor(*row) for row in cursor.fetchall()]
