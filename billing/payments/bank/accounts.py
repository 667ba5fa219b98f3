"""
Closing an account, and saying that it is open after all. Both are added: the latest word counts.

Locks: the accounts of the currency in id order, as imports do.
"""

from collections.abc import Mapping
from datetime import date, datetime

from django.db import transaction

from billing.accounting.people import may
from billing.payments.bank.models import BankAccount, BankAccountClosing
from billing.payments.bank.statements import lock_accounts
from billing.payments.two_people import InvalidRequest, NotPermitted

CLOSE = "billing.close_bankaccount"


def close_account(
    *, account_id: int, closed_on: date | None, reason: str, actor: str, now: datetime
) -> BankAccountClosing:
    """
    Say that an account's last day was `closed_on`; None: it is open. Said again it changes nothing.

    No line of a later day is imported after that. Raises InvalidRequest and NotPermitted.
    """
    if not may(actor, CLOSE):
        raise NotPermitted(f"{actor} may not close bank accounts")
    if not reason.strip():
        raise InvalidRequest("Say why, for whoever asks later.", field="reason")
    if closed_on is not None and closed_on > now.date():
        raise InvalidRequest("The last day cannot be one that is still to come.", field="closed_on")
    with transaction.atomic():
        account = BankAccount.objects.filter(pk=account_id).first()
        if account is None:
            raise InvalidRequest("There is no such account.")
        lock_accounts(account.currency)
        last = account.closings.last()
        if last is None and closed_on is None:
            raise InvalidRequest(f"{account} is open.", field="closed_on")
        if last is not None and last.closed_on == closed_on:
            return last
        after = account.lines.filter(booked_on__gt=closed_on).order_by("-booked_on").first() if closed_on else None
        if after is not None:
            raise InvalidRequest(
                f"{account} has a line of {after.booked_on}, after that day: it was closed then at the earliest.",
                field="closed_on",
            )
        return BankAccountClosing.objects.create(
            account=account, closed_on=closed_on, reason=reason.strip(), recorded_at=now, recorded_by=actor
        )


def closed_days(*, account_ids: list[int]) -> Mapping[int, date]:
    """Of these accounts, the last day of each that is closed."""
    rows = BankAccountClosing.objects.filter(account_id__in=account_ids).order_by("pk")
    last = {row.account_id: row.closed_on for row in rows}
    return {account_id: day for account_id, day in last.items() if day is not None}
