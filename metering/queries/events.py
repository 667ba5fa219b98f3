"""Finding events, newest first, and saying what became of each.

However many events there are, a page reads the newest of those that an index leads to, and no more than
LOOKED_AT_MAX of them: a search for something rare says how far back it looked and goes on from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
from django.db import connection

from metering.event_keys import event_key
from metering.models import AggregationWindow, EventKey, Meter
from metering.windows.pairs import (
    ABSENT,
    COUNTED,
    DIMENSIONS,
    EVENT,
    FILTERED,
    INVALID,
    METERS,
    SETTLED,
    WINDOW,
    pairs,
)

LOOKED_AT_MAX = 10_000
State = Literal["counted", "excluded", "void", "waiting", "unmetered"]
"""Counted by a meter at least; excluded by every meter of its type; taken out by a correction; recorded and not taken
into windows yet; of a type no meter counted when it was recorded."""


REASONS = {COUNTED: "", ABSENT: "value_absent", INVALID: "value_invalid", FILTERED: "filtered_out"}
"""Why a pair is excluded, by what became of it."""


class UnknownWindow(Exception):
    """No window has this id."""


@dataclass(frozen=True, slots=True)
class EventPlace:
    """Where an event lies in the order of the list, which goes by time and key."""

    event_time: datetime
    key: str


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What is asked for; "" and None ask for nothing. `start` is included, `end` is not.

    `window_id` names a window: only the events that are counted in it.
    """

    customer_key: str = ""
    event_type: str = ""
    source: str = ""
    event_id: str = ""
    meter_code: str = ""
    start: datetime | None = None
    end: datetime | None = None
    state: State | None = None
    window_id: int | None = None


@dataclass(frozen=True, slots=True)
class EventPair:
    """An event and a meter of its type: counted with a quantity, in the meter's unit, or excluded with a reason.

    Of a meter that counts different values, the quantity of each event is 1.
    """

    meter_code: str
    meter_version: int
    unit: str
    window_start: datetime
    dimensions: dict[str, str | None]
    quantity: Decimal | None
    reason: str


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event of a list. `pairs` are by meter; an event that waits has those it will have."""

    key: str
    event_time: datetime
    received_at: datetime
    source: str
    event_id: str
    event_type: str
    customer_key: str
    state: State
    pairs: tuple[EventPair, ...]

    @property
    def place(self) -> EventPlace:
        return EventPlace(self.event_time, self.key)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events and where the list goes on (None: this is its end).

    `looked_back_to` is set where the page is not full because so many events were looked at: how far that reached.
    """

    rows: tuple[EventRow, ...]
    next: EventPlace | None
    looked_back_to: datetime | None


