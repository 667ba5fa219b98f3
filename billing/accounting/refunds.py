"""The entries of refunds: promised, sent, and come back."""

from datetime import datetime
from decimal import Decimal

from billing.accounting.chart import Entry, refund_due, system
from billing.accounting.lines import ACTOR, signed_lines
from ledger.operations import (
    JournalEntryDraft,
    PostedEntry,
    credit,
    debit,
    post_journal_entry,
    reverse_journal_entry,
)


def post_refund_promised(
    *,
    charge_id: str,
    number: int,
    customer_key: str,
    amount: Decimal,
    currency: str,
    occurred_at: datetime,
    recorded_at: datetime,
) -> PostedEntry:
    """
    Owe the customer what is refunded of a charge and nothing else has promised: revenue given back.

    Entry `number` (1 first) of its charge; an `amount` below zero takes a promise back, because the refund was called
    off, or a credit note or a person promised it after all. Raises LedgerError.
    """
    draft = JournalEntryDraft(
        idempotency_key=f"refund_promised:{charge_id}:{number}",
        kind=Entry.REFUND_PROMISED,
        lines=signed_lines((system("contra:refunds", currency), amount), (refund_due(customer_key, currency), -amount)),
        effective_at=occurred_at,
        actor=ACTOR,
        cause={"charge": charge_id},
        memo="Refund without a credit note" if amount > 0 else "Refund without a credit note: no longer",
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_refund_sent(
    *,
    refund_id: str,
    charge_id: str,
    customer_key: str,
    amount: Decimal,
    currency: str,
    occurred_at: datetime,
    recorded_at: datetime,
) -> PostedEntry:
    """What was owed leaves, by way of Stripe. Once for each refund. Raises LedgerError."""
    draft = JournalEntryDraft(
        idempotency_key=f"refund_sent:{refund_id}",
        kind=Entry.REFUND_SENT,
        lines=(
            debit(refund_due(customer_key, currency), amount),
            credit(system("stripe:in_transit", currency), amount),
        ),
        effective_at=occurred_at,
        actor=ACTOR,
        cause={"refund": refund_id, "charge": charge_id},
        memo="Refund sent",
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_refund_of_nobody(
    *,
    refund_id: str,
    charge_id: str,
    amount: Decimal,
    currency: str,
    is_of_before: bool,
    occurred_at: datetime,
    recorded_at: datetime,
) -> PostedEntry:
    """
    A refund left of a charge of before the takeover that names no customer: no account of anybody's can owe it.

    One that `is_of_before` was asked for by the cut: the books of before had promised it. Below zero it came back, and
    had left before the cut. Once for each refund. Raises LedgerError.
    """
    given = system("opening" if is_of_before else "contra:refunds", currency)
    draft = JournalEntryDraft(
        idempotency_key=f"refund_sent:{refund_id}",
        kind=Entry.REFUND_SENT,
        lines=signed_lines((given, amount), (system("stripe:in_transit", currency), -amount)),
        effective_at=occurred_at,
        actor=ACTOR,
        cause={"refund": refund_id, "charge": charge_id},
        memo="Refund sent of an old charge" if amount > 0 else "Refund of before the takeover came back",
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_refund_returned(
    *, sent: PostedEntry, refund_id: str, charge_id: str, occurred_at: datetime, recorded_at: datetime
) -> PostedEntry:
    """The refund failed or was canceled: what it sent is owed again. Raises LedgerError."""
    return reverse_journal_entry(
        entry_id=sent.id,
        effective_at=occurred_at,
        recorded_at=recorded_at,
        actor=ACTOR,
        memo="Refund came back",
        cause={"refund": refund_id, "charge": charge_id},
        moves_to_open_period=True,
    )


def post_refund_of_before_returned(
    *,
    refund_id: str,
    charge_id: str,
    customer_key: str,
    amount: Decimal,
    currency: str,
    occurred_at: datetime,
    recorded_at: datetime,
) -> PostedEntry:
    """One that left before the takeover came back after it: there is no entry to reverse, and the customer is owed."""
    draft = JournalEntryDraft(
        idempotency_key=f"refund_returned:{refund_id}",
        kind=Entry.REFUND_SENT,
        lines=(
            debit(system("stripe:in_transit", currency), amount),
            credit(refund_due(customer_key, currency), amount),
        ),
        effective_at=occurred_at,
        actor=ACTOR,
        cause={"refund": refund_id, "charge": charge_id},
        memo="Refund of before the takeover came back",
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)
