"""Writing events: the SQL below `operations.ingest_events`. Every function joins the caller's transaction.

COPY instead of the ORM or psycopg's list adaptation: the client's share of an event is what limits ingest.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from django.db import connection, transaction
from psycopg import errors

from metering.events import TypeRule, UsageEvent

_NO_PARTITION = "no partition of relation"


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """What the key table knows of an accepted event."""

    digest: str
    event_time: datetime


def active_rules() -> dict[str, TypeRule]:
    """What the active meters ask of events, by event type. Read for every batch: a cache could miss a new meter."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT event_type, array_agg(DISTINCT value_path) FILTER (WHERE value_path <> ''),"
            " array_agg(DISTINCT name) FILTER (WHERE name IS NOT NULL)"
            " FROM metering_meter LEFT JOIN LATERAL unnest(dimensions) AS name ON true WHERE active GROUP BY event_type"
        )
        return {
            event_type: TypeRule(
                tuple(tuple(path.split(".")[1:]) for path in value_paths or ()),
                tuple(tuple(name.split(".")) for name in names or ()),
            )
            for event_type, value_paths, names in cursor.fetchall()
        }


def known_subjects(customer_keys: Iterable[str]) -> set[str]:
    """Those of the customer keys that were registered."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.customer_key FROM metering_subject s"
            " JOIN jsonb_array_elements_text(%s::jsonb) AS k ON s.customer_key = k",
            [msgspec.json.encode(sorted(customer_keys)).decode()],
        )
        return {key for (key,) in cursor.fetchall()}


def store_new(events: Sequence[UsageEvent], *, received_at: datetime) -> set[str]:
    """Claim the events' identities and store the events that won theirs; returns the keys that won.

    `events` hold each key once and are sorted by key, so that two batches claim shared keys in the same order and wait
    for each other instead of dead-locking. First all keys are copied at once, which is right unless something was sent
    before; on a collision the batch is claimed again row by row. A month without a partition gets one.
    """
    if not events:
        return set()
    claim = _copy_keys
    for _ in range(3):
        try:
            with transaction.atomic():
                won = claim(events)
                _copy_events([event for event in events if event.key in won], received_at)
            return won
        except errors.UniqueViolation:
            if claim is _insert_keys:
                raise
            claim = _insert_keys
        except errors.CheckViolation as error:
            if _NO_PARTITION not in str(error):
                raise
            times = [event.time for event in events]
            ensure_partitions(start=min(times), end=max(times))
    raise RuntimeError("storing a batch met a collision and a missing partition again after both were dealt with")


def _copy_keys(events: Sequence[UsageEvent]) -> set[str]:
    """Raises psycopg's UniqueViolation when any key is taken."""
    rows = "".join(f"{event.key}\t{event.time.isoformat()}\t{event.digest}\n" for event in events)
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY metering_event_key (key, event_time, digest) FROM STDIN") as copy,
    ):
        copy.write(rows.encode())
    return {event.key for event in events}


def _insert_keys(events: Sequence[UsageEvent]) -> set[str]:
    """Claim those keys that are free. Array literals: psycopg's own adaptation of lists costs more than the insert."""
    keys = ",".join(event.key for event in events)
    times = ",".join(f'"{event.time.isoformat()}"' for event in events)
    digests = ",".join(event.digest for event in events)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_event_key (key, event_time, digest)"
            " SELECT * FROM unnest(%s::uuid[], %s::timestamptz[], %s::uuid[])"
            " ON CONFLICT (key) DO NOTHING RETURNING replace(key::text, '-', '')",
            [f"{{{keys}}}", f"{{{times}}}", f"{{{digests}}}"],
        )
        return {key for (key,) in cursor.fetchall()}


def _copy_events(events: Sequence[UsageEvent], received_at: datetime) -> None:
    received = received_at.isoformat()
    block = b"".join(_copy_line(event, received) for event in events)
    columns = "event_time, received_at, key, source, event_id, event_type, customer_key, data"
    with connection.cursor() as cursor, cursor.copy(f"COPY metering_event ({columns}) FROM STDIN") as copy:
        copy.write(block)


def _copy_line(event: UsageEvent, received: str) -> bytes:
    """One line of COPY's text format. Tabs and newlines cannot occur in checked events, backslashes can."""
    fields = (event.time.isoformat(), received, event.key, event.source, event.id, event.type, event.subject, "")
    text = "\t".join(fields)
    return (text.encode() + event.data_json).replace(b"\\", b"\\\\") + b"\n"


def stored_identities(keys: Iterable[str]) -> dict[str, StoredIdentity]:
    """Digest and time of accepted events, by key. Run after `store_new`: its statement sees what others committed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT replace(key::text, '-', ''), replace(digest::text, '-', ''), event_time"
            " FROM metering_event_key WHERE key = ANY(%s::uuid[])",
            [f"{{{','.join(keys)}}}"],
        )
        return {key: StoredIdentity(digest, event_time) for key, digest, event_time in cursor.fetchall()}


def store_conflicts(conflicts: Sequence[tuple[UsageEvent, datetime]], *, received_at: datetime) -> None:
    """Keep the other body of each conflict, with the time of the event that counts. Once per body."""
    columns = "key, digest, first_event_time, source, event_id, event_type, customer_key, event_time, data, received_at"
    rows = [(*_identity(event), first, *_body(event), received_at) for event, first in conflicts]
    _insert_once("metering_eventconflict", columns, rows)


def store_quarantined(quarantined: Sequence[tuple[UsageEvent, str]], *, received_at: datetime) -> None:
    """Keep events that cannot be counted yet, each with its reason. Once per body."""
    columns = (
        "key, digest, reason, detail, resolved_by, outcome,"
        " source, event_id, event_type, customer_key, event_time, data, received_at"
    )
    rows = [(*_identity(event), reason, "", "", "", *_body(event), received_at) for event, reason in quarantined]
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
