"""How far each stage lags behind, and what became of what was sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from metering.freshness import STAGES, Lag, Stage, StepCount, lag_of


@dataclass(frozen=True, slots=True)
class LagAt:
    """Lag of the events that a stage had done with in the span that begins at `start`."""

    start: datetime
    lag: Lag


def lags(start: datetime, end: datetime) -> dict[Stage, Lag]:
    """Per stage, the lag of what it had done with in [start, end), minutes as they were recorded."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT stage, step, sum(events)::bigint, max(longest_us) FROM metering_freshness"
            " WHERE stage = ANY(%s) AND minute >= %s AND minute < %s GROUP BY stage, step",
            [list(STAGES), start, end],
        )
        rows = cursor.fetchall()
    return {stage: lag_of([StepCount(*row[1:]) for row in rows if row[0] == stage]) for stage in STAGES}


def lag_over_time(stage: Stage, start: datetime, end: datetime, *, span: timedelta) -> list[LagAt]:
    """The lag of one stage in each span of [start, end) in which it had something done, in order. A span shorter than
    an hour shows nothing of times that were added up by the hour."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT date_bin(make_interval(secs => %(seconds)s), minute, %(start)s) AS begins, step,"
            " sum(events)::bigint, max(longest_us)"
            " FROM metering_freshness WHERE stage = %(stage)s AND minute >= %(start)s AND minute < %(end)s"
            " GROUP BY begins, step ORDER BY begins",
            {"seconds": span.total_seconds(), "start": start, "end": end, "stage": stage},
        )
        by_span: dict[datetime, list[StepCount]] = {}
        for begins, *count in cursor.fetchall():
            by_span.setdefault(begins, []).append(StepCount(*count))
    return [LagAt(begins, lag_of(counts)) for begins, counts in by_span.items()]


def outcome_totals() -> Mapping[str, int]:
    """Since the beginning: events recorded and aggregated as `accepted`, and those of batches that were duplicate,
    conflict, quarantined or refused; an event sent twice counts twice."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT outcome, sum(events)::bigint FROM metering_outcomecount GROUP BY outcome")
        found = dict(cursor.fetchall())
        cursor.execute("SELECT coalesce(sum(events), 0)::bigint FROM metering_aggregationadvance")
        (accepted,) = cursor.fetchone()
    return {"accepted": accepted, **{name: found.get(name, 0) for name in OUTCOMES}}


OUTCOMES = ("duplicate", "conflict", "quarantined", "refused")
