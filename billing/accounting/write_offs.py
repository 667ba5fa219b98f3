"""The entries of an invoice that is given up, and of what is got of it after all."""

from datetime import datetime
from decimal import Decimal

from billing.accounting.chart import Entry, receivable, system
from billing.accounting.lines import ACTOR
from ledger.operations import JournalEntryDraft, PostedEntry, credit, debit, post_journal_entry


def post_written_off(
    *,
    invoice_id: str,
    customer_key: str,
    amount: Decimal,
    currency: str,
    occurred_at: datetime,
    recorded_at: datetime,
) -> PostedEntry:
    """Give up what an invoice still asks for. Once: Stripe marks an invoice uncollectible once. Raises LedgerError."""
    draft = JournalEntryDraft(
        idempotency_key=f"written_off:{invoice_id}",
        kind=Entry.WRITTEN_OFF,
        lines=(debit(system("bad_debt", currency), amount), credit(receivable(customer_key, currency), amount)),
        effective_at=occurred_at,
        actor=ACTOR,
        cause={"invoice": invoice_id},
        memo="Marked uncollectible",
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_recovered(
    *,
    invoice_id: str,
    customer_key: str,
    amount: Decimal,
    still_written_off: Decimal,
    currency: str,
    occurred_at: datetime,
    recorded_at: datetime,
) -> PostedEntry:
    """
    Put what was given up back on the receivable, where the payment, credit note or void that ends it takes it off.

    `still_written_off` is what remains given up after this; it only falls, so it names the step. Raises LedgerError.
    """
    draft = JournalEntryDraft(
        idempotency_key=f"recovered:{invoice_id}:{still_written_off:f}",
        kind=Entry.RECOVERED,
        lines=(debit(receivable(customer_key, currency), amount), credit(system("bad_debt", currency), amount)),
        effective_at=occurred_at,
        actor=ACTOR,
        cause={"invoice": invoice_id},
        memo="No longer uncollectible",
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)
