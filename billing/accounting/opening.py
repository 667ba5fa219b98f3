"""The entry of what an account held when the books began: against the account `opening`."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from billing.accounting.chart import Entry, system
from billing.accounting.lines import signed_lines
from ledger.operations import JournalEntryDraft, PostedEntry, post_journal_entry

ACTOR = "service:takeover"


def post_opening(
    *,
    idempotency_key: str,
    account: str,
    debit: Decimal,
    currency: str,
    as_of: datetime,
    recorded_at: datetime,
    cause: Mapping[str, str],
    memo: str,
) -> PostedEntry:
    """Debit an account with what it held at the cut (below zero: credit it), in currency units. Raises LedgerError."""
    draft = JournalEntryDraft(
        idempotency_key=idempotency_key,
        kind=Entry.OPENING,
        lines=signed_lines((account, debit), (system("opening", currency), -debit)),
        effective_at=as_of,
        actor=ACTOR,
        cause=dict(cause),
        memo=memo,
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)
