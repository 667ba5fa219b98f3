"""The entry of each movement on a customer's balance at Stripe, once, by its id: nothing else moves `balance`."""

from datetime import datetime
from decimal import Decimal

from billing.accounting.chart import Entry, balance, receivable, refund_due, system
from billing.accounting.lines import ACTOR, signed_lines
from ledger.operations import JournalEntryDraft

# What stands on the other side, for every type of Stripe's customer balance transaction (OpenAPI document of
# 2026-08-26.dahlia). A type that is not here goes to suspense, where it is seen.
OF_INVOICES = frozenset(
    {
        "applied_to_invoice",  # credit used up by an invoice, or a negative total that becomes credit
        "unapplied_from_invoice",  # the same come back, by a void
        "invoice_too_small",  # less than can be charged: owed on the balance
        "invoice_too_large",  # more than can be charged: the rest is owed on the balance
        "invoice_overpaid",  # the payment took the receivable below zero; that part is credit
    }
)
# What was owed back there already is put onto the balance instead of being sent.
_OF_WHAT_IS_DUE_BACK = frozenset(
    {
        "credit_note",  # promised by the credit note's own entry, like a refund
        "checkout_session_subscription_payment",  # a payment that was there before the invoice it is for
        "checkout_session_subscription_payment_canceled",
    }
)
_OF_THE_HOUSE = {
    "adjustment": "contra:adjustments",  # given or taken by hand at Stripe
    # Money that came in by a source of the customer's and paid no invoice; its charge went through this account.
    "unspent_receiver_credit": "stripe:in_transit",
    # Balances from before these books: nobody told us what is behind them, so finance has to look and correct.
    "initial": "suspense",
    "migration": "suspense",
}


def customer_balance_draft(
    *,
    stripe_id: str,
    movement: str,
    customer_key: str,
    amount: Decimal,
    currency: str,
    occurred_at: datetime,
    invoice: str = "",
    credit_note: str = "",
    is_opened: bool = False,
) -> JournalEntryDraft:
    """
    The entry of one movement on a customer's balance at Stripe. One that `is_opened` was before the takeover: the
    opening holds the balance after it, so only what it settled is left to say.

    `amount` has Stripe's sign: above zero the customer owes more (or has less credit), so our liability falls.
    `invoice` and `credit_note` are Stripe's ids of what caused it, if anything did.
    """
    causes = {"customer_balance_transaction": stripe_id, "invoice": invoice, "credit_note": credit_note}
    return JournalEntryDraft(
        idempotency_key=f"customer_balance:{stripe_id}",
        kind=Entry.CUSTOMER_BALANCE,
        lines=signed_lines(
            (system("opening", currency) if is_opened else balance(customer_key, currency), amount),
            (_other_side(movement, customer_key, currency), -amount),
        ),
        effective_at=occurred_at,
        actor=ACTOR,
        cause={name: value for name, value in causes.items() if value},
        memo=f"Customer balance: {movement.replace('_', ' ')}",
        moves_to_open_period=True,
    )


def _other_side(movement: str, customer_key: str, currency: str) -> str:
    if movement in OF_INVOICES:
        return receivable(customer_key, currency)
    if movement in _OF_WHAT_IS_DUE_BACK:
        return refund_due(customer_key, currency)
    return system(_OF_THE_HOUSE.get(movement, "suspense"), currency)
