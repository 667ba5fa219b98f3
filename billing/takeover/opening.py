"""Opening entries: what one account held at the cut, once each. Inside the caller's transaction."""

from collections.abc import Mapping
from datetime import datetime

from django.db.models import Sum

from billing.accounting.chart import balance, refund_due, system
from billing.accounting.opening import post_opening
from billing.customers.models import Customer
from billing.invoicing.rounding import from_minor
from billing.takeover.models import OpeningEntry, Takeover

_OF_CUSTOMERS = {"balance": balance, "refund_due": refund_due}


def open_account(
    account_kind: str,
    *,
    debit_minor: int,
    currency: str,
    stripe_id: str = "",
    customer: Customer | None = None,
    cause: Mapping[str, str] | None = None,
    memo: str,
    now: datetime,
) -> bool:
    """
    Enter what the account held at the cut, in minor units; below zero it stood on the other side. Return whether it is
    in the books now: nothing is nothing. Said twice it is the first. Raises LedgerError.
    """
    if not debit_minor:
        return False
    if is_opened(account_kind, stripe_id=stripe_id, currency=currency):
        return True
    takeover = Takeover.objects.get()
    named = _OF_CUSTOMERS.get(account_kind)
    if named is not None and customer is not None:
        account = named(customer.customer_key, currency)
    else:
        account = system(account_kind, currency)
    entry = post_opening(
        idempotency_key=f"opening:{account_kind}:{currency}:{stripe_id}",
        account=account,
        debit=from_minor(debit_minor, currency),
        currency=currency,
        as_of=takeover.as_of,
        recorded_at=now,
        cause={"takeover": str(takeover.pk), **(cause or {})},
        memo=memo,
    )
    OpeningEntry.objects.create(
        takeover=takeover,
        account_kind=account_kind,
        stripe_id=stripe_id,
        customer=customer,
        currency=currency,
        debit_minor=debit_minor,
        journal_entry_id=entry.id,
        recorded_at=now,
    )
    return True


def is_opened(account_kind: str, *, stripe_id: str, currency: str) -> bool:
    """Whether the opening has an entry of this."""
    return OpeningEntry.objects.filter(account_kind=account_kind, stripe_id=stripe_id, currency=currency).exists()


def opened_minor(account_kind: str, *, customer_id: int) -> int:
    """What the opening debited to an account of a customer's, in minor units; below zero: credited."""
    entries = OpeningEntry.objects.filter(account_kind=account_kind, customer_id=customer_id)
    return int(entries.aggregate(minor=Sum("debit_minor", default=0))["minor"])
