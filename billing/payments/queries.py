"""Reading what is recorded of money at Stripe."""

from billing.payments.models import BalanceTransaction, CustomerBalanceTransaction, Payment
from billing.takeover.cut import cut
from billing.takeover.opening import opened_minor


def customer_balance_minor(customer_id: int) -> int:
    """The customer's balance at Stripe as far as we followed it; Stripe's sign, minor units."""
    recorded = CustomerBalanceTransaction.objects.filter(customer_id=customer_id)
    cut_at = cut()
    if cut_at is not None:  # of before only what settled invoices that were still open is recorded, here and there
        recorded = recorded.filter(occurred_at__gt=cut_at)
    latest = recorded.order_by("-occurred_at", "-id").values_list("ending_balance_minor", flat=True).first()
    if latest is not None or cut_at is None:
        return latest or 0
    return opened_minor("balance", customer_id=customer_id)


def recorded_customer_balance_ids(customer_id: int) -> set[str]:
    """Stripe's ids of the customer's balance movements that are in the books."""
    recorded = CustomerBalanceTransaction.objects.filter(customer_id=customer_id)
    return set(recorded.values_list("stripe_id", flat=True))


def payment_of(payment_intent_id: str) -> Payment | None:
    """The row of a payment intent, with its invoice."""
    rows = Payment.objects.select_related("invoice", "customer")
    return rows.filter(stripe_payment_intent_id=payment_intent_id).first()


def is_on_balance(charge_id: str) -> bool:
    """Whether the movement of a charge on our balance at Stripe is in the books."""
    return BalanceTransaction.objects.filter(stripe_source_id=charge_id).exists()
