"""The steps of a correction, one row each; its state is the last. The database refuses what may not follow."""

from datetime import UTC, datetime

from django.conf import settings
from django.db.models import Sum

from metering.models import Correction, CorrectionPreview, CorrectionStep
from metering.operations.corrections.refusal import CorrectionRefused

UNDECIDED = (CorrectionStep.DRAFTED, CorrectionStep.APPROVED)


def last_step(correction: Correction) -> CorrectionStep:
    return correction.steps.order_by("-position")[0]


def state_of(correction: Correction) -> str:
    """The name of its last step, such as drafted or applied."""
    return last_step(correction).step


def latest_preview(correction: Correction) -> CorrectionPreview:
    return correction.previews.order_by("-number")[0]


def add_step(
    correction: Correction,
    step: str,
    *,
    at: datetime,
    actor: str,
    words: str = "",
    preview: CorrectionPreview | None = None,
    caused_by: Correction | None = None,
) -> None:
    CorrectionStep.objects.create(
        correction=correction,
        position=correction.steps.count() + 1,
        step=step,
        at=at,
        actor=actor,
        words=words,
        preview=preview,
        caused_by=caused_by,
    )


def require_undecided(correction: Correction) -> None:
    """Raises CorrectionRefused for a correction that is applied, or was rejected or withdrawn."""
    step = last_step(correction)
    if step.step not in UNDECIDED:
        raise CorrectionRefused(f"Correction {correction.pk} is no draft any more: {step.get_step_display().lower()}.")


def why_not_revertible(target: Correction) -> str:
    """What stands in the way of reverting a correction that is not simply applied, and what to do."""
    step = last_step(target)
    if step.caused_by is not None:
        return (
            f"Correction {target.pk} was reverted by correction {step.caused_by.pk}. To bring it back, revert "
            f"correction {step.caused_by.pk}."
        )
    return f"Correction {target.pk} is not applied ({step.get_step_display().lower()}): there is nothing to revert."


def why_second_person(correction: Correction, *, events: int, customers: int, now: datetime) -> str:
    """Why somebody else has to approve the correction, with the figures; "" when nobody has to.

    Events that the same person corrected alone on the same day (UTC) count, so asking in parts gains nothing.
    """
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    alone = (
        CorrectionStep.objects.filter(step=CorrectionStep.APPLYING, at__gte=day, at__lte=now)
        .filter(correction__drafted_by=correction.drafted_by, preview__needs_second_person=False)
        .exclude(correction=correction)
        .aggregate(events=Sum("preview__events"))["events"]
        or 0
    )
    limit = settings.METERING_CORRECTION_ALONE_EVENTS
    if events + alone > limit:
        together = f" with {alone:,} corrected alone before on that day (UTC)" if alone else ""
        return f"It touches {events:,} events{together}; one person alone may touch {limit:,} a day."
    most = settings.METERING_CORRECTION_ALONE_CUSTOMERS
    if customers > most:
        return f"It touches {customers:,} customers; one person alone may touch {most:,} at a time."
    return ""
