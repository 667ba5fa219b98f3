"""Writing events: the SQL below `operations.ingest_events`. Every function joins the caller's transaction.

COPY in PostgreSQL's binary form, put together here: the ORM, psycopg's list adaptation or COPY's text form would each
cost more than what they save to write.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from struct import Struct

import msgspec
from django.db import IntegrityError, connection
from psycopg import errors

from metering.event_times import microseconds_since_1970
from metering.events import TypeRule, UsageEvent, is_keepable

_NO_PARTITION = "no partition of relation"

# https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format": each field is its length and its bytes.
_COPY_START = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"
# PostgreSQL counts microseconds from 2000.
_EPOCH_US = microseconds_since_1970(datetime(2000, 1, 1, tzinfo=UTC))
_KEY_ROW = Struct("!hi16siqi16s")  # 3 fields: key, event_time, digest
_EVENT_START = Struct("!hiqiqi16s")  # 8 fields, of which event_time, received_at and key come first
_LENGTH = Struct("!i")
_JSONB_START = Struct("!ib")  # length, version 1
_by_key = attrgetter("key")
_by_time = attrgetter("epoch_us")


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """What the key table knows of an accepted event."""

    digest: str
    event_time: datetime


@dataclass(frozen=True, slots=True)
class Gate:
    """Who may pass: what the active meters ask of events, by event type, and which of the subjects are not known."""

    rules: dict[str, TypeRule]
    unknown_subjects: set[str]


class KeysTaken(Exception):
    """Some of the events' identities are taken already, so none was claimed; what was written is to be undone."""


class MonthMissing(Exception):
    """An event lies in a month that has no partition yet; what was written is to be undone."""


_GATE = """
SELECT event_type, array_agg(DISTINCT value_path) FILTER (WHERE value_path <> '' AND aggregation <> 'unique_count'),
       array_agg(DISTINCT plain) FILTER (WHERE plain IS NOT NULL), NULL AS subject
  FROM metering_meter LEFT JOIN LATERAL (
       SELECT unnest(dimensions) UNION ALL SELECT substr(value_path, 6) WHERE aggregation = 'unique_count'
       ) AS plain_path (plain) ON true
 WHERE active GROUP BY event_type
 UNION ALL
SELECT NULL, NULL, NULL, subject FROM unnest(%s::varchar[]) AS subject
 WHERE NOT EXISTS (SELECT FROM metering_subject AS s WHERE s.customer_key = subject)
"""


def read_gate(subjects: Iterable[str]) -> Gate:
    """Read for every batch, in one statement: a cache could miss a new meter or subject.

    What is not counted by its amount, a dimension or the value of a unique count, is a plain text or number.
    """
    keepable = [subject for subject in subjects if is_keepable(subject)]
    rules: dict[str, TypeRule] = {}
    unknown: set[str] = set()
    with connection.cursor() as cursor:
        cursor.execute(_GATE, [_array(keepable)])
        for event_type, value_paths, plain_paths, subject in cursor.fetchall():
            if subject is not None:
                unknown.add(subject)
                continue
            rules[event_type] = TypeRule(
                tuple(tuple(path.split(".")[1:]) for path in value_paths or ()),
                tuple(tuple(path.split(".")) for path in plain_paths or ()),
            )
    return Gate(rules, unknown)


def store_new(events: Sequence[UsageEvent], *, received_at: datetime) -> None:
    """Claim the identities of all events and store them. Raises KeysTaken when any is taken, and MonthMissing.

    `events` hold each key once. Keys are claimed in their order, so that two batches that share some wait for each
    other instead of dead-locking; events are stored by time, as neighbours in time lie together.
    """
    try:
        _copy("metering_event_key (key, event_time, digest)", _key_rows(sorted(events, key=_by_key)))
    except errors.UniqueViolation as error:
        raise KeysTaken from error
    _copy_events(events, received_at)


def store_free(events: Sequence[UsageEvent], *, received_at: datetime) -> set[str]:
    """Store those events whose identities are free; returns their keys. Raises MonthMissing.

    As `store_new`, but row by row and in one statement: all or nothing without a transaction around it.
    """
    ordered = sorted(events, key=_by_key)
    with connection.cursor() as cursor, _partitions_wanted():
        cursor.execute(
            _STORE_FREE,
            [
                received_at,
                *(_array([getattr(event, name) for event in ordered]) for name in ("key", "digest")),
                _array([event.time.isoformat() for event in ordered]),
                *(_array([getattr(event, name) for event in ordered]) for name in ("source", "id", "type", "subject")),
                _array([event.data_json.decode() for event in ordered]),
            ],
        )
        return {key for (key,) in cursor.fetchall()}


_STORE_FREE = """
WITH sent AS MATERIALIZED (
    SELECT %s::timestamptz AS received_at, sent.*
      FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[],
                  %s::text[], %s::text[], %s::text[], %s::text[], %s::jsonb[])
           AS sent (key, digest, event_time, source, event_id, event_type, customer_key, data)
), won AS (
    INSERT INTO metering_event_key (key, event_time, digest) SELECT key, event_time, digest FROM sent
        ON CONFLICT (key) DO NOTHING RETURNING key
)
INSERT INTO metering_event (event_time, received_at, key, source, event_id, event_type, customer_key, data)
SELECT event_time, received_at, key, source, event_id, event_type, customer_key, data FROM sent JOIN won USING (key)
RETURNING replace(key::text, '-', '')
"""


