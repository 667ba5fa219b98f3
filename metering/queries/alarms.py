"""What the rules of `metering.alarms` find at an instant, and the alarms that are open."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import connection

from metering import alarms
from metering.alarms import DAY, FORMER_WEEKS, HOUR, WEEK, Finding, HourFigures, SourceRecord
from metering.archived import month_range
from metering.queries import lifecycle
from metering.queries.conservation import aggregation_progress
from metering.queries.windows import aggregated_through

SETTLED = timedelta(minutes=15)
"""An hour is compared this long after its end, as usage is often told a little late."""
_LEARNED = FORMER_WEEKS * WEEK + HOUR


def findings(now: datetime) -> list[Finding]:
    """Everything that is not as expected at `now`. Sources and meters are judged up to where aggregation has come: what
    is not counted yet is not missing."""
    through = min(now, aggregated_through())
    return [
        *_silent_sources(through),
        *_changed_meters(through),
        *_new_values(now),
        *_counted(now),
        *_quarantine(now),
        *_machinery(now, through),
    ]


def open_alarms() -> dict[str, int]:
    """How many alarms are open, by kind; every kind is there."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT kind, count(*) FROM metering_alarm WHERE closed_at IS NULL GROUP BY kind")
        found = dict(cursor.fetchall())
    return {kind: found.get(kind, 0) for kind in alarms.TITLES}


def _silent_sources(through: datetime) -> Iterator[Finding]:
    minutes: dict[str, dict[datetime, int]] = defaultdict(dict)
    latest: dict[str, datetime] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT source, hour, bit_count(bit_or(minutes)::bit(64)), max(last_received_at) FROM metering_sourcehour"
            " WHERE hour >= %s GROUP BY source, hour ORDER BY source, hour",
            [through - _LEARNED],
        )
        for source, hour, active, last_received_at in cursor.fetchall():
            minutes[source][hour] = active
            latest[source] = last_received_at
    for source, by_hour in minutes.items():
        finding = alarms.silent_source(SourceRecord(source, by_hour, latest[source]), through)
        if finding is not None:
            yield finding


def _changed_meters(through: datetime) -> Iterator[Finding]:
    hour = (through - SETTLED).replace(minute=0, second=0, microsecond=0) - HOUR
    compared = {hour}
    for known_since in (datetime.min.replace(tzinfo=hour.tzinfo), hour - alarms.LEAST_DAYS * DAY):
        compared.update(alarms.former_hours(hour, known_since))
    compared.update(hour - DAY * number for number in range(1, alarms.FORMER_DAYS + 1))
    figures: dict[str, dict[datetime, HourFigures]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT meter_code, hour, events, quantity FROM metering_meterhour WHERE hour = ANY(%s)", [sorted(compared)]
        )
        for code, each, events, quantity in cursor.fetchall():
            figures[code][each] = HourFigures(events, quantity)
        cursor.execute("SELECT meter_code, min(hour) FROM metering_meterhour GROUP BY meter_code")
        known = dict(cursor.fetchall())
        cursor.execute("SELECT DISTINCT code FROM metering_meter WHERE active")
        active = [code for (code,) in cursor.fetchall()]
    for code in sorted(active):
        if code in known:
            finding = alarms.changed_meter(code, hour, figures[code], known[code])
            if finding is not None:
                yield finding


def _new_values(now: datetime) -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT v.name, v.value, v.first_seen_at, k.since, k.number FROM metering_seenvalue AS v JOIN"
            " (SELECT name, min(first_seen_at) AS since, count(*) AS number FROM metering_seenvalue GROUP BY name) AS k"
            " USING (name) WHERE v.first_seen_at >= %s ORDER BY v.name, v.value LIMIT 1000",
            [now - DAY],
        )
        rows = cursor.fetchall()
    for name, value, first_seen_at, since, number in rows:
        finding = alarms.new_value(name, value, first_seen_at=first_seen_at, known_since=since, values=number, now=now)
        if finding is not None:
            yield finding


def _counted(now: datetime) -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT source, count(*) FROM metering_eventconflict WHERE received_at > %s AND received_at <= %s"
            " GROUP BY source ORDER BY source LIMIT 100",
            [now - HOUR, now],
        )
        conflicts = cursor.fetchall()
        cursor.execute(
            "SELECT coalesce(sum(events_without_meter), 0)::bigint FROM metering_aggregationadvance"
            " WHERE advanced_at > %s AND advanced_at <= %s",
            [now - HOUR, now],
        )
        (without_meter,) = cursor.fetchone()
    for source, number in conflicts:
        yield from filter(None, [alarms.counted("conflicts", source, number)])
    yield from filter(None, [alarms.counted("events_without_meter", "events", without_meter)])


def _quarantine(now: datetime) -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE received_at > %s), count(*), min(received_at)"
            " FROM metering_quarantinedevent WHERE resolved_at IS NULL AND received_at <= %s",
            [now - HOUR, now],
        )
        arrived, waiting, oldest_at = cursor.fetchone()
    yield from filter(None, [alarms.quarantine(arrived, waiting, oldest_at, now)])


def _machinery(now: datetime, through: datetime) -> Iterator[Finding]:
    if through.year > 1970:
        lag = now - through
        yield from filter(None, [alarms.held_back(lag, held_back_reason(now) if lag > alarms.LAG else "")])
    yield from filter(None, [alarms.too_few_months(lifecycle.months_ahead(now))])
    retention = timedelta(days=lifecycle.horizon().retention_days) + lifecycle.MARGIN
    late = [
        (f"{month.month:%Y-%m}", month_range(month.month)[1] + retention)
        for month in lifecycle.months_of_events(now)
        if month.state in {"due", "archived", "verified"}
    ]
    yield from alarms.overdue(late, now)


def held_back_reason(now: datetime) -> str:
    """What aggregation waits for, in words. Which process it is everybody may see, whose and how old not everybody."""
    held_by = aggregation_progress().held_by
    if not held_by:
        return "no transaction is open: is the worker of the queue metering running?"
    oldest = held_by[0]
    of = f" of {oldest.application or oldest.role}" if oldest.application or oldest.role else ""
    what = f"the oldest open transaction is that of process {oldest.pid}{of}"
    what += f", {oldest.state}" if oldest.state else ""
    return what + (f", for {(now - oldest.since).total_seconds():.0f} s" if oldest.since else "")
