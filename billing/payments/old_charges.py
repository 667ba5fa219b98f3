"""
Charges that were made before a takeover and name no customer, their refunds and disputes: entries, and no rows.

Nobody here can be owed anything of them, and their money is in the opening. What moves after the cut still has to meet
something, or it stays in transit for ever. Inside one transaction of the caller; said again it changes nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from billing.accounting.disputes import post_dispute_lost
from billing.accounting.payments import post_payment_succeeded
from billing.accounting.refunds import post_refund_of_nobody, post_refund_returned
from billing.invoicing.rounding import from_minor
from billing.payments.disputes import held_minor
from billing.payments.operations import instant, record_balance_transactions
from billing.stripe.readers import id_of
from billing.takeover.cut import cut, is_before, is_second_before

StripeDict = dict[str, Any]


def enter_payment_of_nobody(payment_intent: StripeDict, *, now: datetime) -> None:
    """
    Enter what a payment (fetched with its latest charge and that one's balance transaction) brought, where the charge
    was made by the cut and moved our balance after it: a sale of the books of before, under way then.

    Raises LedgerError.
    """
    charge: StripeDict = payment_intent.get("latest_charge") or {}
    movement, cut_at = charge.get("balance_transaction"), cut()
    if payment_intent["status"] != "succeeded" or not isinstance(movement, dict):
        return
    if cut_at is None or not is_second_before(charge["created"], cut_at):
        return
    record_balance_transactions([{**movement, "source": charge}], now=now)
    if is_second_before(movement["created"], cut_at) or not payment_intent["amount_received"]:
        return
    currency = payment_intent["currency"].upper()
    post_payment_succeeded(
        charge_id=charge["id"],
        invoice_id="",
        customer_key="",
        amount=from_minor(payment_intent["amount_received"], currency),
        currency=currency,
        occurred_at=cut_at,
        recorded_at=now,
        pays_for_before=True,
    )


def enter_refunds_of_nobody(fetched: Iterable[StripeDict], *, now: datetime) -> None:
    """Enter what refunds (fetched with their balance transactions) moved after the cut. Raises LedgerError."""
    cut_at = cut()
    for one in fetched:
        sent, returned = one.get("balance_transaction"), one.get("failure_balance_transaction")
        movements = [{**movement, "source": one} for movement in (sent, returned) if isinstance(movement, dict)]
        record_balance_transactions(movements, now=now)
        if not isinstance(sent, dict):
            continue
        sent_at = instant(sent["created"])
        returned_at = instant(returned["created"]) if isinstance(returned, dict) else None
        was_sent = is_before(sent_at, cut_at)
        if was_sent and (returned_at is None or is_before(returned_at, cut_at)):
            continue
        entry = post_refund_of_nobody(
            refund_id=one["id"],
            charge_id=id_of(one["charge"]),
            amount=from_minor(-one["amount"] if was_sent else one["amount"], one["currency"].upper()),
            currency=one["currency"].upper(),
            is_of_before=is_before(instant(one["created"]), cut_at),
            occurred_at=returned_at if was_sent and returned_at is not None else sent_at,
            recorded_at=now,
        )
        if returned_at is not None and not was_sent:
            post_refund_returned(
                sent=entry, refund_id=one["id"], charge_id=id_of(one["charge"]), occurred_at=returned_at,
                recorded_at=now,
            )  # fmt: skip


def enter_disputes_of_nobody(
    fetched: Iterable[StripeDict], *, closed_at: Mapping[str, datetime], now: datetime
) -> None:
    """
    Enter what disputes moved after the cut, and as bad debt what is lost. Raises LedgerError.

    What Stripe reinstates after a loss stays on `disputes`, where finance sees it: there is no row that keeps count.
    """
    for one in fetched:
        movements = one.get("balance_transactions") or []
        record_balance_transactions([{**movement, "source": one} for movement in movements], now=now)
        held, lost_at = held_minor(one), closed_at.get(one["id"])
        if one["status"] == "lost" and lost_at is not None and held > 0:
            post_dispute_lost(
                dispute_id=one["id"],
                charge_id=id_of(one["charge"]),
                number=1,
                amount=from_minor(held, one["currency"].upper()),
                currency=one["currency"].upper(),
                occurred_at=lost_at,
                recorded_at=now,
            )
