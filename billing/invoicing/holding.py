"""
Closes that wait for a person: what they are held for, and letting them go on.

A close is held for what must be mended first (a line changed at Stripe), or for findings that a person may let pass (a
total far above the usual). A release writes down which findings those were: the same ones do not hold it again, others
do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction

from billing.accounting.people import may
from billing.invoicing.metered.models import MeteredShortfall
from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.release_models import InvoiceCloseRelease

HELD_CHARS_MAX = 500
NOT_FINALIZED = "Stripe could not finalise it"
RELEASE = "billing.release_invoiceclose"


class ReleaseRefused(Exception):
    """A held close cannot go on as asked; nothing was written. `field` names what to mend."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person has to look at: a stable code, the sentence, and the figures that were compared."""

    code: str
    words: str
    figures: Mapping[str, str] = field(default_factory=dict)


class CloseHeld(Exception):
    """The step must not be done before a person has looked; its text says why, `findings` what may be let pass."""

    def __init__(self, reason: str, findings: Sequence[Finding] = ()) -> None:
        super().__init__(reason)
        self.findings = findings


def held(reason: str, findings: Sequence[Finding] = (), *, now: datetime) -> dict[str, Any]:
    """The columns of a close that is held from now on."""
    return {
        "held_reason": reason[:HELD_CHARS_MAX],
        "held_at": now,
        "findings": [asdict(finding) for finding in findings],
    }


def require_passed(close: InvoiceClose, findings: Sequence[Finding]) -> None:
    """Raise CloseHeld for what nobody has let pass yet."""
    if not findings:
        return
    releases = InvoiceCloseRelease.objects.filter(close=close)
    passed = {(one["code"], one["words"]) for release in releases for one in release.findings}
    left = [finding for finding in findings if (finding.code, finding.words) not in passed]
    if left:
        raise CloseHeld("; ".join(finding.words for finding in left), left)


def has_passed(close: InvoiceClose, code: str) -> bool:
    """Whether a person let findings of this kind pass on this close, whatever their figures were."""
    releases = InvoiceCloseRelease.objects.filter(close=close)
    return any(one["code"] == code for release in releases for one in release.findings)


def hold_close_of(*, stripe_invoice_id: str, reason: str, now: datetime) -> None:
    """Make it visible on its close that an invoice cannot be entered. Nothing where it has no close."""
    closes = InvoiceClose.objects.filter(invoice__stripe_invoice_id=stripe_invoice_id)
    closes.filter(held_reason="").update(held_at=now)
    closes.update(held_reason=reason[:HELD_CHARS_MAX], findings=[])


def let_finalize_again(*, customer_id: int, now: datetime) -> None:
    """The customer changed: what Stripe would not finalise, as for want of an address, may have been mended by that."""
    closes = InvoiceClose.objects.filter(invoice__customer_id=customer_id, invoice__status=Invoice.Status.DRAFT)
    closes.exclude(step__in=InvoiceClose.ENDS).filter(held_reason__startswith=NOT_FINALIZED).update(
        held_reason="", held_at=None, findings=[], attempts=0, next_attempt_at=now
    )


def release_close(*, close_id: int, words: str, actor: str, now: datetime) -> InvoiceCloseRelease:
    """
    Let a held close go on from its last finished step, and write down who looked and why it may.

    Only while the invoice is a draft: one that Stripe finalised takes no lines any more, and what it lacks goes onto
    the next. The close itself asks Stripe once more before it writes anything. Raises ReleaseRefused.
    """
    if not may(actor, RELEASE):
        raise ReleaseRefused("words", f"Letting a held invoice go on takes the permission {RELEASE}.")
    if not words.strip():
        raise ReleaseRefused("words", "Say why it may go on, for whoever asks later.")
    with transaction.atomic():
        close = (
            InvoiceClose.objects.select_for_update(of=("self",)).select_related("invoice").filter(pk=close_id).first()
        )
        if close is None or not close.held_reason:
            raise ReleaseRefused("words", "This close is not held any more.")
        if close.invoice.status != Invoice.Status.DRAFT:
            raise ReleaseRefused(
                "words",
                f"The invoice is {close.invoice.get_status_display().lower()} at Stripe and takes no lines any more. "
                "Usage that is not on it goes onto the next invoice; void it to bill all of it anew.",
            )
        lacking = MeteredShortfall.objects.filter(close=close, decision=None).select_related("event").first()
        if lacking is not None:
            raise ReleaseRefused(
                "words",
                f"Usage of it does not count at Stripe ({lacking.event}): have that sent again and wait until Stripe "
                "counts it, or decide what becomes of it.",
            )
        release = InvoiceCloseRelease.objects.create(
            close=close,
            step=close.step,
            held_reason=close.held_reason,
            held_at=close.held_at,
            findings=close.findings,
            words=words.strip(),
            released_by=actor,
            released_at=now,
        )
        close.held_reason, close.held_at, close.findings = "", None, []
        close.attempts, close.next_attempt_at = 0, now
        close.save(update_fields=["held_reason", "held_at", "findings", "attempts", "next_attempt_at"])
    return release
