"""
Money that moved at Stripe, taken into our books once each, by Stripe's ids.

Rows and entries are written in one transaction, which the caller opens; a repeat finds the row and does nothing.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from billing.accounting.chart import system_account_specs
from billing.accounting.invoices import customer_balance_draft
from billing.accounting.payments import balance_transaction_draft, post_payment_succeeded
from billing.customers.models import Customer
from billing.customers.operations import lock_customer
from billing.invoicing.models import Invoice
from billing.invoicing.rounding import from_minor
from billing.payments.models import BalanceTransaction, CustomerBalanceTransaction, Payment
from ledger.operations import (
    JournalEntryDraft,
    PostedEntry,
    RefusedEntry,
    UnknownAccount,
    open_accounts,
    post_journal_entries,
)

Status = Payment.Status
StripeDict = dict[str, Any]

_STATUS_OF_INTENT = {
    "succeeded": Status.SUCCEEDED,
    "canceled": Status.CANCELED,
    "requires_action": Status.REQUIRES_ACTION,
    "requires_payment_method": Status.FAILED,
    "processing": Status.PROCESSING,
    "requires_capture": Status.PROCESSING,
    "requires_confirmation": Status.PROCESSING,
}


def project_payment(
    payment_intent: StripeDict, *, customer: Customer, invoice: Invoice | None, now: datetime
) -> Payment | None:
    """
    Bring the row of a payment intent (fetched with its latest charge and that one's balance transaction) up to date.

    A success is entered into the ledger, and so is the movement on our balance once Stripe states it.
    None: nobody has tried to pay yet. Raises LedgerError.
    """
    charge: StripeDict = payment_intent.get("latest_charge") or {}
    error: StripeDict = payment_intent.get("last_payment_error") or {}
    status = _STATUS_OF_INTENT[payment_intent["status"]]
    if status == Status.FAILED and not error and not charge:
        return None
    lock_customer(customer_id=customer.pk)
    known = Payment.objects.filter(stripe_payment_intent_id=payment_intent["id"]).first()
    payment = known or Payment(stripe_payment_intent_id=payment_intent["id"])
    payment.customer, payment.invoice, payment.projected_at = customer, invoice, now
    payment.stripe_charge_id = charge.get("id", "")
    payment.status = status
    payment.amount_minor, payment.currency = payment_intent["amount"], payment_intent["currency"].upper()
    payment.failure_code = str(error.get("code") or charge.get("failure_code") or "")[:100]
    payment.failure_message = str(error.get("message") or charge.get("failure_message") or "")[:500]
    payment.occurred_at = instant(charge.get("created") or payment_intent["created"])
    payment.save()
    if status == Status.SUCCEEDED:
        _enter_success(payment, charge, now=now)
    return payment


def _enter_success(payment: Payment, charge: StripeDict, *, now: datetime) -> None:
    if charge["amount"]:
        post_payment_succeeded(
            charge_id=charge["id"],
            customer_key=payment.customer.customer_key,
            amount=from_minor(charge["amount"], payment.currency),
            currency=payment.currency,
            occurred_at=payment.occurred_at,
            recorded_at=now,
        )
    movement = charge.get("balance_transaction")
    # Null at first for some payment methods; `charge.updated` tells when it is there.
    if isinstance(movement, dict):
        record_balance_transactions([movement], now=now)


def record_balance_transactions(fetched: Sequence[StripeDict], *, now: datetime) -> int:
    """Enter movements on our balance at Stripe that are not in the books yet; return how many. Raises LedgerError."""
    ids = [transaction["id"] for transaction in fetched]
    known = set(BalanceTransaction.objects.filter(stripe_id__in=ids).values_list("stripe_id", flat=True))
    # A movement of nothing at all (a fully waived fee) has no entry.
    new = [one for one in fetched if one["id"] not in known and (one["amount"] or one["fee"])]
    drafts = [_balance_transaction_draft(one) for one in new]
    entries = _post_opening_accounts(drafts, currencies={one["currency"].upper() for one in new}, now=now)
    BalanceTransaction.objects.bulk_create(
        [
            BalanceTransaction(
                stripe_id=one["id"],
                type=one["type"],
                currency=one["currency"].upper(),
                amount_minor=one["amount"],
                fee_minor=one["fee"],
                net_minor=one["net"],
                stripe_source_id=_id_of(one.get("source")),
                occurred_at=instant(one["created"]),
                journal_entry_id=entry.id,
            )
            for one, entry in zip(new, entries, strict=True)
        ],
        ignore_conflicts=True,  # another worker was quicker; the ledger gave us the same entry
    )
    return len(new)


def _balance_transaction_draft(transaction: StripeDict) -> JournalEntryDraft:
    currency = transaction["currency"].upper()
    return balance_transaction_draft(
        stripe_id=transaction["id"],
        movement=transaction["type"],
        amount=from_minor(transaction["amount"], currency),
        fee=from_minor(transaction["fee"], currency),
        currency=currency,
        occurred_at=instant(transaction["created"]),
    )


def record_customer_balance_transactions(fetched: Sequence[StripeDict], *, customer: Customer, now: datetime) -> int:
    """Enter movements on a customer's balance that are not in the books yet; return how many. Raises LedgerError."""
    if not fetched:
        return 0
    lock_customer(customer_id=customer.pk)
    ids = [transaction["id"] for transaction in fetched]
    recorded = CustomerBalanceTransaction.objects.filter(stripe_id__in=ids)
    known = set(recorded.values_list("stripe_id", flat=True))
    new = [one for one in fetched if one["id"] not in known and one["amount"]]
    drafts = [_customer_balance_draft(one, customer) for one in new]
    entries = _post_opening_accounts(drafts, currencies={one["currency"].upper() for one in new}, now=now)
    CustomerBalanceTransaction.objects.bulk_create(
        [
            CustomerBalanceTransaction(
                stripe_id=one["id"],
                customer=customer,
                type=one["type"],
                currency=one["currency"].upper(),
                amount_minor=one["amount"],
                ending_balance_minor=one["ending_balance"],
                stripe_invoice_id=_id_of(one.get("invoice")),
                occurred_at=instant(one["created"]),
                journal_entry_id=entry.id,
            )
            for one, entry in zip(new, entries, strict=True)
        ],
        ignore_conflicts=True,
    )
    return len(new)


def _customer_balance_draft(transaction: StripeDict, customer: Customer) -> JournalEntryDraft:
    currency = transaction["currency"].upper()
    return customer_balance_draft(
        stripe_id=transaction["id"],
        movement=transaction["type"],
        customer_key=customer.customer_key,
        amount=from_minor(transaction["amount"], currency),
        currency=currency,
        occurred_at=instant(transaction["created"]),
    )


def _post_opening_accounts(
    drafts: list[JournalEntryDraft], *, currencies: set[str], now: datetime
) -> list[PostedEntry]:
    """Post all or raise. Stripe may settle in a currency no customer has: its system accounts are opened then."""
    outcomes = post_journal_entries(drafts, recorded_at=now)
    if any(isinstance(outcome, RefusedEntry) and isinstance(outcome.error, UnknownAccount) for outcome in outcomes):
        open_accounts([spec for currency in sorted(currencies) for spec in system_account_specs(currency)])
        outcomes = post_journal_entries(drafts, recorded_at=now)
    posted: list[PostedEntry] = []
    for outcome in outcomes:
        if isinstance(outcome, RefusedEntry):
            raise outcome.error
        posted.append(outcome)
    return posted


def instant(unix_seconds: int) -> datetime:
    """Stripe's time as ours."""
    return datetime.fromtimestamp(unix_seconds, tz=UTC)


def _id_of(value: Any) -> str:
    return str(value["id"]) if isinstance(value, dict) else str(value or "")
