"""The entries of money at Stripe: a payment that succeeded, and every movement on our balance there."""

from datetime import datetime
from decimal import Decimal

from billing.accounting.chart import Entry, receivable, system
from billing.accounting.invoices import ACTOR, signed_lines
from ledger.operations import JournalEntryDraft, PostedEntry, credit, debit, post_journal_entry

# Type of Stripe's balance transaction -> the account on the other side, and the kind of entry. Others: suspense.
_MOVEMENTS: dict[str, tuple[str, Entry]] = {
    "charge": ("stripe:in_transit", Entry.STRIPE_CHARGE),
    "payment": ("stripe:in_transit", Entry.STRIPE_CHARGE),
    "refund": ("stripe:in_transit", Entry.STRIPE_REFUND),
    "payment_refund": ("stripe:in_transit", Entry.STRIPE_REFUND),
    "refund_failure": ("stripe:in_transit", Entry.STRIPE_REFUND),
    "payment_failure_refund": ("stripe:in_transit", Entry.STRIPE_REFUND),
    "stripe_fee": ("fees:stripe", Entry.STRIPE_FEE),
    "payout": ("payout:in_transit", Entry.STRIPE_PAYOUT),
    "payout_cancel": ("payout:in_transit", Entry.STRIPE_PAYOUT),
    "payout_failure": ("payout:in_transit", Entry.STRIPE_PAYOUT),
}
_UNKNOWN = ("suspense", Entry.STRIPE_UNKNOWN)


def post_payment_succeeded(
    *, charge_id: str, customer_key: str, amount: Decimal, currency: str, occurred_at: datetime, recorded_at: datetime
) -> PostedEntry:
    """The customer paid: Stripe owes us what the customer owed. Once for each charge. Raises LedgerError."""
    draft = JournalEntryDraft(
        idempotency_key=f"payment_succeeded:{charge_id}",
        kind=Entry.PAYMENT_SUCCEEDED,
        lines=(
            debit(system("stripe:in_transit", currency), amount),
            credit(receivable(customer_key, currency), amount),
        ),
        effective_at=occurred_at,
        actor=ACTOR,
        cause={"charge": charge_id},
        memo="Payment succeeded",
    )
    return post_journal_entry(draft, recorded_at=recorded_at)


def balance_transaction_draft(
    *, stripe_id: str, movement: str, amount: Decimal, fee: Decimal, currency: str, occurred_at: datetime
) -> JournalEntryDraft:
    """The entry of one movement on our balance at Stripe: `amount` came in, of which Stripe kept `fee`."""
    account, kind = _MOVEMENTS.get(movement, _UNKNOWN)
    return JournalEntryDraft(
        idempotency_key=f"balance_transaction:{stripe_id}",
        kind=kind,
        lines=signed_lines(
            (system("stripe:clearing", currency), amount - fee),
            (system("fees:stripe", currency), fee),
            (system(account, currency), -amount),
        ),
        effective_at=occurred_at,
        actor=ACTOR,
        cause={"balance_transaction": stripe_id},
        memo=f"Stripe: {movement.replace('_', ' ')}",
    )
