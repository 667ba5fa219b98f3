"""Payouts to our bank. Runs inside one transaction of the caller; said again it changes nothing."""

from datetime import datetime
from typing import Any

from billing.accounting.payouts import post_payout_arrived, post_payout_returned
from billing.invoicing.rounding import from_minor
from billing.payments.models import Payout
from billing.payments.operations import instant, record_balance_transactions

Status = Payout.Status
StripeDict = dict[str, Any]


def project_payout(fetched: StripeDict, *, now: datetime) -> Payout:
    """
    Bring the row of a payout (fetched with its balance transactions) up to date, and the books.

    Sent and come back are movements on our balance at Stripe. Arrived is entered with the day Stripe names for it; a
    payout may still fail after that, and then it never was at the bank. Raises LedgerError.
    """
    known = Payout.objects.select_for_update().filter(stripe_payout_id=fetched["id"]).first()
    payout = known or Payout(
        stripe_payout_id=fetched["id"],
        amount_minor=fetched["amount"],
        currency=fetched["currency"].upper(),
        is_automatic=fetched["automatic"],
        occurred_at=instant(fetched["created"]),
    )
    payout.status, payout.projected_at = fetched["status"], now
    payout.failure_code = (fetched.get("failure_code") or "")[:100]
    payout.failure_message = (fetched.get("failure_message") or "")[:500]
    payout.expected_at = instant(fetched["arrival_date"])
    sent, returned = fetched.get("balance_transaction"), fetched.get("failure_balance_transaction")
    if payout.arrived_at is None and payout.status == Status.PAID:
        payout.arrived_at = payout.expected_at
    if payout.returned_at is None and isinstance(returned, dict):
        payout.returned_at = instant(returned["created"])
    payout.save()
    _enter(payout, now=now)
    movements = [{**movement, "source": fetched} for movement in (sent, returned) if isinstance(movement, dict)]
    record_balance_transactions(movements, now=now)
    return payout


def _enter(payout: Payout, *, now: datetime) -> None:
    if payout.arrived_at is None:
        return
    entry = post_payout_arrived(
        payout_id=payout.stripe_payout_id,
        amount=from_minor(payout.amount_minor, payout.currency),
        currency=payout.currency,
        arrived_at=payout.arrived_at,
        recorded_at=now,
    )
    if payout.returned_at is not None:
        post_payout_returned(
            arrived=entry, payout_id=payout.stripe_payout_id, occurred_at=payout.returned_at, recorded_at=now
        )
