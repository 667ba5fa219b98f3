"""Everything that writes to metering. Quantities are Decimal, times are aware; nothing here reads a clock."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import msgspec
from django.conf import settings
from django.db import connection, transaction

from metering import event_store, windows
from metering.admission import EventOutcome, sort_batch, store_batch
from metering.events import (
    MAX_EVENTS_PER_BATCH,
    BatchError,
    NotJSON,
    Refusal,
    TooManyEvents,
    UsageEventInput,
    decode_batch,
)
from metering.models import Meter, QuarantinedEvent
from metering.windows import TransactionCounterWentBack, WindowAdvance

__all__ = [
    "BatchError",
    "DefinedMeter",
    "EventOutcome",
    "IngestResult",
    "InvalidMeter",
    "NotJSON",
    "Refusal",
    "ReplayResult",
    "TooManyEvents",
    "TransactionCounterWentBack",
    "UsageEventInput",
    "WindowAdvance",
    "WindowsLagBehind",
    "advance_windows",
    "catch_up_windows",
    "decode_batch",
    "define_meter",
    "ensure_partitions",
    "ingest_events",
    "register_subjects",
    "replay_quarantine",
]

_REPLAY_BATCH = 1_000
_CATCH_UP_PAUSE_SECONDS = 0.05


class InvalidMeter(Exception):
    """A meter's definition cannot be aggregated: the text says which part."""


class WindowsLagBehind(Exception):
    """Aggregation did not catch up in the time given; most likely a transaction somewhere stays open."""


@dataclass(frozen=True, slots=True)
class DefinedMeter:
    """The version of a meter that is in force, and whether this call made it."""

    code: str
    version: int
    created: bool


