"""Raw events as they were recorded, with all marks on them: for whoever proves usage from nothing but these."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import msgspec
from django.core.files.storage import storages
from django.db import connection

from metering import archive_files
from metering.archived import ArchivedMonth, archived_months_between, spans_with_events
from metering.models import Meter
from metering.windows.pairs import HOUR

STORAGE = "usage_archive"
_ROWS_AT_ONCE = 2_000
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
# As metering.events encodes what it accepts.
_canonical = msgspec.json.Encoder(decimal_format="number", order="sorted")
_exact = msgspec.json.Decoder(float_hook=Decimal)
Marks = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class RawEvent:
    """An event as it is kept. `marks` are (transaction, sign), -1 void and +1 restored, in their order."""

    key: str
    source: str
    event_id: str
    event_time: datetime
    event_type: str
    recorded_xid: int
    data_json: str
    marks: Marks = ()


@dataclass(frozen=True, slots=True)
class MeterDefinition:
    """What one version of a meter counts, and of which transactions: from the first number, before the second."""

    code: str
    version: int
    event_type: str
    value_path: str
    aggregation: str
    filters: Sequence[Mapping[str, Sequence[str]]]
    dimensions: tuple[str, ...]
    counts_from_xid: int
    counts_before_xid: int | None


_EVENTS = """
SELECT replace(key::text, '-', ''), source, event_id, event_time, event_type, recorded_xid, data::text
  FROM metering_event
 WHERE customer_key = %(customer)s AND event_time >= %(start)s AND event_time < %(end)s
   AND event_type = ANY(%(types)s::text[])
 ORDER BY event_time, key
"""
_WITH_DIGEST = """
SELECT replace(e.key::text, '-', ''), e.source, e.event_id, e.event_time, e.event_type, e.recorded_xid, e.data::text,
       replace(k.digest::text, '-', ''), k.event_time
  FROM metering_event AS e LEFT JOIN metering_event_key AS k ON k.key = e.key
 WHERE e.customer_key = %(customer)s AND e.event_time >= %(start)s AND e.event_time < %(end)s
 ORDER BY e.event_time, e.key
"""
_MARKS = """
SELECT replace(k.key::text, '-', ''), k.recorded_xid, k.sign FROM metering_event_mark AS k
 WHERE k.event_time >= %(start)s AND k.event_time < %(end)s
 ORDER BY k.key, k.position
"""
_ARRIVED_LATER = f"""
SELECT {HOUR.format("e.event_time")} FROM metering_event AS e
 WHERE e.customer_key = %(customer)s AND e.event_time >= %(start)s AND e.event_time < %(end)s
   AND e.recorded_xid >= %(position)s
 UNION
SELECT {HOUR.format("k.event_time")} FROM metering_event_mark AS k
  JOIN metering_event AS e ON e.event_time = k.event_time AND e.key = k.key
 WHERE k.event_time >= %(start)s AND k.event_time < %(end)s AND k.recorded_xid >= %(position)s
   AND e.customer_key = %(customer)s
"""


def raw_events(customer_key: str, start: datetime, end: datetime, event_types: Sequence[str]) -> Iterator[RawEvent]:
    """
    The customer's events of [start, end) of these types, void ones too, streamed: from the database, and from the
    archives of months that left it.

    Raises UnreadableArchive, and FileNotFoundError for an archive that is gone.
    """
    marks = _marks(start, end)
    for month in archived_months_between(start, end):
        for event in _archived(month, customer_key, start, end, frozenset(event_types)):
            yield _marked(event, marks)
    for span_start, span_end in spans_with_events(start, end):
        asked: dict[str, Any] = {
            "customer": customer_key,
            "start": span_start,
            "end": span_end,
            "types": list(event_types),
        }
        with connection.chunked_cursor() as cursor:
            cursor.execute(_EVENTS, asked)
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                for row in rows:
                    yield _marked(RawEvent(*row), marks)


def hours_changed_since(customer_key: str, start: datetime, end: datetime, *, position: int) -> set[datetime]:
    """The hours of [start, end) that an event, or a mark, of this transaction or a later one changed."""
    asked: dict[str, Any] = {"customer": customer_key, "start": start, "end": end, "position": position}
    with connection.cursor() as cursor:
        cursor.execute(_ARRIVED_LATER, asked)
        return {hour for (hour,) in cursor.fetchall()}


def unlike_accepted(customer_key: str, start: datetime, end: datetime, *, limit: int) -> list[RawEvent]:
    """
    Events of [start, end) that are not what was accepted under their source and id: by the digest that was kept of
    each, of which nothing but type, subject, time and data decide. At most `limit`.

    A number that was sent in another spelling than the one it is kept in (1e3) may be among them.
    """
    asked: dict[str, Any] = {"customer": customer_key, "start": start, "end": end}
    found = []
    with connection.cursor() as cursor:
        cursor.execute(_WITH_DIGEST, asked)
        for *values, digest, accepted_at in cursor.fetchall():
            event = RawEvent(*values)
            body = _canonical.encode(_exact.decode(event.data_json))
            since = (event.event_time - _EPOCH) // _MICROSECOND
            sent = {_digest(event.event_type, customer_key, time, body) for time in (str(since), "")}
            if digest not in sent or accepted_at != event.event_time:
                found.append(event)
    return found[:limit]


def _digest(event_type: str, customer_key: str, time: str, body: bytes) -> str:
    return blake2b(f"{event_type}\x1f{customer_key}\x1f{time}\x1f".encode() + body, digest_size=16).hexdigest()


def meter_definitions() -> list[MeterDefinition]:
    """Every version of every meter, by code and version."""
    return [
        MeterDefinition(
            code=meter.code,
            version=meter.version,
            event_type=meter.event_type,
            value_path=meter.value_path,
            aggregation=meter.aggregation,
            filters=meter.filters,
            dimensions=tuple(meter.dimensions),
            counts_from_xid=meter.counts_from_xid,
            counts_before_xid=meter.counts_before_xid,
        )
        for meter in Meter.objects.order_by("code", "version")
    ]


def _marks(start: datetime, end: datetime) -> dict[str, Marks]:
    found: dict[str, Marks] = {}
    with connection.cursor() as cursor:
        cursor.execute(_MARKS, {"start": start, "end": end})
        for key, xid, sign in cursor.fetchall():
            found[key] = (*found.get(key, ()), (xid, sign))
    return found


def _marked(event: RawEvent, marks: Mapping[str, Marks]) -> RawEvent:
    of_event = marks.get(event.key)
    return event if of_event is None else replace(event, marks=of_event)


def _archived(
    month: ArchivedMonth, customer_key: str, start: datetime, end: datetime, event_types: frozenset[str]
) -> Iterator[RawEvent]:
    with storages[STORAGE].open(month.file_name, "rb") as file:
        for row in archive_files.rows(file):
            named = dict(zip(archive_files.COLUMNS, row, strict=True))
            if named["subject"] != customer_key or named["type"] not in event_types:
                continue
            at = datetime.fromisoformat(named["time"]).astimezone(UTC)
            if start <= at < end:
                key = named["key"].replace("-", "")
                xid = int(named["recorded_xid"])
                yield RawEvent(key, named["source"], named["id"], at, named["type"], xid, named["data"])
