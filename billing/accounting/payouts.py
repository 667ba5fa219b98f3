"""The entries of a payout at our bank. That it was sent, and came back, are movements of their own at Stripe."""

from datetime import datetime
from decimal import Decimal

from billing.accounting.chart import Entry, system
from billing.accounting.lines import ACTOR, signed_lines
from ledger.operations import JournalEntryDraft, PostedEntry, post_journal_entry, reverse_journal_entry


def post_payout_arrived(
    *, payout_id: str, amount: Decimal, currency: str, arrived_at: datetime, recorded_at: datetime
) -> PostedEntry:
    """It is at the bank; an `amount` below zero was fetched from there. Once for each payout. Raises LedgerError."""
    draft = JournalEntryDraft(
        idempotency_key=f"payout_arrived:{payout_id}",
        kind=Entry.PAYOUT_ARRIVED,
        lines=signed_lines((system("bank", currency), amount), (system("payout:in_transit", currency), -amount)),
        effective_at=arrived_at,
        actor=ACTOR,
        cause={"payout": payout_id},
        memo="Payout arrived",
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_payout_returned(
    *, arrived: PostedEntry, payout_id: str, occurred_at: datetime, recorded_at: datetime
) -> PostedEntry:
    """The bank sent it back although it had counted as arrived. Raises LedgerError."""
    return reverse_journal_entry(
        entry_id=arrived.id,
        effective_at=occurred_at,
        recorded_at=recorded_at,
        actor=ACTOR,
        memo="Payout came back",
        cause={"payout": payout_id},
        moves_to_open_period=True,
    )