# The newest events that the index leads to, before anything is asked that no index knows.
_CANDIDATES = f"SELECT e.key, {EVENT} FROM metering_event AS e WHERE "
_NEWEST_FIRST = " ORDER BY event_time DESC, key DESC LIMIT "
_SIEVED = """
    SELECT * FROM candidate AS e
     WHERE (%(event_type)s::text IS NULL OR e.event_type = %(event_type)s::text)
       AND (%(source)s::text IS NULL OR e.source = %(source)s::text)
       AND (%(event_id)s::text IS NULL OR e.event_id = %(event_id)s::text)
"""
_SUMMED = f"""
    SELECT g.key, count(*) AS pairs, count(*) FILTER (WHERE g.state = {COUNTED}) AS counted,
           jsonb_agg(jsonb_build_array(g.meter_id, g.window_start, {DIMENSIONS}, g.quantity::text, g.state)
                     ORDER BY g.meter_id) AS told,
           bool_or(g.meter_id = ANY(%(meter_ids)s::bigint[]) AND g.state = {COUNTED}
                   AND (%(dimensions)s::jsonb IS NULL OR {DIMENSIONS} = %(dimensions)s::jsonb)) AS is_wanted
      FROM pair AS g JOIN meter AS m ON m.id = g.meter_id GROUP BY g.key
"""
# A mark that is not taken into windows yet says already what the event is; the window still holds it.
_STATED = f"""
    SELECT e.key, e.event_time, e.received_at, e.source, e.event_id, e.event_type, e.customer_key, p.told, p.is_wanted,
           CASE WHEN e.recorded_xid >= settled.xid THEN 'waiting' WHEN coalesce(marked.latest < 0, false) THEN 'void'
                WHEN p.pairs IS NULL THEN 'unmetered' WHEN p.counted = 0 THEN 'excluded' ELSE 'counted' END AS state,
           e.recorded_xid < settled.xid AND coalesce(marked.settled, 0) = 0 AS is_in_windows
      FROM sieved AS e CROSS JOIN ({SETTLED}) AS settled LEFT JOIN summed AS p USING (key)
      LEFT JOIN LATERAL (
           SELECT (array_agg(k.sign ORDER BY k.position DESC))[1] AS latest,
                  sum(k.sign) FILTER (WHERE k.recorded_xid < settled.xid) AS settled
             FROM metering_event_mark AS k WHERE k.key = e.key) AS marked ON true
"""
_FOUND = f"""
), pair AS MATERIALIZED ({pairs("sieved", extra="key")}
), summed AS ({_SUMMED}
), stated AS ({_STATED}
), found AS (
    SELECT * FROM stated
     WHERE (%(state)s::text IS NULL OR state = %(state)s::text)
       AND (%(meter_ids)s::bigint[] IS NULL OR is_wanted)
       AND (%(dimensions)s::jsonb IS NULL OR is_in_windows)
     ORDER BY event_time DESC, key DESC LIMIT %(limit)s
), scope AS (SELECT count(*) AS looked_at FROM candidate
), reach AS (SELECT event_time, key FROM candidate ORDER BY event_time, key LIMIT 1
)
SELECT scope.looked_at, reach.event_time, replace(reach.key::text, '-', ''), replace(f.key::text, '-', ''),
       f.event_time, f.received_at, f.source, f.event_id, f.event_type, f.customer_key, f.state, f.told::text
  FROM scope LEFT JOIN reach ON true LEFT JOIN found AS f ON true
 ORDER BY f.event_time DESC, f.key DESC
"""


def find_events(wanted: EventFilter, *, limit: int, after: EventPlace | None = None) -> EventPage:
    """The newest `limit` events that are asked for, after a place of the list. Raises UnknownWindow."""
    window = None if wanted.window_id is None else find_window(wanted.window_id)
    bounds, values = _bounds(wanted, window, after)
    if bounds is None:
        return EventPage((), None, None)
    values |= _sieves(wanted, window)
    by_pair = wanted.state is not None or values["meter_ids"] is not None
    is_sieved = by_pair or any(values[name] for name in ("event_type", "source", "event_id"))
    values |= {"looked_at": LOOKED_AT_MAX if is_sieved else limit + 1, "limit": limit + 1}
    with connection.cursor() as cursor:
        cursor.execute(_found_sql(bounds, by_pair=by_pair), values)
        found = cursor.fetchall()
    return _page(found, limit=limit, looked_at_most=values["looked_at"])


def _found_sql(bounds: Sequence[str], *, by_pair: bool) -> str:
    """Pairs are worked out for what is shown, unless it takes them to know what is shown."""
    candidates = f"{_CANDIDATES} {' AND '.join(bounds)} {_NEWEST_FIRST} %(looked_at)s"
    sieved = _SIEVED if by_pair else f"{_SIEVED} {_NEWEST_FIRST} %(limit)s"
    return (
        f"WITH meter AS MATERIALIZED ({METERS}), candidate AS MATERIALIZED ({candidates}), "
        f"sieved AS MATERIALIZED ({sieved} {_FOUND}"
    )


def find_window(window_id: int) -> AggregationWindow:
    """The window with its meter. Raises UnknownWindow."""
    try:
        return AggregationWindow.objects.select_related("meter").get(pk=window_id)
    except AggregationWindow.DoesNotExist:
        raise UnknownWindow(f"There is no window {window_id}.") from None


