"""
Asking for refunds, deciding about them, and sending them: one at a time, or a batch of many.

What was asked is what is sent, once, through the outbox. The ledger follows by the projection of the refund at Stripe.
The database keeps the sum of a payment's refunds within what was paid, whoever asks at the same time.
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction

from billing.customers.operations import lock_customer
from billing.invoicing.models import InvoiceLine
from billing.invoicing.rounding import chargeable_increment_minor
from billing.payments import two_people
from billing.payments.models import Payment
from billing.payments.refunding.left import left_of
from billing.payments.refunding.models import RefundDecision, RefundReason, RefundRequest
from billing.payments.refunding.parts import parts_for
from billing.payments.two_people import InvalidRequest, NotPermitted, Outcome
from billing.stripe import outbox
from billing.stripe.errors import StripeRefused, StripeUnavailable
from billing.stripe.readers import id_of, named_by

logger = logging.getLogger(__name__)
REQUEST, APPROVE = "billing.request_refund", "billing.approve_refund"
State, Way = RefundRequest.State, RefundRequest.Way
LEASE = timedelta(minutes=5)
SERVICE = "service:"
# What Stripe has a word for; it is told nothing of the others.
_STRIPE_REASONS = {
    RefundReason.DUPLICATE: "duplicate",
    RefundReason.NOT_WANTED: "requested_by_customer",
    RefundReason.FRAUD: "fraudulent",
}
_NOTE_REASONS = {
    RefundReason.DUPLICATE: "duplicate",
    RefundReason.FRAUD: "fraudulent",
    RefundReason.OUTAGE: "product_unsatisfactory",
}


def request_refund(
    *,
    payment_id: int,
    amount_minor: int | None,
    way: str = Way.REFUND,
    reason_code: str,
    reason: str,
    idempotency_key: str,
    actor: str,
    now: datetime,
) -> RefundRequest:
    """
    Ask for a refund of a payment; without an amount all that is left. Agreed to at once within the actor's limit.

    Said twice with one key it returns the first. A service may ask within the limit alone (its key's scope was checked
    before), and nothing of it waits: whoever holds the key could approve it. Raises NotPermitted, InvalidRequest (more
    than is left, or nothing to credit), and RequestConflict when the key belongs to another request.
    """
    two_people.require_may(actor, REQUEST, what="ask for a refund")
    known = RefundRequest.objects.filter(idempotency_key=idempotency_key).first()
    if known is not None:
        terms: dict[str, object] = {"payment_id": payment_id, "way": way, "reason_code": reason_code}
        if amount_minor is not None:
            terms["amount_minor"] = amount_minor
        two_people.require_same(known, **terms, reason=reason.strip(), requested_by=actor)
        return known
    with transaction.atomic():
        asked = _asked(payment_id, amount_minor, way=way, reason_code=reason_code, reason=reason, actor=actor, now=now)
        asked.idempotency_key = idempotency_key
        if asked.needs_second_person and actor.startswith(SERVICE):
            raise NotPermitted(
                "It is above what may be moved alone for this customer on one day (UTC). A person has to ask for it, in"
                " the admin.",
                field="amount_minor",
            )
        _save_new(asked)
        if not asked.needs_second_person:
            _decide(asked, Outcome.WITHIN_LIMIT, words="", actor=actor, now=now)
    return asked


def preview_refund(
    *, payment_id: int, amount_minor: int | None, way: str, reason_code: str, reason: str, actor: str, now: datetime
) -> RefundRequest:
    """What request_refund would write down now, not saved. Raises the same."""
    two_people.require_may(actor, REQUEST, what="ask for a refund")
    with transaction.atomic():
        return _asked(payment_id, amount_minor, way=way, reason_code=reason_code, reason=reason, actor=actor, now=now)


def decide_refund(*, request_id: int, outcome: Outcome, words: str, actor: str, now: datetime) -> RefundRequest:
    """Approve or reject as the second person, or withdraw one's own. Raises what two_people.decide raises."""
    with transaction.atomic():
        asked = RefundRequest.objects.select_related("payment").filter(pk=request_id).first()
        if asked is None:
            raise InvalidRequest("There is no such request.")
        lock_customer(customer_id=asked.customer_id)
        asked = RefundRequest.objects.select_for_update(of=("self",)).select_related("payment").get(pk=request_id)
        if asked.batch_id is not None:
            raise InvalidRequest("It is a line of a batch, which is decided about as a whole.")
        _decide(asked, outcome, words=words, actor=actor, now=now)
        return asked


