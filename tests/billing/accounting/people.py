"""People of finance and customer success, and short ways to ask for manual entries as one of them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group, User

from billing.accounting import operations
from billing.accounting.adjustments import BY_CODE, Reference
from billing.accounting.models import ManualEntry
from config import roles

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
MORNING = NOON - timedelta(hours=3)
FIONA, FRED, SAM, EMRE = "user:fiona", "user:fred", "user:sam", "user:emre"
ROLE_OF = {FIONA: roles.FINANCE, FRED: roles.FINANCE, SAM: roles.CUSTOMER_SUCCESS, EMRE: roles.ENGINEERING}
A_REFERENCE = {
    Reference.PROMISE: "ch_42",
    Reference.BANK_LINE: "DE12 2026-11-09 / 0042",
    Reference.TAX_RETURN: "VAT 2026-10",
    Reference.MOVEMENT: "txn_42",
    Reference.MOVEMENT_OF_CHARGE: "txn_42 ch_42",
    Reference.MOVEMENT_OF_REFUND: "txn_42 re_42",
    Reference.CHARGE_OR_REFUND: "py_42",
    Reference.PAYOUT: "po_42",
    Reference.GRANT: "42",
}


def hire() -> None:
    """Two people of finance, one of customer success, one of engineering."""
    roles.sync_roles()
    for actor, role in ROLE_OF.items():
        user = User.objects.create(username=actor.removeprefix("user:"), is_staff=True)
        user.groups.set([Group.objects.get(name=role)])


def user_of(actor: str) -> User:
    return User.objects.get(username=actor.removeprefix("user:"))


def adjust(reason_code: str, amount: str, /, **terms: Any) -> ManualEntry:
    """Ask for an adjustment, as Fiona and at noon unless told otherwise. The customer is acme where one is needed."""
    actor, now = terms.pop("actor", FIONA), terms.pop("now", NOON)
    key = terms.pop("key", f"{reason_code}:{ManualEntry.objects.count()}")
    new = new_adjustment(reason_code, amount, **terms)
    return operations.request_adjustment(new, idempotency_key=key, actor=actor, now=now)


def new_adjustment(reason_code: str, amount: str, /, **terms: Any) -> operations.NewAdjustment:
    code = BY_CODE[reason_code]
    return operations.NewAdjustment(
        **{
            "reason_code": reason_code,
            "customer_key": "acme" if code.is_of_customer else "",
            "currency": "USD",
            "amount": Decimal(amount),
            "effective_at": MORNING,
            "reason": "as agreed",
            "reference": A_REFERENCE[code.reference],
            **terms,
        }
    )


def reverse(entry_id: int, /, **terms: Any) -> ManualEntry:
    return operations.request_reversal(
        **{
            "entry_id": entry_id,
            "effective_at": NOON,
            "reason": "entered by mistake",
            "reference": "",
            "actor": FIONA,
            "now": NOON,
            "idempotency_key": f"reversal:{ManualEntry.objects.count()}",
            **terms,
        }
    )


def approve(asked: ManualEntry, /, **terms: Any) -> ManualEntry:
    return operations.approve(
        **{"manual_entry_id": asked.pk, "words": "seen the ticket", "actor": FRED, "now": NOON, **terms}
    )


def posted_entry_id(asked: ManualEntry) -> int:
    """The journal entry a request was posted as."""
    found = ManualEntry.objects.get(pk=asked.pk).decision.journal_entry_id
    assert found is not None
    return found
