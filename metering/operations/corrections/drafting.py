"""Asking for a correction: nothing changes yet, but what would is worked out at once and kept."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction

from metering import correction_store
from metering.correction_store import Selection
from metering.events import Refusal, UsageEventInput
from metering.models import Correction, CorrectionLine, CorrectionStep
from metering.operations.corrections.preview import keep_preview
from metering.operations.corrections.refusal import CorrectionRefused
from metering.operations.corrections.steps import add_step

MAX_AMENDED = 500
_encoder = msgspec.json.Encoder(decimal_format="number")
_NEVER_AGAIN = "The same request was made before and asked for something else. Begin again from an empty form."


@dataclass(frozen=True, slots=True)
class Asked:
    """What every draft says: why, who, and a key made before the first try, so that a repeat drafts nothing new."""

    reason_code: str
    reason: str
    actor: str
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Amendment:
    """An event to void, by its key, and what takes its place; the replacement gets an identity of its own."""

    key: str
    type: Any
    subject: Any
    time: Any
    data: Any


Lines = Callable[[Correction], Iterable[CorrectionLine]]


def draft_void(selection: Selection, asked: Asked, *, now: datetime) -> Correction:
    """Ask for the selected events to count no longer. Raises CorrectionRefused; then nothing is kept."""
    return _draft(Correction.VOID, _written(selection), asked, now=now)


def draft_restore(selection: Selection, asked: Asked, *, now: datetime) -> Correction:
    """Ask for selected events that were voided to count again. Raises CorrectionRefused."""
    return _draft(Correction.RESTORE, _written(selection), asked, now=now)


def draft_amend(amendments: Sequence[Amendment], asked: Asked, *, now: datetime) -> Correction:
    """Ask for events to be replaced by others, all of them or none. Raises CorrectionRefused."""
    if not 1 <= len(amendments) <= MAX_AMENDED:
        raise CorrectionRefused(f"An amendment replaces 1 to {MAX_AMENDED} events.")
    keys = [amendment.key for amendment in amendments]
    if len(set(keys)) != len(keys):
        raise CorrectionRefused("An event is replaced by one event only.")

    def lines(correction: Correction) -> Iterable[CorrectionLine]:
        for number, amendment in enumerate(amendments, start=1):
            replacement = UsageEventInput(
                id=amendment.key,
                source=f"correction/{correction.pk}",
                type=amendment.type,
                subject=amendment.subject,
                time=amendment.time,
                data=amendment.data,
            )
            line = _line(correction, number, replacement)
            line.replaces = amendment.key
            yield line

    # As text: a JSON column would give fractions back as floats.
    events = [_encoder.encode(amendment).decode() for amendment in amendments]
    return _draft(Correction.AMEND, {"keys": keys, "events": events}, asked, now=now, lines=lines)


def draft_backfill(
    events: Iterable[tuple[int, UsageEventInput | Refusal]],
    asked: Asked,
    *,
    file_name: str,
    file_digest: str,
    rules: dict[str, Any],
    now: datetime,
) -> Correction:
    """Ask for the events of a file, each with its line, to be taken. Raises CorrectionRefused."""
    limit = settings.METERING_CORRECTION_MAX_EVENTS

    def lines(correction: Correction) -> Iterable[CorrectionLine]:
        for count, (line_number, event) in enumerate(events, start=1):
            if count > limit:
                raise CorrectionRefused(
                    f"The file has more than {limit:,} events. Cut it into several, or import it.", field="file"
                )
            yield _line(correction, line_number, event)

    selection = {"file_name": file_name, "file_digest": file_digest, "rules": rules}
    return _draft(Correction.BACKFILL, selection, asked, now=now, lines=lines)


def draft_revert(correction_id: int, asked: Asked, *, now: datetime) -> Correction:
    """Ask for an applied correction to be undone. A revert can be reverted in turn. Raises CorrectionRefused."""
    target = Correction.objects.filter(pk=correction_id).first()
    if target is None:
        raise CorrectionRefused(f"There is no correction {correction_id}.")
    return _draft(Correction.REVERT, {"correction": correction_id}, asked, now=now, reverts=target)


def _draft(
    kind: str,
    selection: dict[str, Any],
    asked: Asked,
    *,
    now: datetime,
    reverts: Correction | None = None,
    lines: Lines | None = None,
) -> Correction:
    _check_asked(asked)
    with transaction.atomic():
        correction_store.lock_corrections()
        before = Correction.objects.filter(idempotency_key=asked.idempotency_key).first()
        if before is not None:
            if (before.kind, before.selection, before.reason) != (kind, selection, asked.reason):
                raise CorrectionRefused(_NEVER_AGAIN)
            return before
        correction = Correction.objects.create(
            kind=kind,
            reason_code=asked.reason_code,
            reason=asked.reason,
            selection=selection,
            reverts=reverts,
            drafted_by=asked.actor,
            drafted_at=now,
            idempotency_key=asked.idempotency_key,
        )
        add_step(correction, CorrectionStep.DRAFTED, at=now, actor=asked.actor, words=asked.reason)
        if lines is not None:
            CorrectionLine.objects.bulk_create(lines(correction), batch_size=2_000)
            if not correction.lines.exists():
                raise CorrectionRefused("The file holds no events.", field="file")
        keep_preview(correction, actor=asked.actor, now=now)
    return correction


def _check_asked(asked: Asked) -> None:
    if asked.reason_code not in dict(Correction.REASONS):
        raise CorrectionRefused("Choose a reason from the list.", field="reason_code")
    if not asked.reason.strip():
        raise CorrectionRefused("Say why, for whoever asks later.", field="reason")
    if len(asked.reason) > 500:
        raise CorrectionRefused("Say why in at most 500 characters.", field="reason")


def _line(correction: Correction, line_number: int, event: UsageEventInput | Refusal) -> CorrectionLine:
    """The line as it will be sent; an event that cannot be written as JSON is a problem of its own line."""
    if isinstance(event, Refusal):
        return _problem(correction, line_number, event)
    try:
        text = _encoder.encode(event).decode()
    except (TypeError, ValueError, UnicodeEncodeError, RecursionError) as error:
        refusal = Refusal("", "", f"the event cannot be kept: {error}", "send plain text in UTF-8")
        return _problem(correction, line_number, refusal)
    event_id = event.id[:256].replace("\x00", "") if isinstance(event.id, str) else ""
    return CorrectionLine(correction=correction, line_number=line_number, event=text, event_id=event_id)


def _problem(correction: Correction, line_number: int, refusal: Refusal) -> CorrectionLine:
    told = {"field": refusal.field, "reason": refusal.reason, "remedy": refusal.remedy}
    readable = {name: text.encode(errors="replace").decode().replace("\x00", "") for name, text in told.items()}
    event_id = refusal.event_id[:256].encode(errors="replace").decode().replace("\x00", "")
    return CorrectionLine(correction=correction, line_number=line_number, event_id=event_id, problem=readable)


def _written(selection: Selection) -> dict[str, Any]:
    """The selection as its row keeps it; what was left empty is left out."""
    told: dict[str, Any] = {
        "keys": sorted(set(selection.keys)),
        "start": selection.start.isoformat() if selection.start else None,
        "end": selection.end.isoformat() if selection.end else None,
        "customer_key": selection.customer_key,
        "event_type": selection.event_type,
        "source": selection.source,
        "where": {path: list(texts) for path, texts in selection.where.items()},
    }
    if not told["keys"]:
        _check_range(selection)
    return {name: value for name, value in told.items() if value}


def _check_range(selection: Selection) -> None:
    if selection.start is None or selection.end is None:
        raise CorrectionRefused("Give the events, or the time range they lie in.", field="start")
    if selection.start >= selection.end:
        raise CorrectionRefused("The range ends before it starts.", field="end")
    if not (selection.customer_key or selection.event_type or selection.source):
        raise CorrectionRefused(
            "Name a customer, a type or a source: a range alone means everybody.", field="customer_key"
        )
    for path in selection.where:
        if not all(path.split(".")):
            raise CorrectionRefused(f"{path!r} is no path below data, such as model.", field="where")
