"""The entry of a dispute that is lost. Funds withdrawn and reinstated are movements of their own at Stripe."""

from datetime import datetime
from decimal import Decimal

from billing.accounting.chart import Entry, system
from billing.accounting.lines import ACTOR, signed_lines
from ledger.operations import JournalEntryDraft, PostedEntry, post_journal_entry


def post_dispute_lost(
    *,
    dispute_id: str,
    charge_id: str,
    number: int,
    amount: Decimal,
    currency: str,
    occurred_at: datetime,
    recorded_at: datetime,
) -> PostedEntry:
    """
    What the bank held back is gone: bad debt.

    Entry `number` (1 first) of its dispute; an `amount` below zero takes back what Stripe reinstated after the loss.
    Raises LedgerError.
    """
    draft = JournalEntryDraft(
        idempotency_key=f"dispute_lost:{dispute_id}:{number}",
        kind=Entry.DISPUTE_LOST,
        lines=signed_lines((system("bad_debt", currency), amount), (system("disputes", currency), -amount)),
        effective_at=occurred_at,
        actor=ACTOR,
        cause={"dispute": dispute_id, "charge": charge_id},
        memo="Dispute lost" if amount > 0 else "Dispute no longer lost",
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)
