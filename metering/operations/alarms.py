"""Keeping the hourly figures that alarms look at, and opening, acknowledging and closing alarms."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction
from django.db.models import Max

from metering.alarms import DAY, HOUR, SOURCES, Finding
from metering.models import AggregationAdvance, Alarm, MeterHour, ObservationCursor
from metering.queries import alarms as queries

ADVANCES_AT_ONCE = 100
RECENT = 3 * HOUR
LEARNED = 35 * DAY
logger = logging.getLogger(__name__)


class AlarmNotOpen(Exception):
    """The alarm is over, or somebody acknowledged it before."""


class NoteMissing(Exception):
    """An acknowledgement says what was found or done."""


@dataclass(frozen=True, slots=True)
class AlarmCheck:
    """What one check did: alarms opened and closed, and how many are open now."""

    opened: int
    closed: int
    open: int


def check_alarms(*, now: datetime) -> AlarmCheck:
    """Bring the hourly figures up to date, look for whatever is not as expected, and open and close alarms for it.

    Costs in proportion to what was aggregated since the last check and to the hours that are compared, not to history.
    """
    observe(now=now)
    return keep_alarms(queries.findings(now), now=now)


def keep_alarms(findings: Sequence[Finding], *, now: datetime) -> AlarmCheck:
    """Open an alarm for each finding that has none, say again what was seen of those that have, close the others."""
    found = {(str(finding.kind), finding.subject[:400]): finding for finding in findings}
    opened = closed = 0
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('metering.alarms', 0))")
        for alarm in Alarm.objects.filter(closed_at=None):
            finding = found.pop((alarm.kind, alarm.subject), None)
            if finding is None:
                Alarm.objects.filter(id=alarm.id).update(closed_at=now)
                logger.info("alarm over: %s, %s", alarm.kind, alarm.subject)
                closed += 1
            else:
                seen = {"seen": finding.seen[:400], "expected": finding.expected[:400]}
                Alarm.objects.filter(id=alarm.id).update(last_seen_at=now, **seen)
        for (kind, subject), finding in found.items():
            Alarm.objects.create(
                kind=kind,
                subject=subject,
                opened_at=now,
                last_seen_at=now,
                expected=finding.expected[:400],
                seen=finding.seen[:400],
            )
            logger.warning("alarm: %s, %s: expected %s, seen %s", kind, subject, finding.expected, finding.seen)
            opened += 1
        still_open = Alarm.objects.filter(closed_at=None).count()
    return AlarmCheck(opened, closed, still_open)


def acknowledge_alarm(alarm_id: int, *, note: str, actor: str, now: datetime) -> None:
    """Say that somebody looks after an alarm, and what was found. It closes by itself when it is over. Raises
    NoteMissing or AlarmNotOpen."""
    if not note.strip():
        raise NoteMissing("Say in the note what was found or done.")
    changed = Alarm.objects.filter(id=alarm_id, closed_at=None, acknowledged_at=None).update(
        acknowledged_at=now, acknowledged_by=actor, note=note.strip()
    )
    if not changed:
        raise AlarmNotOpen("The alarm is over, or somebody acknowledged it before.")


def observe(*, now: datetime) -> None:
    """Bring the hourly figures of sources and meters up to date with what was aggregated, in short transactions."""
    while _observe_sources(now):
        pass
    start = _observed_until(now)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LOCK)
        cursor.execute(_METER_HOURS, {"start": start})
        cursor.execute(_VALUES, {"start": start, "now": now, "sources": SOURCES})


@transaction.atomic
def _observe_sources(now: datetime) -> bool:
    """Take the events of the next advances; whether there may be more. Their own transactions bound them, so every
    event is taken once, in whatever order it was received. What is older than the rules look back is left out."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK)
        position = ObservationCursor.objects.filter(id=1).first()
        if position is None:
            older = AggregationAdvance.objects.filter(advanced_at__lt=now - LEARNED).order_by("-id")
            begins = older.values_list("id", flat=True).first() or 0
            position = ObservationCursor.objects.create(id=1, last_advance=begins)
        advances = AggregationAdvance.objects.filter(id__gt=position.last_advance).order_by("id")[:ADVANCES_AT_ONCE]
        rows = list(advances.values_list("id", "from_xid", "to_xid"))
        if not rows:
            return False
        bounds = {"start": min(row[1] for row in rows), "end": max(row[2] for row in rows)}
        cursor.execute(_SOURCE_HOURS, bounds)
    ObservationCursor.objects.filter(id=1).update(last_advance=rows[-1][0])
    return len(rows) == ADVANCES_AT_ONCE


def _observed_until(now: datetime) -> datetime:
    latest = MeterHour.objects.aggregate(latest=Max("hour"))["latest"]
    return (now - LEARNED if latest is None else min(latest, now) - RECENT).replace(minute=0, second=0, microsecond=0)


_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('metering.observe', 0))"
_SOURCE_HOURS = """
INSERT INTO metering_sourcehour AS s (hour, source, event_type, events, minutes, last_received_at)
SELECT date_trunc('hour', received_at, 'UTC'), source, event_type, count(*),
       bit_or(1::bigint << extract(minute FROM received_at AT TIME ZONE 'UTC')::int), max(received_at)
  FROM metering_event WHERE recorded_xid >= %(start)s AND recorded_xid < %(end)s
 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (hour, source, event_type) DO UPDATE
   SET events = s.events + excluded.events, minutes = s.minutes | excluded.minutes,
       last_received_at = greatest(s.last_received_at, excluded.last_received_at)
"""
_METER_HOURS = """
INSERT INTO metering_meterhour AS h (hour, meter_code, events, quantity)
SELECT w.window_start, m.code, sum(w.event_count), sum(w.quantity)
  FROM metering_window AS w JOIN metering_meter AS m ON m.id = w.meter_id
 WHERE w.window_start >= %(start)s GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (hour, meter_code) DO UPDATE SET events = excluded.events, quantity = excluded.quantity
"""
# A dimension of very many values is not written down further: its values are identities and no news.
_VALUES = """
INSERT INTO metering_seenvalue (name, value, first_seen_at)
SELECT name, value, %(now)s FROM (
    SELECT DISTINCT left(m.code || '.' || d.key, 200) AS name, coalesce(d.value, '') AS value
      FROM metering_window AS w JOIN metering_meter AS m ON m.id = w.meter_id
           CROSS JOIN LATERAL jsonb_each_text(w.dimensions) AS d
     WHERE w.window_start >= %(start)s
     UNION SELECT DISTINCT %(sources)s, source FROM metering_sourcehour WHERE hour >= %(start)s) AS seen
 WHERE name NOT IN (SELECT name FROM metering_seenvalue GROUP BY name HAVING count(*) > 1000)
    ON CONFLICT (name, value) DO NOTHING
"""
