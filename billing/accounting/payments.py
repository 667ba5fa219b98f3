"""The entries of payments: succeeded, applied to an invoice later, or made outside Stripe."""

from datetime import datetime
from decimal import Decimal

from billing.accounting.chart import Entry, receivable, refund_due, system
from billing.accounting.lines import ACTOR, signed_lines
from ledger.operations import JournalEntryDraft, PostedEntry, credit, debit, post_journal_entry


def post_payment_succeeded(
    *,
    charge_id: str,
    invoice_id: str,
    customer_key: str,
    amount: Decimal,
    currency: str,
    occurred_at: datetime,
    recorded_at: datetime,
    was_on_balance: bool = False,
    pays_for_before: bool = False,
) -> PostedEntry:
    """
    The customer paid: Stripe owes us what the customer owed. Once for each charge. Raises LedgerError.

    What no invoice asked for (an empty `invoice_id`) is the customer's: refund_due holds it until it is given back or
    applied to an invoice. After a takeover: money that was on our balance by the cut is in the opening already, and so
    is what an invoice of before asked for.
    """
    account = receivable if invoice_id else refund_due
    cause = {"charge": charge_id, "invoice": invoice_id} if invoice_id else {"charge": charge_id}
    paid = system("opening", currency) if pays_for_before else account(customer_key, currency)
    received = system("opening" if was_on_balance else "stripe:in_transit", currency)
    draft = JournalEntryDraft(
        idempotency_key=f"payment_succeeded:{charge_id}",
        kind=Entry.PAYMENT_SUCCEEDED,
        lines=(debit(received, amount), credit(paid, amount)),
        effective_at=occurred_at,
        actor=ACTOR,
        cause=cause,
        memo="Payment succeeded" if invoice_id else "Payment succeeded that no invoice asks for",
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_payment_applied(
    *,
    charge_id: str,
    invoice_id: str,
    customer_key: str,
    amount: Decimal,
    currency: str,
    occurred_at: datetime,
    recorded_at: datetime,
    was_before: bool = False,
) -> PostedEntry:
    """
    A payment that no invoice had asked for was attached to one: it pays that invoice. Raises LedgerError.

    One that `was_before` a takeover was owed to nobody, as a sale of the books of before: the opening took its money,
    and gives it for the invoice now.
    """
    held = system("opening", currency) if was_before else refund_due(customer_key, currency)
    draft = JournalEntryDraft(
        idempotency_key=f"payment_applied:{charge_id}",
        kind=Entry.PAYMENT_APPLIED,
        lines=(
            debit(held, amount),
            credit(receivable(customer_key, currency), amount),
        ),
        effective_at=occurred_at,
        actor=ACTOR,
        cause={"charge": charge_id, "invoice": invoice_id},
        memo="Payment applied to an invoice",
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def post_paid_out_of_band(
    *,
    invoice_id: str,
    customer_key: str,
    amount: Decimal,
    paid_so_far: Decimal,
    currency: str,
    occurred_at: datetime,
    recorded_at: datetime,
) -> PostedEntry:
    """
    An invoice was marked at Stripe as paid elsewhere: that money is at the bank, and never comes through Stripe.

    `paid_so_far` is all that was paid elsewhere with this; an `amount` below zero takes some back. Raises LedgerError.
    """
    draft = JournalEntryDraft(
        idempotency_key=f"paid_out_of_band:{invoice_id}:{paid_so_far:f}",
        kind=Entry.PAID_OUT_OF_BAND,
        lines=signed_lines((system("bank", currency), amount), (receivable(customer_key, currency), -amount)),
        effective_at=occurred_at,
        actor=ACTOR,
        cause={"invoice": invoice_id},
        memo="Paid outside Stripe",
        moves_to_open_period=True,
    )
    return post_journal_entry(draft, recorded_at=recorded_at)
