"""What the commands that correct usage share: who they are, applying to the end, and what they tell."""

from typing import Any

from config import clock
from metering import operations
from metering.models import Correction
from metering.queries.corrections import correction_days, correction_steps

ACTOR = "service:command"
EXIT_REJECTED = 1
EXIT_USAGE = 2


def apply_as_previewed(correction: Correction) -> str:
    """Apply it to the end; returns its state. Raises CorrectionRefused."""
    digest = correction.previews.latest("number").digest
    operations.apply_correction(correction.pk, digest=digest, actor=ACTOR, now=clock.now())
    return operations.continue_correction(correction.pk, now=clock.now)


def tell(correction: Correction, *, state: str) -> dict[str, Any]:
    """The correction's number, state and preview, ready for JSON; quantities as text, exact."""
    preview = correction.previews.latest("number")
    return {
        "correction": correction.pk,
        "state": state or correction_steps(correction)[-1].step,
        "counts": preview.counts,
        "needs_second_person": preview.why_second_person,
        "days": [
            {
                "customer": day.customer_key,
                "meter": day.meter_code,
                "day": day.day.isoformat(),
                "before": None if day.quantity_before is None else format(day.quantity_before.normalize(), "f"),
                "after": None if day.quantity_after is None else format(day.quantity_after.normalize(), "f"),
            }
            for day in correction_days(preview.pk)
        ],
        "money": preview.money,
    }