def _asked(
    payment_id: int, amount_minor: int | None, *, way: str, reason_code: str, reason: str, actor: str, now: datetime
) -> RefundRequest:
    """The request, weighed and not saved, under the customer's lock. Raises InvalidRequest."""
    payment = Payment.objects.select_related("customer", "invoice").filter(pk=payment_id).first()
    if payment is None:
        raise InvalidRequest("There is no such payment.", field="payment")
    lock_customer(customer_id=payment.customer_id)
    if reason_code not in RefundReason.values:
        raise InvalidRequest(f"Give one of {', '.join(RefundReason.values)}.", field="reason_code")
    if way not in Way.values:
        raise InvalidRequest(f"Give one of {', '.join(Way.values)}.", field="way")
    if payment.status != Payment.Status.SUCCEEDED:
        raise InvalidRequest("The payment did not succeed: there is nothing to give back.", field="payment")
    if way == Way.CREDIT_NOTE and payment.invoice is None:
        raise InvalidRequest("The payment belongs to no invoice: refund it without a credit note.", field="way")
    _require_no_prepaid(payment)
    left = left_of(payment)
    amount = left if amount_minor is None else amount_minor
    if not 0 < amount <= left:
        raise InvalidRequest(
            f"Of this payment {left} minor units of {payment.currency} are neither given back nor asked for.",
            field="amount_minor",
        )
    step = chargeable_increment_minor(payment.currency)
    if amount < left and amount % step:
        raise InvalidRequest(f"{payment.currency} is given back in steps of {step} minor units.", field="amount_minor")
    asked = RefundRequest(
        payment=payment,
        customer=payment.customer,
        way=way,
        parts=parts_for(payment.invoice, amount) if payment.invoice and way == Way.CREDIT_NOTE else None,
        reason_code=reason_code,
        state=State.WAITING,
        amount_minor=amount,
        currency=payment.currency,
        reason=two_people.require_words(reason, field="reason"),
        requested_by=actor,
        requested_at=now,
    )
    two_people.weigh(asked, customer=payment.customer)
    return asked


def _require_no_prepaid(payment: Payment) -> None:
    """Raises InvalidRequest where it paid for credit: only a credit note on that line takes the credit back as well."""
    prepaid = InvoiceLine.objects.filter(invoice=payment.invoice_id, kind=InvoiceLine.Kind.PREPAID).first()
    if payment.invoice_id is not None and prepaid is not None:
        raise InvalidRequest(
            f"It paid for prepaid credit, which a refund would leave usable. Make a credit note on the line"
            f" “{prepaid.description[:80]}” of invoice {payment.invoice}: it takes the credit back.",
            field="payment",
        )


def _save_new(asked: RefundRequest) -> None:
    """The database looks once more, under the payment's own lock: a refund at Stripe may just have become known."""
    try:
        with transaction.atomic():
            asked.save()
    except IntegrityError as error:
        if _rule(error) != "billing_refundrequest_within_paid":
            raise
        raise InvalidRequest("So much of the payment is not left any more.", field="amount_minor") from error


def _rule(error: IntegrityError) -> str:
    return str(getattr(getattr(error.__cause__, "diag", None), "constraint_name", "") or "")


