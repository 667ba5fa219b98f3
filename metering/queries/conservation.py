"""The proof that nothing is lost between events and windows, and what keeps events from being in windows yet.

Two figures that are made apart are held against each other: pairs recomputed from raw events, by the definition that
aggregation goes by, and what the windows hold.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection

from metering.models import MeterTally
from metering.windows.pairs import ABSENT, COUNTED, COUNTS, EVENT, FILTERED, INVALID, METERS, SETTLED, VOIDED, pairs

EVENTS_MAX = 300_000
"""Recomputing more than so many events takes longer than anybody waits for a page."""
_WAITING_MAX = 100_000


class TooManyEvents(Exception):
    """The range holds more than EVENTS_MAX events."""


@dataclass(frozen=True, slots=True)
class PairsOfMeter:
    """What became of the pairs of one meter version; `day` is a UTC day, None for all time.

    `in_windows` is what the windows say they hold: counted - voided. None where windows were not asked.
    """

    meter_code: str
    meter_version: int
    day: date | None
    pairs: int
    counted: int
    excluded: dict[str, int]
    voided: int
    in_windows: int | None

    @property
    def lost(self) -> int:
        """Pairs that are neither counted nor excluded, and counted ones that no window holds. Nothing but 0 is well."""
        unexplained = self.pairs - self.counted - sum(self.excluded.values())
        if self.in_windows is None:
            return unexplained
        return abs(unexplained) + abs(self.counted - self.voided - self.in_windows)


@dataclass(frozen=True, slots=True)
class UnmeteredEvents:
    """Events of one type and source that no meter was in force for when they were recorded.

    `has_meter_now`: one is in force for the type now, which counts what is recorded from its definition on.
    """

    event_type: str
    source: str
    events: int
    first_time: datetime
    last_time: datetime
    has_meter_now: bool


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction that aggregation waits for. What another role's does, the database does not tell."""

    pid: int | None
    role: str
    application: str
    state: str
    since: datetime | None


@dataclass(frozen=True, slots=True)
class AggregationProgress:
    """How far windows have come. `waiting` events are recorded and in no window, counted up to `waiting_or_more`.

    `held_by` are the oldest transactions in the way, only where there are events that wait for them.
    """

    aggregated_through: datetime | None
    waiting: int
    waiting_or_more: bool
    oldest_received_at: datetime | None
    held_by: tuple[OpenTransaction, ...]


def conservation_by_meter() -> list[PairsOfMeter]:
    """What became of all pairs so far, as each advance recorded it, by meter version."""
    tallies = MeterTally.objects.select_related("meter").order_by("meter__code", "meter__version")
    return [
        PairsOfMeter(
            meter_code=tally.meter.code,
            meter_version=tally.meter.version,
            day=None,
            pairs=tally.pairs,
            counted=tally.counted,
            excluded=_excluded(tally.excluded_absent, tally.excluded_invalid, tally.excluded_filtered),
            voided=tally.voided - tally.restored,
            in_windows=None,
        )
        for tally in tallies
    ]


def _excluded(absent: int, invalid: int, filtered: int) -> dict[str, int]:
    return {"value_absent": absent, "value_invalid": invalid, "filtered_out": filtered}


_RANGED = f"""
    SELECT e.key, {EVENT} FROM metering_event AS e
     WHERE e.event_time >= %(start)s AND e.event_time < %(end)s AND e.recorded_xid < (SELECT xid FROM settled)
"""
_BY_DAY = f"""
WITH settled AS MATERIALIZED ({SETTLED}), meter AS MATERIALIZED ({METERS}), voided AS MATERIALIZED ({VOIDED}
), ranged AS MATERIALIZED ({_RANGED}), pair AS ({pairs("ranged", extra="key")}
), recomputed AS (
    SELECT (p.window_start AT TIME ZONE 'UTC')::date AS day, p.meter_id, count(*) AS pairs,
           count(*) FILTER (WHERE p.state = {COUNTED}) AS counted, count(*) FILTER (WHERE p.state = {ABSENT}) AS absent,
           count(*) FILTER (WHERE p.state = {INVALID}) AS invalid,
           count(*) FILTER (WHERE p.state = {FILTERED}) AS filtered,
           count(*) FILTER (WHERE p.state = {COUNTED} AND v.key IS NOT NULL) AS voided
      FROM pair AS p LEFT JOIN voided AS v ON v.key = p.key GROUP BY 1, 2
), held AS (
    SELECT (window_start AT TIME ZONE 'UTC')::date AS day, meter_id, sum(event_count)::bigint AS events
      FROM metering_window WHERE window_start >= %(start)s AND window_start < %(end)s GROUP BY 1, 2
)
SELECT j.day, m.code, m.version, coalesce(j.pairs, 0), coalesce(j.counted, 0), coalesce(j.absent, 0),
       coalesce(j.invalid, 0), coalesce(j.filtered, 0), coalesce(j.voided, 0), coalesce(j.events, 0)
  FROM (SELECT * FROM recomputed FULL JOIN held USING (day, meter_id)) AS j
  JOIN metering_meter AS m ON m.id = j.meter_id
 ORDER BY j.day DESC, m.code, m.version
"""
_UNMETERED = f"""
WITH settled AS MATERIALIZED ({SETTLED}), meter AS MATERIALIZED ({METERS}), ranged AS ({_RANGED})
SELECT e.event_type, e.source, count(*), min(e.event_time), max(e.event_time),
       EXISTS (SELECT FROM metering_meter AS n WHERE n.event_type = e.event_type AND n.active)
  FROM ranged AS e WHERE NOT EXISTS (SELECT FROM meter AS m WHERE {COUNTS})
 GROUP BY e.event_type, e.source ORDER BY 3 DESC, 1, 2 LIMIT %(limit)s
"""


