"""What a payout is made of: the movements on our balance at Stripe that it paid out, down to customers' charges."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing.payments.bank.models import PayoutMovement
from billing.payments.models import BalanceTransaction, Dispute, Payment, Payout, Refund
from billing.payments.operations import record_balance_transactions
from billing.stripe.readers import id_of

SHOWN_MAX = 200


@dataclass(frozen=True, slots=True)
class Part:
    """One movement, and whose it is where it is a customer's."""

    movement: BalanceTransaction
    payment: Payment | None
    what: str


@dataclass(frozen=True, slots=True)
class KindSum:
    """All movements of one type in a payout: how many, and their amounts, fees and net in minor units."""

    type: str
    count: int
    amount_minor: int
    fee_minor: int

    @property
    def net_minor(self) -> int:
        return self.amount_minor - self.fee_minor

    @property
    def name(self) -> str:
        return self.type.replace("_", " ").capitalize()


@dataclass(frozen=True, slots=True)
class Composition:
    sums: tuple[KindSum, ...]
    parts: tuple[Part, ...]
    count: int

    @property
    def net_minor(self) -> int:
        return sum(one.net_minor for one in self.sums)

    @property
    def more(self) -> int:
        return self.count - len(self.parts)


def is_composition_known(stripe_payout_id: str) -> bool:
    return PayoutMovement.objects.filter(payout__stripe_payout_id=stripe_payout_id).exists()


def record_composition(listed: Sequence[dict[str, Any]], *, payout: Payout, now: datetime) -> None:
    """
    Keep which movements a payout paid out, as Stripe lists them; enter those that are not in the books yet.

    Runs inside one transaction of the caller; said again it changes nothing. Raises LedgerError, ProjectionRefused.
    """
    # Stripe lists the payout's own movement as well. What an earlier payout brought back is paid out again by this one.
    paid_out = [one for one in listed if id_of(one.get("source")) != payout.stripe_payout_id]
    if not paid_out:
        return
    record_balance_transactions(paid_out, now=now)
    known = BalanceTransaction.objects.filter(stripe_id__in=[one["id"] for one in paid_out])
    PayoutMovement.objects.bulk_create(
        [PayoutMovement(payout=payout, balance_transaction=movement) for movement in known], ignore_conflicts=True
    )


def composition_of(payout: Payout) -> Composition:
    """Its movements by type, and the largest of them one by one with the customer's payment behind each."""
    movements = BalanceTransaction.objects.filter(paid_out_by__payout=payout)
    sums: dict[str, KindSum] = {}
    for kind, amount, fee in movements.values_list("type", "amount_minor", "fee_minor"):
        before = sums.get(kind, KindSum(kind, 0, 0, 0))
        sums[kind] = KindSum(kind, before.count + 1, before.amount_minor + amount, before.fee_minor + fee)
    shown = list(movements.order_by("-amount_minor", "id")[:SHOWN_MAX])
    sources = [movement.stripe_source_id for movement in shown]
    payments = {one.stripe_charge_id: one for one in _with_customer(Payment).filter(stripe_charge_id__in=sources)}
    refunds = {one.stripe_refund_id: one for one in _with_customer(Refund).filter(stripe_refund_id__in=sources)}
    disputes = {one.stripe_dispute_id: one for one in _with_customer(Dispute).filter(stripe_dispute_id__in=sources)}
    parts = []
    for movement in shown:
        source = movement.stripe_source_id
        of_payment = refunds.get(source) or disputes.get(source)
        payment = payments.get(source) or (of_payment.payment if of_payment is not None else None)
        parts.append(Part(movement, payment, movement.type.replace("_", " ")))
    ordered = sorted(sums.values(), key=lambda one: (-one.net_minor, one.type))
    return Composition(tuple(ordered), tuple(parts), sum(one.count for one in ordered))


def _with_customer(model: Any) -> Any:
    if model is Payment:
        return Payment.objects.select_related("customer", "invoice")
    return model.objects.select_related("payment__customer", "payment__invoice")
