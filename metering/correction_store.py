"""Corrections in SQL: which events a selection names, marking them, and what may not be marked. Every function joins
the caller's transaction. An event is void when its latest mark has an odd position."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

VOID, RESTORE = -1, 1

# The latest mark of event e: its position and the correction that made it. One probe of a small unique index.
_LATEST_MARK = """
    LEFT JOIN LATERAL (
        SELECT position, correction_id FROM metering_event_mark AS m WHERE m.key = e.key ORDER BY position DESC LIMIT 1
    ) AS mark ON true
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """Events to void or restore: by their keys, or all of a time range that fit. Empty parts leave nothing out.

    `start` and `end` are half-open; `where` maps a path below data to the texts that are meant.
    """

    keys: Sequence[str] = ()
    start: datetime | None = None
    end: datetime | None = None
    customer_key: str = ""
    event_type: str = ""
    source: str = ""
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """One event that a selection names. `position` is that of its latest mark, 0 without."""

    key: str
    event_time: datetime
    customer_key: str
    position: int

    @property
    def is_void(self) -> bool:
        return self.position % 2 == 1


def lock_corrections() -> None:
    """Corrections take turns: what one of them found out holds until it has written. Held until the transaction
    ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('metering.corrections', 0))")


def find_events(selection: Selection, *, at_most: int) -> list[Found]:
    """The events a selection names, ordered by key; at most `at_most` + 1, and one more says that it is too many."""
    conditions, values = _conditions(selection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT replace(e.key::text, '-', ''), e.event_time, e.customer_key, coalesce(mark.position, 0)"
            f" FROM metering_event AS e {_LATEST_MARK} WHERE {conditions} LIMIT %(limit)s",
            {**values, "limit": at_most + 1},
        )
        return sorted((Found(*row) for row in cursor.fetchall()), key=lambda found: found.key)


def _conditions(selection: Selection) -> tuple[str, dict[str, Any]]:
    if selection.keys:
        # The key table knows each event's time, which leads to the one partition to look in.
        of_keys = "SELECT k.event_time, k.key FROM metering_event_key AS k WHERE k.key = ANY(%(keys)s::uuid[])"
        return f"(e.event_time, e.key) IN ({of_keys})", {"keys": list(selection.keys)}
    values: dict[str, Any] = {"start": selection.start, "end": selection.end}
    conditions = ["e.event_time >= %(start)s AND e.event_time < %(end)s"]
    for name in ("customer_key", "event_type", "source"):
        if getattr(selection, name):
            conditions.append(f"e.{name} = %({name})s")
            values[name] = getattr(selection, name)
    for number, (path, texts) in enumerate(selection.where.items()):
        conditions.append(f"e.data #>> %(path{number})s::text[] = ANY(%(texts{number})s::text[])")
        values[f"path{number}"], values[f"texts{number}"] = path.split("."), list(texts)
    return " AND ".join(conditions), values


def known_keys(keys: Sequence[str]) -> dict[str, datetime]:
    """Those of the keys that were ever accepted, with the events' times, also of events that left the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT replace(key::text, '-', ''), event_time FROM metering_event_key WHERE key = ANY(%s::uuid[])",
            [list(keys)],
        )
        return dict(cursor.fetchall())


def months_without_partition(start: datetime, end: datetime) -> list[str]:
    """The months of [start, end) that the database holds no events of, as 2026-10; in order."""
    months = []
    month = start.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while month < end:
        months.append(month)
        month = (month + timedelta(days=32)).replace(day=1)
    names = [f"metering_event_{month:%Y_%m}" for month in months]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) WITH ORDINALITY AS n (name, place)"
            " WHERE NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = 'metering_event'::regclass"
            " AND i.inhrelid = to_regclass(n.name)) ORDER BY place",
            [names],
        )
        return [name[-7:].replace("_", "-") for (name,) in cursor.fetchall()]


def freeze_events(correction_id: int, found: Iterable[Found], role: str) -> None:
    """Write down which events the correction touches, so that it goes on with the same ones after an interruption."""
    events = list(found)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_correctionevent (correction_id, key, event_time, role)"
            " SELECT %s, key, event_time, %s FROM unnest(%s::uuid[], %s::timestamptz[]) AS e (key, event_time)",
            [correction_id, role, [event.key for event in events], [event.event_time for event in events]],
        )