def conservation_by_day(start: datetime, end: datetime) -> list[PairsOfMeter]:
    """Pairs by UTC day and meter version, the latest day first, recomputed from the events of [start, end) that are
    aggregated, beside what their windows hold. `start` and `end` are midnights, UTC. Raises TooManyEvents."""
    _require_few(start, end)
    with connection.cursor() as cursor:
        cursor.execute(_BY_DAY, {"start": start, "end": end})
        return [
            PairsOfMeter(code, version, day, number, counted, _excluded(*excluded), voided, in_windows)
            for day, code, version, number, counted, *excluded, voided, in_windows in cursor.fetchall()
        ]


def unmetered_events(start: datetime, end: datetime, *, limit: int) -> list[UnmeteredEvents]:
    """The types and sources in [start, end) whose events made no pair, the most first. Raises TooManyEvents."""
    _require_few(start, end)
    with connection.cursor() as cursor:
        cursor.execute(_UNMETERED, {"start": start, "end": end, "limit": limit})
        return [UnmeteredEvents(*row) for row in cursor.fetchall()]


def _require_few(start: datetime, end: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM"
            " (SELECT FROM metering_event WHERE event_time >= %s AND event_time < %s LIMIT %s) AS e",
            [start, end, EVENTS_MAX + 1],
        )
        (number,) = cursor.fetchone()
    if number > EVENTS_MAX:
        days = max(1, (end - start) // timedelta(days=1))
        raise TooManyEvents(
            f"{'These days have' if days > 1 else 'This day has'} more than {EVENTS_MAX:,} events, which takes too "
            "long to recompute on a page. Choose fewer days, or run `manage.py verify_windows`, which proves windows "
            "of any range."
        )


# The number of a transaction in progress has 32 bits; age() puts them in order.
_HOLDERS = """
SELECT pid, coalesce(usename, '')::text, coalesce(application_name, ''), coalesce(state, ''), xact_start,
       age(backend_xid) AS old
  FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
UNION ALL
SELECT NULL, owner::text, 'prepared transaction ' || gid, 'prepared', prepared, age(transaction) FROM pg_prepared_xacts
 ORDER BY old DESC LIMIT 3
"""


def aggregation_progress() -> AggregationProgress:
    """How far windows have come, and what holds them back where something does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT aggregated_through, next_xid FROM metering_cursor WHERE id = 1")
        through, next_xid = cursor.fetchone() or (None, 0)
        cursor.execute(
            "SELECT count(*), min(received_at), coalesce(bool_or(recorded_xid >="
            " pg_snapshot_xmin(pg_current_snapshot())::text::bigint), false) FROM (SELECT received_at, recorded_xid"
            " FROM metering_event WHERE recorded_xid >= %s ORDER BY recorded_xid LIMIT %s) AS e",
            [next_xid, _WAITING_MAX],
        )
        waiting, oldest, is_held = cursor.fetchone()
        held_by: list[Any] = []
        if is_held:
            cursor.execute(_HOLDERS)
            held_by = cursor.fetchall()
    return AggregationProgress(
        aggregated_through=through,
        waiting=waiting,
        waiting_or_more=waiting == _WAITING_MAX,
        oldest_received_at=oldest,
        held_by=tuple(OpenTransaction(*row[:5]) for row in held_by),
    )