def _array(texts: Sequence[str]) -> str:
    """An array literal: a JSON array of strings without control characters is one but for its brackets."""
    return f"{{{msgspec.json.encode(texts).decode()[1:-1]}}}"


def _copy_events(events: Sequence[UsageEvent], received_at: datetime) -> None:
    columns = "event_time, received_at, key, source, event_type, customer_key, event_id, data"
    with _partitions_wanted():
        _copy(f"metering_event ({columns})", _event_rows(sorted(events, key=_by_time), received_at))


@contextmanager
def _partitions_wanted() -> Iterator[None]:
    """Raises MonthMissing instead of what the database says when no partition takes a row."""
    try:
        yield
    except (errors.CheckViolation, IntegrityError) as error:
        if _NO_PARTITION not in str(error):
            raise
        raise MonthMissing from error


def _copy(target: str, rows: Iterable[bytes]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"".join((_COPY_START, *rows, _COPY_END)))


def _key_rows(events: Iterable[UsageEvent]) -> list[bytes]:
    pack, unhex = _KEY_ROW.pack, bytes.fromhex
    return [pack(3, 16, unhex(event.key), 8, event.epoch_us - _EPOCH_US, 16, unhex(event.digest)) for event in events]


def _event_rows(events: Iterable[UsageEvent], received_at: datetime) -> list[bytes]:
    start, length, jsonb, unhex = _EVENT_START.pack, _LENGTH.pack, _JSONB_START.pack, bytes.fromhex
    received = microseconds_since_1970(received_at) - _EPOCH_US
    shared: dict[tuple[str, str], bytes] = {}  # source and type: few events have one of their own
    rows = []
    for event in events:
        source_and_type = (event.source, event.type)
        fields = shared.get(source_and_type)
        if fields is None:
            fields = shared[source_and_type] = b"".join(map(_text_field, source_and_type))
        subject, event_id, data = event.subject.encode(), event.id.encode(), event.data_json
        rows.append(
            start(8, 8, event.epoch_us - _EPOCH_US, 8, received, 16, unhex(event.key))
            + fields
            + length(len(subject))
            + subject
            + length(len(event_id))
            + event_id
            + jsonb(len(data) + 1, 1)
            + data
        )
    return rows


def _text_field(text: str) -> bytes:
    encoded = text.encode()
    return _LENGTH.pack(len(encoded)) + encoded


def stored_identities(keys: Iterable[str]) -> dict[str, StoredIdentity]:
    """Digest and time of accepted events, by key. Run after `store_new`: its statement sees what others committed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT replace(key::text, '-', ''), replace(digest::text, '-', ''), event_time"
            " FROM metering_event_key WHERE key = ANY(%s::uuid[])",
            [f"{{{','.join(keys)}}}"],
        )
        return {key: StoredIdentity(digest, event_time) for key, digest, event_time in cursor.fetchall()}


def void_among(keys: Iterable[str]) -> set[str]:
    """Those of these events that do not count, as a correction took them out of usage."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT replace(key::text, '-', '') FROM metering_event_mark WHERE key = ANY(%s::uuid[])"
            " GROUP BY key HAVING max(position) %% 2 = 1",
            [f"{{{','.join(keys)}}}"],
        )
        return {key for (key,) in cursor.fetchall()}


def store_conflicts(conflicts: Sequence[tuple[UsageEvent, datetime]], *, received_at: datetime) -> None:
    """Keep the other body of each conflict, with the time of the event that counts. Once per body."""
    columns = "key, digest, first_event_time, source, event_id, event_type, customer_key, event_time, data, received_at"
    rows = [(*_identity(event), first, *_body(event), received_at) for event, first in conflicts]
    _insert_once("metering_eventconflict", columns, rows)


def store_quarantined(quarantined: Sequence[tuple[UsageEvent, str]], *, received_at: datetime) -> None:
    """Keep events that cannot be counted yet, each with its reason. Once per body."""
    columns = (
        "key, digest, reason, detail, resolved_by, outcome, dismissed_because,"
        " source, event_id, event_type, customer_key, event_time, data, received_at"
    )
    rows = [(*_identity(event), reason, "", "", "", "", *_body(event), received_at) for event, reason in quarantined]
    _insert_once("metering_quarantinedevent", columns, rows)


def _identity(event: UsageEvent) -> tuple[str, str]:
    return event.key, event.digest


def _body(event: UsageEvent) -> tuple[str, str, str, str, datetime, str]:
    return event.source, event.id, event.type, event.subject, event.time, event.data_json.decode()


def _insert_once(table: str, columns: str, rows: Sequence[tuple[str | datetime, ...]]) -> None:
    if not rows:
        return
    # Sorted for the same reason as in store_new: two batches must meet shared keys in the same order.
    ordered = sorted(rows, key=lambda row: (str(row[0]), str(row[1])))
    places = ", ".join(["%s"] * len(ordered[0]))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {table} ({columns}) VALUES ({places}) ON CONFLICT (key, digest) DO NOTHING", ordered
        )


def ensure_partitions(*, start: datetime, end: datetime) -> int:
    """Make the monthly partitions for events from `start` up to and including `end`; returns how many were missing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT metering_ensure_partitions(%s, %s + interval '1 microsecond')", [start, end])
        (made,) = cursor.fetchone()
    return int(made)
