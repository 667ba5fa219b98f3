"""
The accounts of grants and the entry of each fact about them (DESIGN §5), one function per fact.

contra:promotions is declared by billing's chart as well; the two must agree, which a test holds.
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


def grant_account(grant_id: int) -> str:
    """The code of a grant's account, whose balance is what is left of the grant."""
    return f"grant:{grant_id}"


def promotions_account(currency: str) -> str:
    """The code of the account of all value given away in one currency."""
    return f"contra:promotions:{currency}"


def account_specs(*, grant_id: int, customer_key: str, currency: str) -> list[AccountSpec]:
    """The accounts a grant needs: its own, which cannot fall below zero, and the one it is paid from."""
    return [
        AccountSpec(
            code=promotions_account(currency),
            kind="contra:promotions",
            currency=currency,
            normal_side="D",
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
    )
    return post_journal_entry(draft, recorded_at=recorded_at)
