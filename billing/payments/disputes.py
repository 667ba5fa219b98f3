"""Disputes of a payment. Runs inside one transaction of the caller; said again it changes nothing."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from billing.accounting.disputes import post_dispute_lost
from billing.customers.operations import lock_customer
from billing.invoicing.rounding import from_minor
from billing.payments.models import Dispute, Payment
from billing.payments.operations import instant, record_balance_transactions
from billing.takeover.cut import is_second_before

Status = Dispute.Status
StripeDict = dict[str, Any]


def project_disputes(
    fetched: Iterable[StripeDict], *, payment: Payment, closed_at: Mapping[str, datetime], now: datetime
) -> None:
    """
    Bring the rows of a payment's disputes up to date, enter what was withdrawn and reinstated, and what is lost.

    `closed_at` is by the dispute's id: Stripe tells that instant by an event only, so a loss is entered when that has
    come. Raises LedgerError.
    """
    lock_customer(customer_id=payment.customer_id)
    for one in sorted(fetched, key=lambda dispute: (dispute["created"], dispute["id"])):
        known = Dispute.objects.filter(stripe_dispute_id=one["id"]).first()
        dispute = known or Dispute(
            stripe_dispute_id=one["id"],
            payment=payment,
            stripe_charge_id=payment.stripe_charge_id,
            currency=one["currency"].upper(),
            occurred_at=instant(one["created"]),
        )
        due_by = (one.get("evidence_details") or {}).get("due_by")
        dispute.status, dispute.amount_minor, dispute.projected_at = one["status"], one["amount"], now
        dispute.reason = (one.get("reason") or "")[:100]
        dispute.respond_by = instant(due_by) if due_by else None
        dispute.closed_at = closed_at.get(one["id"]) or dispute.closed_at
        dispute.save()
        movements = one.get("balance_transactions") or []
        record_balance_transactions([{**movement, "source": one} for movement in movements], now=now)
        _settle_loss(dispute, held=held_minor(one), now=now)


def held_minor(fetched: StripeDict, *, until: datetime | None = None) -> int:
    """
    What was withdrawn and not reinstated, in the dispute's own currency, as the entries of the movements say it; with
    `until` at the end of that second.
    """
    held = 0
    for movement in fetched.get("balance_transactions") or []:
        if until is not None and not is_second_before(movement["created"], until):
            continue
        if movement["currency"] == fetched["currency"]:
            held -= movement["amount"]
        else:
            held += fetched["amount"] if movement["amount"] < 0 else -fetched["amount"]
    return held


def _settle_loss(dispute: Dispute, *, held: int, now: datetime) -> None:
    is_lost = dispute.status == Status.LOST and dispute.closed_at is not None
    change = (held if is_lost else 0) - dispute.lost_minor
    if not change:
        return
    is_first = not dispute.loss_count and dispute.closed_at is not None
    post_dispute_lost(
        dispute_id=dispute.stripe_dispute_id,
        charge_id=dispute.stripe_charge_id,
        number=dispute.loss_count + 1,
        amount=from_minor(change, dispute.currency),
        currency=dispute.currency,
        occurred_at=dispute.closed_at if is_first and dispute.closed_at is not None else now,
        recorded_at=now,
    )
    dispute.lost_minor, dispute.loss_count = dispute.lost_minor + change, dispute.loss_count + 1
    dispute.save(update_fields=["lost_minor", "loss_count"])