@dataclass(frozen=True, slots=True)
class IngestResult:
    """Counts of a batch. `outcomes` names every event that was not accepted, in order; `refused` are those refused."""

    accepted: int
    duplicates: int
    conflicts: int
    quarantined: int
    refused: list[EventOutcome]
    outcomes: list[EventOutcome]


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay of quarantined events ended in. `waiting` ones still cannot be counted."""

    accepted: int
    duplicates: int
    conflicts: int
    waiting: int


def register_subjects(customer_keys: Iterable[str]) -> int:
    """Let usage be recorded for these customers; returns how many were new. Repeating it changes nothing."""
    keys = sorted(set(customer_keys))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_subject (customer_key) SELECT unnest(%s::varchar[]) ON CONFLICT DO NOTHING", [keys]
        )
        return int(cursor.rowcount)


def define_meter(
    *, code: str, event_type: str, value_path: str, aggregation: str, dimensions: Sequence[str], unit: str
) -> DefinedMeter:
    """Put a meter in force for events recorded from now on. The same definition again changes nothing; another one
    makes a new version, and the former stops counting where the new one starts. Raises InvalidMeter.

    Which events a version counts goes by the database transaction that recorded them, so that it can be re-derived.
    """
    _check_meter(code, value_path, aggregation, dimensions)
    wanted = {
        "event_type": event_type,
        "value_path": value_path,
        "aggregation": aggregation,
        "unit": unit,
        "dimensions": list(dimensions),
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"metering.define_meter:{code}"])
        latest = Meter.objects.filter(code=code).order_by("-version").first()
        if latest is not None and latest.active and all(getattr(latest, name) == wanted[name] for name in wanted):
            return DefinedMeter(code, latest.version, created=False)
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        (xid,) = cursor.fetchone()
        Meter.objects.filter(code=code, active=True).update(active=False, counts_before_xid=xid)
        version = latest.version + 1 if latest else 1
        Meter.objects.create(code=code, version=version, counts_from_xid=xid, **wanted)
    return DefinedMeter(code, version, created=True)


def _check_meter(code: str, value_path: str, aggregation: str, dimensions: Sequence[str]) -> None:
    if not code:
        raise InvalidMeter("A meter needs a code.")
    if aggregation not in {Meter.SUM, Meter.COUNT}:
        raise InvalidMeter(f"{code}: the aggregation is sum or count, not {aggregation!r}.")
    steps = value_path.split(".")
    if aggregation == Meter.SUM and (steps[0] != "data" or len(steps) < 2 or not all(steps)):
        raise InvalidMeter(f"{code}: a sum needs the path of its value, such as data.input_tokens.")
    if aggregation == Meter.COUNT and value_path:
        raise InvalidMeter(f"{code}: a count has no value path.")
    if len(set(dimensions)) != len(dimensions) or not all(all(name.split(".")) for name in dimensions):
        raise InvalidMeter(f"{code}: dimensions are paths below data, each named once.")


def ingest_events(events: Sequence[UsageEventInput | Refusal], *, received_at: datetime) -> IngestResult:
    """Take a batch: each event is accepted, or named in the result with what became of it. Raises TooManyEvents.

    An accepted event is stored exactly once, whatever is sent again, at the same time or with another time. It is
    durable and seen by aggregation when the transaction commits: the caller's, if there is one. A `Refusal`, which
    `decode_batch` yields for an event it cannot read, keeps its index.
    """
    if len(events) > MAX_EVENTS_PER_BATCH:
        raise TooManyEvents(f"{len(events):,} events in one batch; at most {MAX_EVENTS_PER_BATCH:,} are taken.")
    with transaction.atomic():
        batch = sort_batch(events, received_at=received_at, oldest=_dedupe_horizon(received_at))
        store_batch(batch, received_at=received_at)
    outcomes = [batch.outcomes[index] for index in sorted(batch.outcomes)]
    count = Counter(outcome.status for outcome in outcomes)
    return IngestResult(
        accepted=len(events) - len(outcomes),
        duplicates=count["duplicate"],
        conflicts=count["conflict"],
        quarantined=count["quarantined"],
        refused=[outcome for outcome in outcomes if outcome.status == "refused"],
        outcomes=outcomes,
    )


def _dedupe_horizon(now: datetime) -> datetime:
    """Events before this instant are refused: their keys may have been dropped, so a repeat could not be noticed."""
    return now - timedelta(days=settings.METERING_DEDUPE_HORIZON_DAYS)


def replay_quarantine(*, ids: Sequence[int] | Literal["all"], actor: str, now: datetime) -> ReplayResult:
    """Send quarantined events through the same door again, in order of arrival; `actor` is recorded with each.

    Those that can still not be counted stay, with their present reason. Committed in batches, as it may be long.
    """
    total: Counter[str] = Counter()
    last_id = 0
    while True:
        with transaction.atomic():
            waiting = QuarantinedEvent.objects.filter(resolved_at=None, id__gt=last_id).order_by("id")
            if ids != "all":
                waiting = waiting.filter(id__in=list(ids))
            rows = list(waiting.select_for_update(skip_locked=True).defer("data")[:_REPLAY_BATCH])
            if not rows:
                break
            total += _replay(rows, actor=actor, now=now)
            last_id = rows[-1].id
    return ReplayResult(total["accepted"], total["duplicate"], total["conflict"], total["waiting"])


def _replay(rows: Sequence[QuarantinedEvent], *, actor: str, now: datetime) -> Counter[str]:
    data = _exact_data([row.id for row in rows])
    inputs = [
        UsageEventInput(
            id=row.event_id,
            source=row.source,
            type=row.event_type,
            subject=row.customer_key,
            time=row.event_time,
            data=data[row.id],
        )
        for row in rows
    ]
    batch = sort_batch(inputs, received_at=now, oldest=_dedupe_horizon(now))
    for index, event in batch.admitted.items():
        # jsonb writes numbers in its own way; the digest stays the one of the body that was sent.
        batch.admitted[index] = replace(event, digest=rows[index].digest.hex)
    still_waiting = {index: reason for index, (_, reason) in batch.quarantined.items()}
    batch.quarantined.clear()
    store_batch(batch, received_at=now)
    count: Counter[str] = Counter()
    for index, row in enumerate(rows):
        outcome = batch.outcomes.get(index)
        if index in still_waiting or (outcome is not None and outcome.status == "refused"):
            row.reason = still_waiting.get(index, QuarantinedEvent.REFUSED_ON_REPLAY)
            row.detail = f"{outcome.field}: {outcome.reason}"[:500] if outcome else ""
            count["waiting"] += 1
        else:
            row.resolved_at, row.resolved_by, row.outcome = now, actor, outcome.status if outcome else "accepted"
            count[row.outcome] += 1
    QuarantinedEvent.objects.bulk_update(rows, ["reason", "detail", "resolved_at", "resolved_by", "outcome"])
    return count


def _exact_data(ids: Sequence[int]) -> dict[int, Any]:
    """The data of quarantined events with Decimals; Django's JSONField would read fractions as floats."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, data::text FROM metering_quarantinedevent WHERE id = ANY(%s)", [list(ids)])
        decoder = msgspec.json.Decoder(float_hook=Decimal)
        return {row_id: decoder.decode(text) for row_id, text in cursor.fetchall()}


def advance_windows(*, now: datetime, max_events: int = 100_000) -> WindowAdvance:
    """Bring newly recorded events into their windows, each exactly once, and commit. One advance runs at a time.

    Takes events of transactions that no open transaction can precede any more, so one that was recorded early and
    committed late is never passed over. A transaction is never split: `max_events` may be exceeded by the last one.
    Must be the outermost transaction. Raises TransactionCounterWentBack.
    """
    with transaction.atomic(durable=True):
        return windows.advance(now=now, max_events=max_events)


def catch_up_windows(*, now: datetime, patience_seconds: float = 60) -> WindowAdvance:
    """Advance until everything recorded so far is in its windows; returns the sums. Raises WindowsLagBehind.

    Waits, as long as `patience_seconds`, for transactions that are open anywhere on the database server.
    """
    events = window_changes = 0
    deadline = time.monotonic() + patience_seconds
    while True:
        advance = advance_windows(now=now)
        events += advance.events
        window_changes += advance.windows
        if advance.caught_up:
            return WindowAdvance(events, window_changes, caught_up=True)
        if advance.events == 0:
            if time.monotonic() > deadline:
                raise WindowsLagBehind(
                    f"Events were still held back after {patience_seconds} s; is a transaction open?"
                )
            time.sleep(_CATCH_UP_PAUSE_SECONDS)


def ensure_partitions(*, start: datetime, end: datetime) -> int:
    """Make the monthly partitions for events from `start` up to and including `end`; returns how many were missing."""
    return event_store.ensure_partitions(start=start, end=end)
