"""
Money that moved at Stripe, taken into our books once each, by Stripe's ids.

Rows and entries are written in one transaction, which the caller opens; a repeat finds the row and does nothing.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from billing.accounting.balance_transactions import Movement, balance_transaction_draft
from billing.accounting.chart import customer_account_specs, system_account_specs
from billing.accounting.customer_balance import OF_INVOICES, customer_balance_draft
from billing.accounting.payments import post_payment_applied, post_payment_succeeded
from billing.customers.models import Customer
from billing.customers.operations import lock_customer
from billing.invoicing.models import Invoice
from billing.invoicing.rounding import from_minor
from billing.payments.models import BalanceTransaction, CustomerBalanceTransaction, Payment
from billing.stripe.errors import ProjectionRefused
from billing.stripe.readers import id_of
from billing.takeover.cut import cut, is_before, is_second_before
from billing.takeover.opening import open_account
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
    None: nobody has tried to pay yet. Raises LedgerError, and ProjectionRefused for a success without a charge.
    """
    charge: StripeDict = payment_intent.get("latest_charge") or {}
    error: StripeDict = payment_intent.get("last_payment_error") or {}
    status = _STATUS_OF_INTENT[payment_intent["status"]]
    if status == Status.FAILED and not error and not charge:
        return None
    lock_customer(customer_id=customer.pk)
    known = Payment.objects.filter(stripe_payment_intent_id=payment_intent["id"]).first()
    was_entered = known is not None and known.status == Status.SUCCEEDED
    was_unasked = known is not None and known.invoice_id is None
    payment = known or Payment(stripe_payment_intent_id=payment_intent["id"])
    payment.customer, payment.invoice, payment.projected_at = customer, invoice, now
    payment.stripe_charge_id = charge.get("id", "")
    if status == Status.SUCCEEDED and not payment.stripe_charge_id:
        # Its entries would share a key with those of every other.
        raise ProjectionRefused(f"{payment_intent['id']} succeeded and names no charge")
    payment.status = status
    received = status == Status.SUCCEEDED and payment_intent["amount_received"]
    payment.amount_minor, payment.currency = received or payment_intent["amount"], payment_intent["currency"].upper()
    payment.failure_code = str(error.get("code") or charge.get("failure_code") or "")[:100]
    payment.failure_message = str(error.get("message") or charge.get("failure_message") or "")[:500]
    payment.occurred_at = instant(charge.get("created") or payment_intent["created"])
    cut_at = cut() if status == Status.SUCCEEDED and not was_entered else None
    was_on_balance = _was_on_balance(charge, cut_at=cut_at)
    if cut_at is not None:
        payment.is_taken_over = was_on_balance or _pays_for_before(payment, cut_at=cut_at)
    payment.save()
    if status == Status.SUCCEEDED:
        if not was_entered and payment.is_taken_over and cut_at is not None:
            _enter_of_before(payment, was_on_balance=was_on_balance, cut_at=cut_at, now=now)
        elif not was_entered:
            _enter(payment, post_payment_succeeded, occurred_at=payment.occurred_at, now=now)
        elif was_unasked and invoice is not None:
            # What a charge of before the takeover brought was no customer's until an invoice asked for it.
            post = partial(post_payment_applied, was_before=payment.is_taken_over)
            _enter(payment, post, occurred_at=now, now=now)
        movement = charge.get("balance_transaction")
        # Null at first for some payment methods; `charge.updated` tells when it is there.
        if isinstance(movement, dict):
            record_balance_transactions([{**movement, "source": charge}], now=now)
    else:  # also one that was called off since
        _open_failed_debit(payment, charge, now=now)
    return payment


def _open_failed_debit(payment: Payment, charge: StripeDict, *, now: datetime) -> None:
    """
    Of a debit that stood on our balance while it was pending at the cut of a takeover, and failed after it: the opening
    holds money that never came, and what takes it off our balance again meets it in transit.
    """
    taken_back = charge.get("failure_balance_transaction")
    if not isinstance(taken_back, dict):
        return
    cut_at = cut()
    if not _was_on_balance(charge, cut_at=cut_at):
        return
    record_balance_transactions([{**taken_back, "source": charge}], now=now)
    if not is_second_before(taken_back["created"], cut_at):
        open_account(
            "stripe:in_transit",
            stripe_id=payment.stripe_charge_id,
            currency=charge["currency"].upper(),
            debit_minor=-charge["amount"],  # the payment may ask for another by now
            cause={"charge": payment.stripe_charge_id},
            memo="Debit under way at the takeover",
            now=now,
        )


def _was_on_balance(charge: StripeDict, *, cut_at: datetime | None) -> bool:
    """Whether a charge was on our balance at Stripe by the cut of a takeover: then the opening holds its money."""
    movement = charge.get("balance_transaction")
    return isinstance(movement, dict) and is_second_before(movement["created"], cut_at)


def _pays_for_before(payment: Payment, *, cut_at: datetime) -> bool:
    """Whether it paid an invoice that was settled by the cut, or was made by then without one."""
    if payment.invoice is not None:
        return payment.invoice.taken_over == Invoice.TakenOver.SETTLED
    return is_before(payment.occurred_at, cut_at)


def _enter_of_before(payment: Payment, *, was_on_balance: bool, cut_at: datetime, now: datetime) -> None:
    """Of a payment of before the takeover what is still to be said: an invoice that it pays, or money on its way."""
    pays_for_before = _pays_for_before(payment, cut_at=cut_at)
    if was_on_balance and (pays_for_before or payment.invoice is None):
        return
    post = partial(post_payment_succeeded, was_on_balance=was_on_balance, pays_for_before=pays_for_before)
    _enter(payment, post, occurred_at=max(payment.occurred_at, cut_at), now=now)


