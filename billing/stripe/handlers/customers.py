"""Events of customers, whose balance at Stripe is ours to follow, and of their subscriptions."""

from datetime import datetime

from billing.customers.models import Customer
from billing.payments import queries as payments_queries
from billing.payments.operations import record_customer_balance_transactions
from billing.stripe import gateway
from billing.stripe.errors import NotYetKnown
from billing.stripe.gateway import StripeDict
from billing.stripe.handlers import Work, nothing
from billing.stripe.inbox import Claim
from billing.stripe.readers import id_of
from billing.subscriptions.at_stripe import shows_nothing_new
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import project_subscription


def balance_movements(invoice: StripeDict) -> list[StripeDict]:
    """What moved between a finalised invoice and the customer's balance and is not in the books; oldest first."""
    is_applied = invoice["total"] != invoice["amount_due"]
    if not is_applied and invoice["starting_balance"] == (invoice.get("ending_balance") or 0):
        return []
    customer = Customer.objects.filter(stripe_customer_id=id_of(invoice["customer"])).first()
    return _new_movements(customer) if customer is not None else []


def _new_movements(customer: Customer) -> list[StripeDict]:
    """Stripe lists the newest first; all before one that is recorded are recorded: they are entered in one go."""
    recorded = payments_queries.recorded_customer_balance_ids(customer.pk)
    new: list[StripeDict] = []
    for movement in gateway.listed(f"/v1/customers/{customer.stripe_customer_id}/balance_transactions"):
        if movement["id"] in recorded:
            break
        new.append(movement)
    return new[::-1]


def customer(claim: Claim, now: datetime) -> Work:
    """Only the customer's balance is ours to follow."""
    customer = Customer.objects.filter(stripe_customer_id=claim.object_id).first()
    if customer is None:
        return nothing  # somebody else's customer on the same Stripe account
    recorded = payments_queries.customer_balance_minor(customer.pk)
    if all((snapshot.get("balance") or 0) == recorded for snapshot in claim.snapshots):
        return nothing
    movements = _new_movements(customer)
    return lambda: _record_movements(movements, customer, now)


def _record_movements(movements: list[StripeDict], customer: Customer, now: datetime) -> None:
    record_customer_balance_transactions(movements, customer=customer, now=now)


def subscription(claim: Claim, now: datetime) -> Work:
    known = Subscription.objects.select_related("plan_version").filter(stripe_subscription_id=claim.object_id).first()
    if known is not None and all(shows_nothing_new(known, snapshot) for snapshot in claim.snapshots):
        return nothing
    fetched = gateway.retrieve(f"/v1/subscriptions/{claim.object_id}")

    def work() -> None:
        if project_subscription(fetched, now=now) is None:
            raise NotYetKnown(f"subscription {claim.object_id} is not known here")

    return work
