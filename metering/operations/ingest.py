"""Taking events in, each exactly once."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from metering.admission import EventOutcome, sort_batch, store_batch
from metering.events import (
    MAX_EVENTS_PER_BATCH,
    Refusal,
    TooManyEvents,
    UsageEventInput,
)
from metering.operations.freshness import record_outcomes


@dataclass(frozen=True, slots=True)
class IngestResult:
    """Counts of a batch. `outcomes` names every event that was not accepted, in order; `refused` are those refused."""

    accepted: int
    duplicates: int
    conflicts: int
    quarantined: int
    refused: list[EventOutcome]
    outcomes: list[EventOutcome]


def register_subjects(customer_keys: Iterable[str]) -> int:
    """Let usage be recorded for these customers; returns how many were new. Repeating it changes nothing."""
    keys = sorted(set(customer_keys))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_subject (customer_key) SELECT unnest(%s::varchar[]) ON CONFLICT DO NOTHING", [keys]
        )
        return int(cursor.rowcount)


def ingest_events(events: Sequence[UsageEventInput | Refusal], *, received_at: datetime) -> IngestResult:
    """Take a batch: each event is accepted, or named in the result with what became of it. Raises TooManyEvents.

    An accepted event is stored exactly once, whatever is sent again, at the same time or with another time. It is
    durable and seen by aggregation when the transaction commits: the caller's, if there is one. A `Refusal`, which
    `decode_batch` yields for an event it cannot read, keeps its index.
    """
    if len(events) > MAX_EVENTS_PER_BATCH:
        raise TooManyEvents(f"{len(events):,} events in one batch; at most {MAX_EVENTS_PER_BATCH:,} are taken.")
    batch = sort_batch(events, received_at=received_at, oldest=dedupe_horizon(received_at))
    store_batch(batch, received_at=received_at)
    outcomes = [batch.outcomes[index] for index in sorted(batch.outcomes)]
    count = Counter(outcome.status for outcome in outcomes)
    record_outcomes(count.items(), at=received_at)
    return IngestResult(
        accepted=len(events) - len(outcomes),
        duplicates=count["duplicate"],
        conflicts=count["conflict"],
        quarantined=count["quarantined"],
        refused=[outcome for outcome in outcomes if outcome.status == "refused"],
        outcomes=outcomes,
    )


def dedupe_horizon(now: datetime) -> datetime:
    """Events before this instant are refused: their keys may have been dropped, so a repeat could not be noticed."""
    return now - timedelta(days=settings.METERING_DEDUPE_HORIZON_DAYS)
