"""
Refunds of a payment, and what is owed to the customer because of them.

Everything here runs inside one transaction of the caller. The books follow from the rows alone, so neither the order
in which refunds and credit notes become known nor a repetition matters: what is owed is worked out anew, and the
difference to what was entered is entered (DESIGN §5).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Sum

from billing.accounting.chart import refund_due
from billing.accounting.manual_entries import moved_by_hand
from billing.accounting.refunds import (
    post_refund_of_before_returned,
    post_refund_promised,
    post_refund_returned,
    post_refund_sent,
)
from billing.customers.operations import lock_customer
from billing.invoicing.models import CreditNote
from billing.invoicing.rounding import exact_minor, from_minor
from billing.payments.models import CreditNoteRefund, Payment, Refund
from billing.payments.operations import instant, record_balance_transactions
from billing.payments.promises import RefundPart, promised_minor
from billing.stripe.readers import id_of
from billing.takeover.cut import cut, is_before

Status = Refund.Status
StripeDict = dict[str, Any]


def project_refunds(fetched: Iterable[StripeDict], *, payment: Payment, now: datetime) -> None:
    """
    Bring the rows of a payment's refunds (fetched with their balance transactions) up to date, and the books.

    A refund is sent when Stripe took it from our balance: not while it waits there, and never for an authorisation
    that is released. Raises LedgerError.
    """
    lock_customer(customer_id=payment.customer_id)
    payment.refresh_from_db()  # a credit note may have settled the promise meanwhile, in this very transaction
    for one in sorted(fetched, key=lambda refund: (refund["created"], refund["id"])):
        _project_refund(one, payment=payment, now=now)
    _settle_promise(payment, now=now)


def cover_refunds(covered: Iterable[StripeDict], *, credit_note_id: str, now: datetime) -> None:
    """
    A credit note stands for refunds, which its own entry has promised: take back what was promised without it.

    `covered` is the list `refunds` of Stripe's credit note, at whichever time either becomes known. Raises LedgerError.
    """
    for one in covered:
        refund_id = id_of(one["refund"])
        CreditNoteRefund.objects.get_or_create(
            stripe_credit_note_id=credit_note_id,
            stripe_refund_id=refund_id,
            defaults={"amount_minor": one["amount_refunded"]},
        )
        payment = Payment.objects.filter(refunds__stripe_refund_id=refund_id).first()
        if payment is not None:
            lock_customer(customer_id=payment.customer_id)
            payment.refresh_from_db()
            _settle_promise(payment, now=now)


def _project_refund(fetched: StripeDict, *, payment: Payment, now: datetime) -> None:
    known = Refund.objects.filter(stripe_refund_id=fetched["id"]).first()
    refund = known or Refund(
        stripe_refund_id=fetched["id"],
        payment=payment,
        stripe_charge_id=payment.stripe_charge_id,
        amount_minor=fetched["amount"],
        currency=fetched["currency"].upper(),
        occurred_at=instant(fetched["created"]),
    )
    refund.status = fetched["status"] or Status.PENDING
    refund.reason = (fetched.get("reason") or "")[:100]
    refund.failure_reason = (fetched.get("failure_reason") or "")[:100]
    refund.projected_at = now
    sent, returned = fetched.get("balance_transaction"), fetched.get("failure_balance_transaction")
    if refund.sent_at is None and isinstance(sent, dict):
        refund.sent_at = instant(sent["created"])
    if refund.returned_at is None and isinstance(returned, dict):
        refund.returned_at = instant(returned["created"])
    refund.save()
    _enter(refund, customer_key=payment.customer.customer_key, now=now)
    movements = [{**movement, "source": fetched} for movement in (sent, returned) if isinstance(movement, dict)]
    record_balance_transactions(movements, now=now)


def _enter(refund: Refund, *, customer_key: str, now: datetime) -> None:
    if refund.sent_at is None:
        return
    cut_at = cut()
    if is_before(refund.sent_at, cut_at):
        if refund.returned_at is not None and not is_before(refund.returned_at, cut_at):
            post_refund_of_before_returned(
                refund_id=refund.stripe_refund_id,
                charge_id=refund.stripe_charge_id,
                customer_key=customer_key,
                amount=from_minor(refund.amount_minor, refund.currency),
                currency=refund.currency,
                occurred_at=refund.returned_at,
                recorded_at=now,
            )
        return
    entry = post_refund_sent(
        refund_id=refund.stripe_refund_id,
        charge_id=refund.stripe_charge_id,
        customer_key=customer_key,
        amount=from_minor(refund.amount_minor, refund.currency),
        currency=refund.currency,
        occurred_at=refund.sent_at,
        recorded_at=now,
    )
    if refund.returned_at is not None:
        post_refund_returned(
            sent=entry,
            refund_id=refund.stripe_refund_id,
            charge_id=refund.stripe_charge_id,
            occurred_at=refund.returned_at,
            recorded_at=now,
        )


def _settle_promise(payment: Payment, *, now: datetime) -> None:
    """Enter what is owed for refunds beyond what other entries make us owe for this payment already."""
    refunds = [refund for refund in payment.refunds.all() if _is_promise(refund)]
    parts = [RefundPart(refund.amount_minor, refund.occurred_at, _failed_at(refund)) for refund in refunds]
    given_by_hand, promised_by_hand = _by_hand(payment)
    parts += given_by_hand
    cut_at = cut() if payment.is_taken_over else None
    owed = max(promised_minor(parts) - _covered_minor(payment, after=cut_at), 0)
    if cut_at is not None:
        # Below zero where a credit note of after the cut promises what had left before it.
        owed -= promised_by(payment, cut_at=cut_at)
    # What was charged without an invoice before a takeover was a sale, and is nobody's to be given back.
    unasked = payment.amount_minor if payment.invoice_id is None and cut_at is None else 0
    owed -= min(unasked + promised_by_hand, max(owed, 0))
    change = owed - payment.promised_minor
    if not change:
        return
    post_refund_promised(
        charge_id=payment.stripe_charge_id,
        number=payment.promise_count + 1,
        customer_key=payment.customer.customer_key,
        amount=from_minor(change, payment.currency),
        currency=payment.currency,
        occurred_at=max(part.occurred_at for part in parts) if change > 0 else now,
        recorded_at=now,
    )
    payment.promised_minor, payment.promise_count = owed, payment.promise_count + 1
    payment.save(update_fields=["promised_minor", "promise_count"])


def _covered_minor(payment: Payment, *, after: datetime | None) -> int:
    """What credit notes promise of its refunds by entries of their own: not those of before the cut of a takeover."""
    covered = CreditNoteRefund.objects.filter(stripe_refund_id__in=payment.refunds.values("stripe_refund_id"))
    if after is not None:
        entered = CreditNote.objects.filter(issued_at__gt=after).values("stripe_credit_note_id")
        covered = covered.filter(stripe_credit_note_id__in=entered)
    return int(covered.aggregate(minor=Sum("amount_minor", default=0))["minor"])


def promised_by(payment: Payment, *, cut_at: datetime) -> int:
    """What its refunds had promised by the cut of a takeover, in minor units: it is in the books of before."""
    made = [one for one in payment.refunds.all() if is_before(one.occurred_at, cut_at)]
    # One that was called off later was a promise then.
    stood = [one for one in made if _is_promise(one) or (one.returned_at is not None and one.returned_at > cut_at)]
    failed = {one.pk: at for one in stood if is_before(at := _failed_at(one), cut_at)}
    return promised_minor(RefundPart(one.amount_minor, one.occurred_at, failed.get(one.pk)) for one in stood)


def _by_hand(payment: Payment) -> tuple[list[RefundPart], int]:
    """
    What people entered about this charge on refund_due: what was given back or ended there, and what was promised.

    What a promise made by hand was for is not promised once more when a refund at Stripe sends it.
    """
    account = refund_due(payment.customer.customer_key, payment.currency)
    given: list[RefundPart] = []
    promised = 0
    for asked in moved_by_hand(customer=payment.customer, account=account, charge_id=payment.stripe_charge_id):
        minor = exact_minor(asked.amount, payment.currency)
        if asked.credit_account == account:
            promised += minor
        else:
            given.append(RefundPart(minor, asked.effective_at))
    return given, promised


def _is_promise(refund: Refund) -> bool:
    """Whether the customer was to get it: not one that was called off, nor the release of an authorisation."""
    is_waiting = refund.status in (Status.PENDING, Status.REQUIRES_ACTION, Status.FAILED)
    return refund.status != Status.CANCELED and (is_waiting or refund.sent_at is not None)


def _failed_at(refund: Refund) -> datetime | None:
    if refund.status != Status.FAILED:
        return None
    return refund.returned_at or refund.occurred_at
