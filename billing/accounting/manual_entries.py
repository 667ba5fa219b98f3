"""Reads of manual entries: what waits, and what was asked about a journal entry."""

from django.db.models import Q, QuerySet

from billing.accounting.adjustments import causes_in
from billing.accounting.models import ManualEntry, ManualEntryDecision
from billing.customers.models import Customer


def by_id(manual_entry_id: int) -> ManualEntry | None:
    return _with_decision().filter(pk=manual_entry_id).first()


def by_key(idempotency_key: str) -> ManualEntry | None:
    return _with_decision().filter(idempotency_key=idempotency_key).first()


def decision_of(asked: ManualEntry) -> ManualEntryDecision | None:
    """The decision about a request; None while it waits for a second person."""
    return getattr(asked, "decision", None)


def waiting() -> QuerySet[ManualEntry]:
    """Every request that waits for a second person, oldest first."""
    return _with_decision().filter(decision=None).order_by("requested_at", "pk")


def reversals_asked_of(entry_id: int) -> QuerySet[ManualEntry]:
    """Every request to reverse this journal entry, newest first."""
    return _with_decision().filter(reverses_entry_id=entry_id)


def waiting_reversal_of(entry_id: int) -> ManualEntry | None:
    return reversals_asked_of(entry_id).filter(decision=None).first()


def adjustment_posted_as(entry_id: int) -> ManualEntry | None:
    """The request whose adjustment this journal entry is, if it is one."""
    return _with_decision().filter(kind=ManualEntry.Kind.ADJUSTMENT, decision__journal_entry_id=entry_id).first()


def moved_by_hand(*, customer: Customer, account: str, charge_id: str) -> list[ManualEntry]:
    """The adjustments of one of the customer's accounts that name this charge: posted, and not reversed."""
    posted = ManualEntry.objects.filter(customer=customer, decision__journal_entry_id__isnull=False)
    reversals = posted.filter(kind=ManualEntry.Kind.REVERSAL)
    found = (
        posted.filter(Q(debit_account=account) | Q(credit_account=account), reference__contains=charge_id)
        .exclude(decision__journal_entry_id__in=reversals.values("reverses_entry_id"))
        .order_by("pk")
    )
    return [asked for asked in found if causes_in(asked.reference).get("charge") == charge_id]


def _with_decision() -> QuerySet[ManualEntry]:
    return ManualEntry.objects.select_related("customer", "decision")
