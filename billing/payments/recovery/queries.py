"""What a payment problem means for a customer's service. Entitlements, the API and the pages read it here."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.payments.recovery.models import RecoveryCase


class StandingState(StrEnum):
    GOOD = "good"
    GRACE = "grace"
    RESTRICTED = "restricted"


@dataclass(frozen=True, slots=True)
class OwedInvoice:
    """An invoice that could not be collected. Amounts in minor units; `restricts_at` None: it never restricts."""

    stripe_invoice_id: str
    number: str
    currency: str
    amount_minor: int
    failed_at: datetime
    restricts_at: datetime | None
    is_written_off: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """
    `since`: of grace the first failure, of restricted the instant it began. `until`: of grace the instant at which
    service is restricted if nothing is paid; None where that never comes.
    """

    state: StandingState
    since: datetime | None = None
    until: datetime | None = None
    why: str = ""
    owed: tuple[OwedInvoice, ...] = ()


def standing(customer_id: int, *, now: datetime) -> Standing:
    """
    The standing of a customer at an instant; one query.

    It follows from the open cases' dates, so it is right whether the daily task has run or not, and a payment lifts a
    restriction with its projection: what is paid, void or credited counts no more from then on.
    """
    cases = RecoveryCase.objects.filter(customer_id=customer_id).exclude(state=RecoveryCase.State.CLOSED)
    found = cases.select_related("invoice").order_by("failed_at", "pk")
    owed = tuple(
        OwedInvoice(
            stripe_invoice_id=case.invoice.stripe_invoice_id,
            number=str(case.invoice),
            currency=case.currency,
            amount_minor=case.invoice.amount_remaining_minor,
            failed_at=case.failed_at,
            restricts_at=case.restricts_at,
            is_written_off=case.state == RecoveryCase.State.WRITTEN_OFF,
        )
        for case in found
        if case.invoice.status not in ("paid", "void")
    )
    if not owed:
        return Standing(StandingState.GOOD)
    ends = [one.restricts_at for one in owed if one.restricts_at is not None]
    names = ", ".join(one.number for one in owed)
    if ends and min(ends) <= now:
        return Standing(StandingState.RESTRICTED, min(ends), None, f"not paid after the time of grace: {names}", owed)
    until = min(ends, default=None)
    return Standing(StandingState.GRACE, owed[0].failed_at, until, f"a payment failed or is late: {names}", owed)


def due_cases(*, now: datetime, limit: int) -> list[int]:
    """Cases that a step, or a look, is due of; the longest waiting first."""
    due = RecoveryCase.objects.filter(next_step_at__lte=now).order_by("next_step_at", "pk")
    return list(due.values_list("pk", flat=True)[:limit])


def case_of(invoice_id: int) -> RecoveryCase | None:
    return RecoveryCase.objects.filter(invoice_id=invoice_id).select_related("policy").first()