def mark_events(correction_id: int, *, role: str, sign: int, now: datetime, at_most: int) -> int:
    """Mark up to `at_most` of the correction's events that it has not marked yet; returns how many. In order of keys,
    so that two who meet wait for each other. Raises psycopg's UniqueViolation when somebody else marked one meanwhile.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO metering_event_mark (key, event_time, position, sign, correction_id, marked_at)"
            f" SELECT e.key, e.event_time, coalesce(mark.position, 0) + 1, %(sign)s, %(correction)s, %(now)s"
            f" FROM metering_correctionevent AS e {_LATEST_MARK}"
            f" WHERE e.correction_id = %(correction)s AND e.role = %(role)s"
            f" AND mark.correction_id IS DISTINCT FROM %(correction)s ORDER BY e.key LIMIT %(limit)s",
            {"sign": sign, "correction": correction_id, "now": now, "role": role, "limit": at_most},
        )
        return int(cursor.rowcount)


def standing_corrections(keys: Sequence[str], *, besides: int | None = None) -> dict[str, int]:
    """For each of the events, the correction that has the last word on it: the one that a revert would have to undo. A
    correction and its revert take each other away, unless the revert is `besides`, which is asked about itself; an
    event whose corrections all did is not in the answer."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT replace(touched.key::text, '-', ''), touched.correction_id, c.reverts_id FROM ("
            " SELECT key, 0 AS position, correction_id FROM metering_correctionevent"
            " WHERE role IN ('replacement', 'backfilled') AND key = ANY(%(keys)s::uuid[])"
            " UNION ALL SELECT key, position, correction_id FROM metering_event_mark WHERE key = ANY(%(keys)s::uuid[])"
            ") AS touched JOIN metering_correction AS c ON c.id = touched.correction_id ORDER BY 1, touched.position",
            {"keys": list(keys)},
        )
        rows = cursor.fetchall()
    standing: dict[str, list[int]] = defaultdict(list)
    for key, correction_id, reverts_id in rows:
        if correction_id != besides and standing[key] and standing[key][-1] == reverts_id:
            standing[key].pop()
        else:
            standing[key].append(correction_id)
    return {key: corrections[-1] for key, corrections in standing.items() if corrections}


def unsettled(keys: Sequence[str], times: Sequence[datetime]) -> int:
    """How many of the events were recorded by a transaction that is not older than this one. A mark must come after
    its event, in the order that aggregation goes by."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM unnest(%s::uuid[], %s::timestamptz[]) AS k (key, event_time)"
            " JOIN metering_event AS e USING (event_time, key)"
            " WHERE e.recorded_xid >= pg_current_xact_id()::text::bigint",
            [list(keys), list(times)],
        )
        (count,) = cursor.fetchone()
    return int(count)


def count_marks(correction_id: int) -> int:
    """How many events the correction has marked so far."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM metering_correctionevent AS e JOIN metering_event_mark AS m USING (key)"
            " WHERE e.correction_id = %s AND m.correction_id = e.correction_id",
            [correction_id],
        )
        (count,) = cursor.fetchone()
    return int(count)


def touched_by(correction_id: int) -> list[tuple[str, Found]]:
    """The events an applied correction touched, with their role in it and their latest mark; ordered by key. One that
    left the database is not among them."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT c.role, replace(e.key::text, '-', ''), e.event_time, e.customer_key, coalesce(mark.position, 0)"
            f" FROM metering_correctionevent AS c"
            f" JOIN metering_event AS e ON e.event_time = c.event_time AND e.key = c.key {_LATEST_MARK}"
            f" WHERE c.correction_id = %s ORDER BY e.key",
            [correction_id],
        )
        return [(role, Found(*rest)) for role, *rest in cursor.fetchall()]


def hours_touched(correction_id: int) -> list[tuple[str, datetime]]:
    """Customer and hour (its start, UTC) of every event the correction touches; in order."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT e.customer_key, date_trunc('hour', e.event_time, 'UTC') FROM metering_correctionevent AS c"
            " JOIN metering_event AS e ON e.event_time = c.event_time AND e.key = c.key"
            " WHERE c.correction_id = %s ORDER BY 1, 2",
            [correction_id],
        )
        return list(cursor.fetchall())
