"""Sending quarantined events through the door again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
from django.db import connection, transaction
from django.db.models import QuerySet

from metering.admission import sort_batch, store_batch
from metering.events import (
    UsageEventInput,
)
from metering.models import QuarantinedEvent
from metering.operations.ingest import dedupe_horizon

_REPLAY_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay of quarantined events ended in. `waiting` ones still cannot be counted."""

    accepted: int
    duplicates: int
    conflicts: int
    waiting: int


@dataclass(frozen=True, slots=True)
class QuarantineFilter:
    """Waiting events of one reason, type or source; what is empty leaves nothing out."""

    reason: str = ""
    event_type: str = ""
    source: str = ""


class NotDismissed(Exception):
    """Quarantined events cannot be dismissed as asked: the text says why."""


Chosen = Sequence[int] | QuarantineFilter | Literal["all"]


def replay_quarantine(*, ids: Chosen, actor: str, now: datetime) -> ReplayResult:
    """Send quarantined events through the same door again, in order of arrival; `actor` is recorded with each.

    Those that can still not be counted stay, with their present reason. Committed in batches, as it may be long.
    """
    total: Counter[str] = Counter()
    last_id = 0
    while True:
        with transaction.atomic():
            waiting = waiting_events(ids).filter(id__gt=last_id).order_by("id")
            rows = list(waiting.select_for_update(skip_locked=True).defer("data")[:_REPLAY_BATCH])
            if not rows:
                break
            total += _replay(rows, actor=actor, now=now)
            last_id = rows[-1].id
    return ReplayResult(total["accepted"], total["duplicate"], total["conflict"], total["waiting"])


def dismiss_quarantine(*, ids: Chosen, reason: str, actor: str, now: datetime) -> int:
    """Say of waiting events that they will never be counted, and why; returns how many. The events stay on record, and
    one that is sent again stays dismissed. Raises NotDismissed."""
    if not reason.strip():
        raise NotDismissed("Say why these events will never be counted.")
    if len(reason) > 500:
        raise NotDismissed("Say why in at most 500 characters.")
    return waiting_events(ids).update(
        resolved_at=now, resolved_by=actor, outcome=QuarantinedEvent.DISMISSED, dismissed_because=reason
    )


def waiting_events(ids: Chosen) -> QuerySet[QuarantinedEvent]:
    """Those of the chosen events that wait in quarantine."""
    waiting = QuarantinedEvent.objects.filter(resolved_at=None)
    if isinstance(ids, QuarantineFilter):
        named = {name: value for name, value in asdict(ids).items() if value}
        return waiting.filter(**named)
    return waiting if ids == "all" else waiting.filter(id__in=list(ids))


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
    batch = sort_batch(inputs, received_at=now, oldest=dedupe_horizon(now))
    for index, event in batch.admitted.items():
        # jsonb writes numbers in its own way; the digest stays the one of the body that was sent.
        batch.admitted[index] = msgspec.structs.replace(event, digest=rows[index].digest.hex)
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