def find_key(source: str, event_id: str) -> str | None:
    """The key of an accepted event, as 32 hexadecimal digits; None where none was accepted."""
    key = event_key(source, event_id)
    return key if EventKey.objects.filter(key=key).exists() else None


def _bounds(
    wanted: EventFilter, window: AggregationWindow | None, after: EventPlace | None
) -> tuple[list[str] | None, dict[str, Any]]:
    """The conditions that an index answers, with their values; None where nothing can be found."""
    bounds, values = ["true"], dict[str, Any]()

    def bound(condition: str, **of: Any) -> None:
        bounds.append(condition)
        values.update(of)

    if wanted.source and wanted.event_id:
        claimed = EventKey.objects.filter(key=event_key(wanted.source, wanted.event_id)).first()
        if claimed is None:
            return None, values
        # The key table knows its time, which leads to the one partition to look in.
        bound("e.event_time = %(time)s AND e.key = %(key)s::uuid", time=claimed.event_time, key=claimed.key.hex)
    if wanted.customer_key:
        bound("e.customer_key = %(customer_key)s", customer_key=wanted.customer_key)
    if wanted.start is not None:
        bound("e.event_time >= %(start)s", start=wanted.start)
    if wanted.end is not None:
        bound("e.event_time < %(end)s", end=wanted.end)
    if window is not None:
        bound("e.customer_key = %(of)s", of=window.customer_key)
        bound("e.event_time >= %(hour)s", hour=window.window_start)
        bound("e.event_time < %(next_hour)s", next_hour=window.window_start + WINDOW)
    if after is not None:
        bound("e.event_time <= %(after_time)s", after_time=after.event_time)
        bound("(e.event_time, e.key) < (%(after_time)s, %(after_key)s::uuid)", after_key=after.key)
    return bounds, values


def _sieves(wanted: EventFilter, window: AggregationWindow | None) -> dict[str, Any]:
    """What is asked of each event looked at."""
    meter_ids, dimensions = None, None
    if wanted.meter_code:
        meter_ids = list(Meter.objects.filter(code=wanted.meter_code).values_list("id", flat=True))
    if window is not None:
        meter_ids = [window.meter_id]
        dimensions = msgspec.json.encode(window.dimensions).decode()
    return {
        "event_type": wanted.event_type or None,
        "source": wanted.source or None,
        "event_id": wanted.event_id or None,
        "state": wanted.state,
        "meter_ids": meter_ids,
        "dimensions": dimensions,
    }


def _page(found: Sequence[tuple[Any, ...]], *, limit: int, looked_at_most: int) -> EventPage:
    looked_at, reached, reached_key = found[0][:3]
    meters = {meter.pk: meter for meter in Meter.objects.all()}
    rows = tuple(_row(columns, meters) for _, _, _, *columns in found if columns[0] is not None)
    if len(rows) > limit:
        return EventPage(rows[:limit], rows[limit - 1].place, None)
    if looked_at == looked_at_most:
        return EventPage(rows, EventPlace(reached, reached_key), reached)
    return EventPage(rows, None, None)


def _row(columns: Sequence[Any], meters: Mapping[int, Meter]) -> EventRow:
    key, event_time, received_at, source, event_id, event_type, customer_key, state, told = columns
    of_meters = [] if told is None else msgspec.json.decode(told)
    return EventRow(
        key=key,
        event_time=event_time,
        received_at=received_at,
        source=source,
        event_id=event_id,
        event_type=event_type,
        customer_key=customer_key,
        state=state,
        pairs=tuple(_pair(pair, meters) for pair in of_meters),
    )


def _pair(told: Sequence[Any], meters: Mapping[int, Meter]) -> EventPair:
    meter_id, window_start, dimensions, quantity, outcome = told
    meter = meters[meter_id]
    return EventPair(
        meter_code=meter.code,
        meter_version=meter.version,
        unit=meter.unit,
        window_start=datetime.fromisoformat(window_start).astimezone(UTC),
        dimensions=dimensions,
        quantity=None if quantity is None else Decimal(quantity),
        reason=REASONS[outcome],
    )
