"""
The accounts of grants and the entry of each fact about them (DESIGN §5), one function per fact.

contra:promotions and breakage are declared by billing's chart as well; they must agree, which a test holds.
Grants are facts that may arrive late, so each entry moves to the open period if its own is closed.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ledger.operations import AccountSpec, JournalEntryDraft, PostedEntry, credit, debit, post_journal_entry

GRANT_ACCOUNT_KIND = "grant"


class Entry(StrEnum):
    """The kinds of journal entry promotions writes."""

    GRANT_ISSUED = "grant_issued"
    GRANT_ENDED = "grant_ended"
    PAID_GRANT_ISSUED = "paid_grant_issued"
    PAID_GRANT_EXPIRED = "paid_grant_expired"


def grant_account(grant_id: int) -> str:
    """The code of a grant's account, whose balance is what is left of the grant."""
    return f"grant:{grant_id}"


def grant_of_account(code: str) -> int:
    """The grant whose account has this code. Raises ValueError for another kind of account."""
    return int(code.removeprefix(f"{GRANT_ACCOUNT_KIND}:"))


def promotions_account(currency: str) -> str:
    """The code of the account of all value given away in one currency."""
    return f"contra:promotions:{currency}"


def breakage_account(currency: str) -> str:
    """The code of the account of all prepaid value that expired unused in one currency."""
    return f"breakage:{currency}"


def source_account(*, is_paid: bool, currency: str) -> str:
    """Where the unused rest of a grant goes, and what restores one that has ended: income if the customer paid it."""
    return breakage_account(currency) if is_paid else promotions_account(currency)


def account_specs(*, grant_id: int, customer_key: str, currency: str) -> list[AccountSpec]:
    """The accounts a grant needs: its own, which cannot fall below zero, and those that stand against it."""
    return [
        AccountSpec(
            code=promotions_account(currency),
            kind="contra:promotions",
            currency=currency,
            normal_side="D",
            keeps_balance=False,
        ),
        AccountSpec(
            code=breakage_account(currency),
            kind="breakage",
            currency=currency,
            normal_side="C",
            keeps_balance=False,
        ),
        AccountSpec(
            code=grant_account(grant_id),
            kind=GRANT_ACCOUNT_KIND,
            currency=currency,
            normal_side="C",
            customer_key=customer_key,
            floor=Decimal(0),
        ),
    ]


def post_grant_issued(
    *,
    grant_id: int,
    amount: Decimal,
    currency: str,
    effective_at: datetime,
    recorded_at: datetime,
    actor: str,
    memo: str,
) -> PostedEntry:
    """Value is given away: debit contra:promotions, credit the grant, from the grant's first instant on."""
    draft = JournalEntryDraft(
        idempotency_key=f"grant:{grant_id}:issued",
        kind=Entry.GRANT_ISSUED,
        lines=(debit(promotions_account(currency), amount), credit(grant_account(grant_id), amount)),
        effective_at=effective_at,
        actor=actor,
        cause={"grant": str(grant_id)},
        memo=memo,
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_grant_ended(
    *, grant_id: int, rest: Decimal, currency: str, effective_at: datetime, recorded_at: datetime, actor: str, memo: str
) -> PostedEntry:
    """What was not used is taken back: debit the grant, credit contra:promotions."""
    draft = JournalEntryDraft(
        idempotency_key=f"grant:{grant_id}:ended",
        kind=Entry.GRANT_ENDED,
        lines=(debit(grant_account(grant_id), rest), credit(promotions_account(currency), rest)),
        effective_at=effective_at,
        actor=actor,
        cause={"grant": str(grant_id)},
        memo=memo,
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_paid_grant_issued(
    *,
    grant_id: int,
    amount: Decimal,
    currency: str,
    paid_from: str,
    invoice: str,
    effective_at: datetime,
    recorded_at: datetime,
    actor: str,
    memo: str,
) -> PostedEntry:
    """A customer paid for credit: debit the account `paid_from`, where its invoice had put it, credit the grant."""
    draft = JournalEntryDraft(
        idempotency_key=f"grant:{grant_id}:issued",
        kind=Entry.PAID_GRANT_ISSUED,
        lines=(debit(paid_from, amount), credit(grant_account(grant_id), amount)),
        effective_at=effective_at,
        actor=actor,
        cause={"grant": str(grant_id), "invoice": invoice},
        memo=memo,
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_paid_grant_expired(
    *, grant_id: int, rest: Decimal, currency: str, effective_at: datetime, recorded_at: datetime, actor: str, memo: str
) -> PostedEntry:
    """What a customer paid and did not use in time is ours: debit the grant, credit breakage."""
    draft = JournalEntryDraft(
        idempotency_key=f"grant:{grant_id}:ended",
        kind=Entry.PAID_GRANT_EXPIRED,
        lines=(debit(grant_account(grant_id), rest), credit(breakage_account(currency), rest)),
        effective_at=effective_at,
        actor=actor,
        cause={"grant": str(grant_id)},
        memo=memo,
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)