def _enter(payment: Payment, post: Callable[..., PostedEntry], *, occurred_at: datetime, now: datetime) -> None:
    if not payment.amount_minor:
        return
    customer_key = payment.customer.customer_key
    if payment.currency != payment.customer.currency:  # nobody's invoice, but somebody's money
        open_accounts(system_account_specs(payment.currency) + customer_account_specs(customer_key, payment.currency))
    post(
        charge_id=payment.stripe_charge_id,
        invoice_id=payment.invoice.stripe_invoice_id if payment.invoice is not None else "",
        customer_key=customer_key,
        amount=from_minor(payment.amount_minor, payment.currency),
        currency=payment.currency,
        occurred_at=occurred_at,
        recorded_at=now,
    )


def record_balance_transactions(fetched: Sequence[StripeDict], *, now: datetime) -> int:
    """
    Enter movements on our balance at Stripe that are not in the books yet; return how many.

    One that Stripe converted needs its source as an object. Raises ProjectionRefused without it, and LedgerError.
    """
    ids = [transaction["id"] for transaction in fetched]
    known = set(BalanceTransaction.objects.filter(stripe_id__in=ids).values_list("stripe_id", flat=True))
    # A movement of nothing at all (a fully waived fee) has no entry.
    new = [one for one in fetched if one["id"] not in known and (one["amount"] or one["fee"])]
    if new:
        cut_at = cut()  # what moved by then is in the opening
        new = [one for one in new if not is_second_before(one["created"], cut_at)]
    records = [_balance_transaction(one) for one in new]
    currencies = {record.currency for record in records} | {record.source_currency for record in records} - {""}
    entries = _post_opening_accounts([_draft_of(record) for record in records], currencies=currencies, now=now)
    for record, entry in zip(records, entries, strict=True):
        record.journal_entry_id = entry.id
    # Another worker may have been quicker; the ledger gave us the same entry.
    BalanceTransaction.objects.bulk_create(records, ignore_conflicts=True)
    return len(new)


def _balance_transaction(fetched: StripeDict) -> BalanceTransaction:
    source, currency = fetched.get("source"), fetched["currency"].upper()
    record = BalanceTransaction(
        stripe_id=fetched["id"],
        type=fetched["type"],
        reporting_category=fetched.get("reporting_category") or "",
        currency=currency,
        amount_minor=fetched["amount"],
        fee_minor=fetched["fee"],
        net_minor=fetched["net"],
        stripe_source_id=id_of(source),
        exchange_rate=str(fetched.get("exchange_rate") or "")[:40],
        occurred_at=instant(fetched["created"]),
    )
    if record.exchange_rate and source is not None and not isinstance(source, dict):
        raise ProjectionRefused(f"{record.stripe_id} was converted, and what {source} moved was not fetched")
    if isinstance(source, dict) and source["currency"].upper() != currency:
        record.source_currency = source["currency"].upper()
        record.source_amount_minor = abs(source["amount"]) * (1 if record.amount_minor > 0 else -1)
    return record


def _draft_of(record: BalanceTransaction) -> JournalEntryDraft:
    source_minor = record.source_amount_minor
    return balance_transaction_draft(
        Movement(
            stripe_id=record.stripe_id,
            type=record.type,
            reporting_category=record.reporting_category,
            amount=from_minor(record.amount_minor, record.currency),
            fee=from_minor(record.fee_minor, record.currency),
            currency=record.currency,
            source_id=record.stripe_source_id,
            source_amount=None if source_minor is None else from_minor(source_minor, record.source_currency),
            source_currency=record.source_currency,
            occurred_at=record.occurred_at,
        )
    )


def record_customer_balance_transactions(fetched: Sequence[StripeDict], *, customer: Customer, now: datetime) -> int:
    """Enter movements on a customer's balance that are not in the books yet; return how many. Raises LedgerError."""
    if not fetched:
        return 0
    lock_customer(customer_id=customer.pk)
    ids = [transaction["id"] for transaction in fetched]
    recorded = CustomerBalanceTransaction.objects.filter(stripe_id__in=ids)
    known = set(recorded.values_list("stripe_id", flat=True))
    cut_at = cut()
    new = [one for one in fetched if one["id"] not in known and one["amount"]]
    new = [one for one in new if not is_second_before(one["created"], cut_at) or _settled_an_open_invoice(one)]
    drafts = [_customer_balance_draft(one, customer, cut_at=cut_at) for one in new]
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
                stripe_invoice_id=id_of(one.get("invoice")),
                occurred_at=instant(one["created"]),
                journal_entry_id=entry.id,
            )
            for one, entry in zip(new, entries, strict=True)
        ],
        ignore_conflicts=True,
    )
    return len(new)


def _settled_an_open_invoice(transaction: StripeDict) -> bool:
    """Whether a movement of before the takeover is part of what was open of an invoice at the cut."""
    invoices = Invoice.objects.filter(
        stripe_invoice_id=id_of(transaction.get("invoice")), taken_over=Invoice.TakenOver.OPEN
    )
    return transaction["type"] in OF_INVOICES and invoices.exists()


def _customer_balance_draft(
    transaction: StripeDict, customer: Customer, *, cut_at: datetime | None
) -> JournalEntryDraft:
    currency = transaction["currency"].upper()
    occurred_at = instant(transaction["created"])
    return customer_balance_draft(
        stripe_id=transaction["id"],
        movement=transaction["type"],
        customer_key=customer.customer_key,
        amount=from_minor(transaction["amount"], currency),
        currency=currency,
        occurred_at=occurred_at if cut_at is None else max(occurred_at, cut_at),
        invoice=id_of(transaction.get("invoice")),
        credit_note=id_of(transaction.get("credit_note")),
        is_opened=is_before(occurred_at, cut_at),
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