def _decide(asked: RefundRequest, outcome: Outcome, *, words: str, actor: str, now: datetime) -> None:
    is_new = two_people.decide(
        asked, decisions=RefundDecision, outcome=outcome, words=words, permission=APPROVE, actor=actor, now=now
    )
    if not is_new:
        return
    if outcome in (Outcome.WITHIN_LIMIT, Outcome.APPROVED):
        asked.state, asked.next_attempt_at = State.AGREED, now
    else:
        asked.state, asked.ended_at = State.DROPPED, now
    asked.save(update_fields=["state", "next_attempt_at", "ended_at"])


# --- sending ----------------------------------------------------------------------------------------------------------


def due_refunds(*, now: datetime, limit: int) -> list[int]:
    due = RefundRequest.objects.filter(next_attempt_at__lte=now, state=State.AGREED)
    return list(due.order_by("next_attempt_at", "pk").values_list("pk", flat=True)[:limit])


def send_refunds(request_ids: Iterable[int], *, now: datetime) -> int:
    """Send each to Stripe; return how many were refunded. Not inside a transaction; what fails is tried again later."""
    return sum(_send(request_id, now=now) for request_id in request_ids)


def _send(request_id: int, *, now: datetime) -> bool:
    until = now + LEASE
    ours = RefundRequest.objects.filter(pk=request_id, state=State.AGREED, next_attempt_at__lte=now)
    if not ours.update(next_attempt_at=until):
        return False
    asked = RefundRequest.objects.select_related("payment__invoice").get(pk=request_id)
    try:
        ended = _credit(asked, now=now) if asked.way == Way.CREDIT_NOTE else _refund(asked, now=now)
    except StripeRefused as refusal:
        ended = {"state": State.REFUSED, "error": str(refusal)[:500]}
    except StripeUnavailable as failure:
        logger.warning("refund request %s waits for Stripe", request_id)
        waits = getattr(failure, "retry_after", None) or LEASE
        RefundRequest.objects.filter(pk=request_id, state=State.AGREED).update(
            next_attempt_at=now + max(waits, LEASE), error=str(failure)[:500]
        )
        return False
    changes = {"error": "", **ended, "ended_at": now, "next_attempt_at": None}
    done = RefundRequest.objects.filter(pk=request_id, state=State.AGREED).update(**changes)
    return bool(done) and ended["state"] == State.SENT


def _refund(asked: RefundRequest, *, now: datetime) -> dict[str, Any]:
    reason = _STRIPE_REASONS.get(RefundReason(asked.reason_code))
    params: dict[str, Any] = {
        **named_by(asked.payment.stripe_payment_intent_id),
        "amount": asked.amount_minor,
        "metadata": {"refund_request": str(asked.pk)},
    }
    if reason is not None:
        params["reason"] = reason
    made = outbox.perform(purpose=f"refund:{asked.pk}", operation="refunds.create", target="", params=params, now=now)
    return {"state": State.SENT, "stripe_refund_id": made["id"]}


def _credit(asked: RefundRequest, *, now: datetime) -> dict[str, Any]:
    """A credit note on the lines that were chosen, refunded: Stripe takes back what is tax by each line's own rates."""
    assert asked.payment.invoice is not None
    ids = dict(asked.payment.invoice.lines.values_list("pk", "stripe_line_id"))
    params: dict[str, Any] = {
        "invoice": asked.payment.invoice.stripe_invoice_id,
        "lines": [
            {"type": "invoice_line_item", "invoice_line_item": ids[line_id], "amount": amount}
            for line_id, amount in asked.parts or ()
        ],
        "refund_amount": asked.amount_minor,
        "memo": asked.reason,
        "metadata": {"refund_request": str(asked.pk)},
    }
    reason = _NOTE_REASONS.get(RefundReason(asked.reason_code))
    if reason is not None:
        params["reason"] = reason
    note = outbox.perform(
        purpose=f"refund:{asked.pk}", operation="credit_notes.create", target="", params=params, now=now
    )
    refunds = note.get("refunds") or []
    refund_id = id_of(refunds[0]["refund"]) if refunds else ""
    state = State.SENT if refund_id else State.REFUSED
    return {"state": state, "stripe_refund_id": refund_id, "stripe_credit_note_id": note["id"]}
