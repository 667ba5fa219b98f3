"""Payouts to our bank. Runs inside one transaction of the caller; said again it changes nothing."""

from datetime import datetime
from typing import Any

from billing.accounting.payouts import post_payout_arrived, post_payout_returned
from billing.invoicing.rounding import from_minor
from billing.payments.models import Payout
from billing.payments.operations import instant, record_balance_transactions
from billing.takeover.cut import cut, is_before, is_second_before
from billing.takeover.opening import is_opened, open_account

Status = Payout.Status
IN_TRANSIT = "payout:in_transit"
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
    payout.trace_id = ((fetched.get("trace_id") or {}).get("value") or "")[:200]
    payout.statement_descriptor = (fetched.get("statement_descriptor") or "")[:100]
    payout.expected_at = instant(fetched["arrival_date"])
    sent, returned = fetched.get("balance_transaction"), fetched.get("failure_balance_transaction")
    if payout.arrived_at is None and payout.status == Status.PAID:
        payout.arrived_at = payout.expected_at
    if payout.returned_at is None and isinstance(returned, dict):
        payout.returned_at = instant(returned["created"])
    payout.save()
    if _is_in_the_books(payout, sent, returned, now=now):
        _enter(payout, now=now)
    movements = [{**movement, "source": fetched} for movement in (sent, returned) if isinstance(movement, dict)]
    record_balance_transactions(movements, now=now)
    return payout


def _is_in_the_books(payout: Payout, sent: object, returned: object, *, now: datetime) -> bool:
    """
    Whether what becomes of a payout is ours to enter. One that left our balance at Stripe by the cut of a takeover was
    under way then, which its opening entry says, or at the bank already, which is history unless it comes back.
    """
    cut_at = cut()
    if not isinstance(sent, dict) or not is_second_before(sent["created"], cut_at):
        return True
    was_back = isinstance(returned, dict) and is_second_before(returned["created"], cut_at)
    was_there = payout.returned_at is None and is_before(payout.arrived_at, cut_at)
    was_opened = is_opened(IN_TRANSIT, stripe_id=payout.stripe_payout_id, currency=payout.currency)
    if was_back or (was_there and not was_opened):
        return False
    return open_account(
        IN_TRANSIT,
        stripe_id=payout.stripe_payout_id,
        currency=payout.currency,
        debit_minor=payout.amount_minor,
        cause={"payout": payout.stripe_payout_id},
        memo="Payout under way at the takeover",
        now=now,
    )


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
