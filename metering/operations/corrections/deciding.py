"""Approving, rejecting and withdrawing a draft, applying it, and going on with one that was interrupted."""

from collections.abc import Callable
from datetime import datetime

from django.db import IntegrityError, transaction
from psycopg import errors

from metering import correction_store
from metering.models import Correction, CorrectionPreview, CorrectionStep
from metering.operations.corrections.carrying_out import BATCH, carry_out
from metering.operations.corrections.choosing import freeze
from metering.operations.corrections.preview import try_out
from metering.operations.corrections.refusal import CorrectionRefused, PreviewOutdated, SecondPersonNeeded
from metering.operations.corrections.steps import (
    add_step,
    last_step,
    latest_preview,
    require_undecided,
    state_of,
    why_second_person,
)

_DONE = (CorrectionStep.APPLYING, CorrectionStep.APPLIED, CorrectionStep.REVERTING, CorrectionStep.REVERTED)
CONTINUED_BY = "task:continue_corrections"


def approve_correction(correction_id: int, *, digest: str, words: str, actor: str, now: datetime) -> None:
    """A second person agrees with the latest preview, named by its digest. Raises CorrectionRefused."""
    with transaction.atomic():
        correction_store.lock_corrections()
        correction = Correction.objects.get(pk=correction_id)
        require_undecided(correction)
        if actor == correction.drafted_by:
            raise SecondPersonNeeded("Somebody else than who drafted it has to approve it.")
        preview = _previewed(correction, digest)
        if state_of(correction) == CorrectionStep.APPROVED and last_step(correction).preview == preview:
            return
        add_step(correction, CorrectionStep.APPROVED, at=now, actor=actor, words=words, preview=preview)


def reject_correction(correction_id: int, *, words: str, actor: str, now: datetime) -> None:
    """Somebody else says no: nothing is changed. Raises CorrectionRefused."""
    _end(correction_id, CorrectionStep.REJECTED, words=words, actor=actor, now=now)


def withdraw_correction(correction_id: int, *, words: str, actor: str, now: datetime) -> None:
    """Whoever drafted it takes it back. Raises CorrectionRefused."""
    _end(correction_id, CorrectionStep.WITHDRAWN, words=words, actor=actor, now=now)


def _end(correction_id: int, step: str, *, words: str, actor: str, now: datetime) -> None:
    with transaction.atomic():
        correction_store.lock_corrections()
        correction = Correction.objects.get(pk=correction_id)
        if state_of(correction) == step:
            return
        require_undecided(correction)
        if (actor == correction.drafted_by) == (step == CorrectionStep.REJECTED):
            raise CorrectionRefused("Who drafted it withdraws it; somebody else rejects it.")
        add_step(correction, step, at=now, actor=actor, words=words)


def apply_correction(correction_id: int, *, digest: str, actor: str, now: datetime) -> str:
    """Apply the correction as its latest preview says, named by its digest; returns the state it is in then.

    A small one is applied at once. A larger one is begun, and `continue_correction` does the rest. Again: nothing
    happens. Raises PreviewOutdated, SecondPersonNeeded or CorrectionRefused, and then nothing was changed.
    """
    try:
        with transaction.atomic():
            correction_store.lock_corrections()
            correction = Correction.objects.get(pk=correction_id)
            if state_of(correction) in _DONE:
                return state_of(correction)
            require_undecided(correction)
            preview = _previewed(correction, digest)
            _require_turn()
            _require_as_previewed(correction, preview, now=now)
            _begin(correction, preview, actor=actor, now=now)
            if preview.events + correction.lines.count() <= BATCH and carry_out(correction, now=now, at_most=2 * BATCH):
                _finish(correction, actor=actor, now=now)
            return state_of(correction)
    except IntegrityError as error:
        if not isinstance(error.__cause__, errors.UniqueViolation):
            raise
        raise CorrectionRefused(
            "Somebody else corrected one of these events at the same moment. Preview it again."
        ) from error


def continue_correction(
    correction_id: int, *, now: Callable[[], datetime], should_stop: Callable[[], bool] = lambda: False
) -> str:
    """Go on with a correction that was begun, a batch a transaction; returns the state it is in then. It may be killed
    between any two steps and called again: nothing is done twice."""
    while True:
        with transaction.atomic():
            correction_store.lock_corrections()
            correction = Correction.objects.get(pk=correction_id)
            if state_of(correction) != CorrectionStep.APPLYING:
                return state_of(correction)
            at = now()
            if carry_out(correction, now=at):
                _finish(correction, actor=CONTINUED_BY, now=at)
                return state_of(correction)
        if should_stop():
            return CorrectionStep.APPLYING


def corrections_under_way() -> list[int]:
    """The corrections that were begun and are not done: at most one, as they take turns."""
    begun = Correction.objects.filter(steps__step=CorrectionStep.APPLYING)
    return list(begun.exclude(steps__step=CorrectionStep.APPLIED).order_by("pk").values_list("pk", flat=True))


def _previewed(correction: Correction, digest: str) -> CorrectionPreview:
    preview = latest_preview(correction)
    if preview.digest != digest:
        raise PreviewOutdated("A newer preview says something else. Look at it first.")
    return preview


def _require_turn() -> None:
    for other in corrections_under_way():
        raise CorrectionRefused(f"Correction {other} is being applied at this moment. Try again when it is done.")


def _require_as_previewed(correction: Correction, preview: CorrectionPreview, *, now: datetime) -> None:
    trial = try_out(correction, now=now)
    if trial.digest != preview.digest:
        raise PreviewOutdated(
            f"What was previewed no longer holds: it touched {preview.events:,} events then and touches "
            f"{trial.events:,} now, or other windows change. Nothing was changed; preview it again."
        )
    why = why_second_person(correction, events=trial.events, customers=trial.customers, now=now)
    last = last_step(correction)
    approved = last.step == CorrectionStep.APPROVED and last.preview is not None and last.preview.digest == trial.digest
    if (why or preview.needs_second_person) and not approved:
        raise SecondPersonNeeded(f"Somebody else has to approve it first. {why or preview.why_second_person}")


def _begin(correction: Correction, preview: CorrectionPreview, *, actor: str, now: datetime) -> None:
    add_step(correction, CorrectionStep.APPLYING, at=now, actor=actor, preview=preview)
    if correction.reverts is not None:
        add_step(correction.reverts, CorrectionStep.REVERTING, at=now, actor=actor, caused_by=correction)
    freeze(correction)


def _finish(correction: Correction, *, actor: str, now: datetime) -> None:
    add_step(correction, CorrectionStep.APPLIED, at=now, actor=actor)
    if correction.reverts is not None:
        add_step(correction.reverts, CorrectionStep.REVERTED, at=now, actor=actor, caused_by=correction)
