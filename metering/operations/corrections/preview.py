"""What a correction would do: it is done, looked at, and rolled back. So the preview says what applying will do."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal

import msgspec
from django.db import transaction
from django.db.models import Max

from metering import correction_store, effects
from metering.correction_figures import WindowKey, effective_figures
from metering.effects import WindowChange
from metering.models import Correction, CorrectionEvent, CorrectionPreview, CorrectionReject, CorrectionWindow
from metering.operations.corrections.carrying_out import carry_out
from metering.operations.corrections.choosing import freeze
from metering.operations.corrections.refusal import CorrectionRefused
from metering.operations.corrections.steps import require_undecided, why_second_person
from metering.windows import WindowFigures

_NOTHING = WindowFigures(Decimal(0), 0, 0)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of doing the correction. `changes` are the windows that differ, in order, with the fingerprint each
    would have; `digest` is over all of it."""

    digest: str
    changes: Sequence[tuple[WindowChange, int]]
    counts: Mapping[str, int]
    events: int

    @property
    def customers(self) -> int:
        return len({change.customer_key for change, _ in self.changes})


def preview_correction(correction_id: int, *, actor: str, now: datetime) -> CorrectionPreview:
    """Work out, and keep, what applying the correction would do now. Raises CorrectionRefused."""
    with transaction.atomic():
        correction_store.lock_corrections()
        correction = Correction.objects.get(pk=correction_id)
        require_undecided(correction)
        return keep_preview(correction, actor=actor, now=now)


def keep_preview(correction: Correction, *, actor: str, now: datetime) -> CorrectionPreview:
    """The same within the caller's transaction, which holds the corrections' lock."""
    trial = try_out(correction, now=now)
    why = why_second_person(correction, events=trial.events, customers=trial.customers, now=now)
    last = correction.previews.aggregate(last=Max("number"))["last"] or 0
    preview = CorrectionPreview.objects.create(
        correction=correction,
        number=last + 1,
        made_at=now,
        made_by=actor,
        digest=trial.digest,
        events=trial.events,
        customers=trial.customers,
        counts=dict(trial.counts),
        money=[asdict(effect) for effect in effects.of_windows([change for change, _ in trial.changes])],
        needs_second_person=bool(why),
        why_second_person=why,
    )
    rows = (_window_row(preview, change, fingerprint) for change, fingerprint in trial.changes)
    CorrectionWindow.objects.bulk_create(rows, batch_size=2_000)
    return preview


def try_out(correction: Correction, *, now: datetime) -> Trial:
    """Do all of the correction in a part of the transaction that is rolled back. Raises CorrectionRefused."""
    with transaction.atomic():
        counts: Counter[str] = Counter(freeze(correction))
        while not carry_out(correction, now=now):
            pass
        _require_replacements(correction)
        touched = [
            f"{role}:{key.hex}" for role, key in correction.events.order_by("key", "role").values_list("role", "key")
        ]
        counts.update(role.partition(":")[0] for role in touched)
        counts.update(correction.rejects.values_list("status", flat=True))
        hours = correction_store.hours_touched(correction.pk)
        after = effective_figures(hours)
        transaction.set_rollback(True)
    changes = _changes(effective_figures(hours), after)
    return Trial(_digest(changes, touched, counts), changes, counts, len(touched))


def _require_replacements(correction: Correction) -> None:
    """An amendment brings every replacement, or nothing is amended. Raises CorrectionRefused."""
    if correction.kind not in (Correction.AMEND, Correction.BACKFILL):
        return
    rejects: list[CorrectionReject] = list(correction.rejects.order_by("line_number")[:3])
    if correction.kind == Correction.AMEND and rejects:
        first = rejects[0]
        remedy = f"; {first.remedy}" if first.remedy else ""
        raise CorrectionRefused(
            f"The replacement is not accepted ({first.status}): {first.field}: {first.reason}{remedy}.", field="event"
        )
    if not correction.events.exclude(role=CorrectionEvent.VOIDED).exists():
        first_text = "; ".join(f"line {row.line_number}: {row.reason}" for row in rejects)
        raise CorrectionRefused(f"The file brings no new event ({first_text}).", field="file")


def _changes(
    before: Mapping[WindowKey, WindowFigures], after: Mapping[WindowKey, WindowFigures]
) -> list[tuple[WindowChange, int]]:
    changes = []
    for key in sorted(before.keys() | after.keys()):
        was, becomes = before.get(key, _NOTHING), after.get(key, _NOTHING)
        if was == becomes:
            continue
        change = WindowChange(
            window_start=key.window_start,
            customer_key=key.customer_key,
            meter_code=key.meter_code,
            meter_version=key.meter_version,
            dimensions=msgspec.json.decode(key.dimensions),
            quantity_before=was.quantity,
            quantity_after=becomes.quantity,
            events_before=was.event_count,
            events_after=becomes.event_count,
        )
        changes.append((change, becomes.fingerprint))
    return changes


def _digest(changes: Sequence[tuple[WindowChange, int]], touched: Sequence[str], counts: Mapping[str, int]) -> str:
    """Over what the correction changes, not over what the windows hold: usage that goes on arriving in the same hour
    does not make a preview stale unless it changes the difference."""
    differences = [
        [
            change.window_start,
            change.customer_key,
            change.meter_code,
            change.meter_version,
            change.dimensions,
            format((change.quantity_after - change.quantity_before).normalize(), "f"),
            change.events_after - change.events_before,
        ]
        for change, _ in changes
    ]
    text = msgspec.json.encode([differences, list(touched), dict(counts)], order="sorted")
    return hashlib.sha256(text).hexdigest()


def _window_row(preview: CorrectionPreview, change: WindowChange, fingerprint: int) -> CorrectionWindow:
    return CorrectionWindow(preview=preview, fingerprint_after=Decimal(fingerprint), **asdict(change))
