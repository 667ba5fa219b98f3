"""Writing down how old events were at a stage, and what became of those not accepted: with the stage."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db import connection

from metering.freshness import Stage, count_steps
from metering.models import AggregationAdvance

_MICROSECOND = timedelta(microseconds=1)


def record_freshness(stage: Stage, *, at: datetime, received: Iterable[tuple[datetime, int]]) -> None:
    """Events a stage had done with at `at`, as (when they were received, how many). Joins the caller's transaction.

    Adds rows and updates none: two commits of one minute do not wait for each other.
    """
    counts = count_steps((max((at - received_at) // _MICROSECOND, 0), events) for received_at, events in received)
    if not counts:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_freshness (stage, minute, span_seconds, step, events, longest_us)"
            " SELECT %s, %s, 60, * FROM unnest(%s::smallint[], %s::bigint[], %s::bigint[])",
            [
                stage,
                at.replace(second=0, microsecond=0),
                [count.step for count in counts],
                [count.events for count in counts],
                [count.longest_us for count in counts],
            ],
        )


def record_changes_done(stages: Sequence[Stage], *, after: int, through: int, at: datetime) -> None:
    """That these stages had done at `at` with what the advances (after, through] changed, as `change_seq` numbers them.

    Each event is taken as old as the oldest one of its advance, which is seconds at most: too old rather than too
    young. Joins the caller's transaction.
    """
    advances = AggregationAdvance.objects.filter(change_seq__gt=after, change_seq__lte=through, events__gt=0)
    rows = advances.values_list("oldest_received_at", "events")
    received = [(received_at, events) for received_at, events in rows if received_at is not None]
    for stage in stages:
        record_freshness(stage, at=at, received=received)


def record_outcomes(outcomes: Iterable[tuple[str, int]], *, at: datetime) -> None:
    """How many events of a batch were duplicates, conflicts, quarantined or refused. What was accepted is counted by
    its windows. Joins the caller's transaction."""
    found = {outcome: events for outcome, events in outcomes if events}
    if not found:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_outcomecount (hour, outcome, events)"
            " SELECT %s, * FROM unnest(%s::text[], %s::bigint[])",
            [at.replace(minute=0, second=0, microsecond=0), list(found), list(found.values())],
        )
