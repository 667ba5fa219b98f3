"""Doing what a correction says: marks on events, and events of its own through the same door as every other."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Max

from metering import correction_store as store
from metering.admission import EventOutcome, sort_batch, store_batch
from metering.events import Refusal, UsageEventInput, decode_batch
from metering.models import Correction, CorrectionEvent, CorrectionLine, CorrectionReject
from metering.operations.ingest import dedupe_horizon

BATCH = 2_000
"""Events a transaction; an amendment and whatever is applied at once fits into one."""


def carry_out(correction: Correction, *, now: datetime, at_most: int = BATCH) -> bool:
    """Do the next part of the correction, whose events were frozen; returns whether all of it is done.

    What was done before is never done again: marks and lines say themselves how far it came.
    """
    marked = 0
    for role, sign in ((CorrectionEvent.VOIDED, store.VOID), (CorrectionEvent.RESTORED, store.RESTORE)):
        marked += store.mark_events(correction.pk, role=role, sign=sign, now=now, at_most=at_most - marked)
        if marked == at_most:
            return False
    lines = _next_lines(correction, at_most - marked)
    if lines:
        _bring(correction, lines, now=now)
    return len(lines) < at_most - marked


def _next_lines(correction: Correction, at_most: int) -> list[CorrectionLine]:
    done = [
        rows.aggregate(last=Max("line_number"))["last"] or 0
        for rows in (correction.events.filter(line_number__isnull=False), correction.rejects)
    ]
    return list(correction.lines.filter(line_number__gt=max(done)).order_by("line_number")[:at_most])


def _bring(correction: Correction, lines: Sequence[CorrectionLine], *, now: datetime) -> None:
    """Send the lines through the door. What cannot be counted yet is not put into quarantine: once replayed from there
    it would count without belonging to the correction, and outlive its revert."""
    batch = sort_batch(_events(lines), received_at=now, oldest=dedupe_horizon(now))
    waiting = dict(batch.quarantined)
    batch.quarantined.clear()
    store_batch(batch, received_at=now)
    rejects = dict(batch.outcomes)
    for index, (event, reason) in waiting.items():
        rejects[index] = _not_countable(index, event.id, event.type, event.subject, reason)
    role = CorrectionEvent.REPLACEMENT if correction.kind == Correction.AMEND else CorrectionEvent.BACKFILLED
    CorrectionEvent.objects.bulk_create(
        CorrectionEvent(
            correction=correction,
            key=event.key,
            event_time=event.time,
            role=role,
            line_number=lines[index].line_number,
            replaces=lines[index].replaces,
        )
        for index, event in batch.admitted.items()
        if index not in rejects
    )
    CorrectionReject.objects.bulk_create(
        CorrectionReject(
            correction=correction,
            line_number=lines[index].line_number,
            event_id=lines[index].event_id,
            status=outcome.status,
            field=outcome.field[:200],
            reason=outcome.reason[:500],
            remedy=outcome.remedy[:500],
        )
        for index, outcome in sorted(rejects.items())
    )


def _events(lines: Sequence[CorrectionLine]) -> list[UsageEventInput | Refusal]:
    texts = [line.event for line in lines if line.event]
    decoded = iter(decode_batch(f"[{','.join(texts)}]".encode()))
    return [next(decoded) if line.event else Refusal(line.event_id, **(line.problem or {})) for line in lines]


def _not_countable(index: int, event_id: str, event_type: str, subject: str, reason: str) -> EventOutcome:
    if reason == "unknown_type":
        text, field = f"no meter takes the type {event_type}", "type"
        remedy = "define a meter for it, then draft the correction again"
    else:
        text, field = f"the subject {subject} is not known", "subject"
        remedy = "register the customer, then draft the correction again"
    return EventOutcome(index, event_id, "quarantined", text, field, remedy)
