"""Events of customers, whose balance at Stripe is ours to follow, and of their subscriptions."""

from datetime import datetime
from functools import partial

from billing.customers.models import Customer
from billing.invoicing.holding import let_finalize_again
from billing.payments import queries as payments_queries
from billing.payments.operations import record_customer_balance_transactions
from billing.payments.recovery.cards import default_card_of, project_card, project_default_card
from billing.stripe import gateway
from billing.stripe.errors import NotYetKnown
from billing.stripe.gateway import StripeDict
from billing.stripe.handlers import Work, nothing
from billing.stripe.inbox import Claim
from billing.stripe.readers import id_of
from billing.subscriptions.following import shows_nothing_new
from billing.subscriptions.history import next_reading
from billing.subscriptions.models import Subscription
from billing.subscriptions.moving import require_heard_of
from billing.subscriptions.operations import project_subscription
from billing.takeover.cut import cut, is_second_before


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
    cut_at = cut()
    for movement in gateway.listed(f"/v1/customers/{customer.stripe_customer_id}/balance_transactions"):
        if movement["id"] in recorded or is_second_before(movement["created"], cut_at):
            break
        new.append(movement)
    return new[::-1]


def customer(claim: Claim, now: datetime) -> Work:
    """Of a customer its balance is ours to follow, which card pays, and that it changed."""
    customer = Customer.objects.filter(stripe_customer_id=claim.object_id).first()
    if customer is None:
        return nothing  # somebody else's customer on the same Stripe account
    recorded = payments_queries.customer_balance_minor(customer.pk)
    is_same_balance = claim.shows_only(lambda snapshot: (snapshot.get("balance") or 0) == recorded)
    movements = [] if is_same_balance else _new_movements(customer)
    follow_card = _default_card(claim, customer, now)

    def work() -> None:
        if movements:
            _record_movements(movements, customer, now)
        follow_card()
        let_finalize_again(customer_id=customer.pk, now=now)

    return work


def _default_card(claim: Claim, customer: Customer, now: datetime) -> Work:
    """Which card pays, as the customer says now; asked for only where an event shows another than our row."""
    known = default_card_of(customer.pk)
    if claim.shows_only(lambda snapshot: _default_method(snapshot) == known):
        return nothing
    default = _default_method(gateway.retrieve(f"/v1/customers/{claim.object_id}"))
    card = gateway.retrieve(f"/v1/payment_methods/{default}") if default and default != known else None

    def work() -> None:
        if card is not None:
            project_card(card, customer=customer, now=now)
        project_default_card(customer, payment_method_id=default, now=now)

    return work


def _default_method(fetched: StripeDict) -> str:
    return id_of((fetched.get("invoice_settings") or {}).get("default_payment_method"))


def _record_movements(movements: list[StripeDict], customer: Customer, now: datetime) -> None:
    record_customer_balance_transactions(movements, customer=customer, now=now)


def subscription(claim: Claim, now: datetime) -> Work:
    known = Subscription.objects.select_related("plan_version").filter(stripe_subscription_id=claim.object_id).first()
    if known is not None and claim.shows_only(partial(shows_nothing_new, known)):
        return nothing
    reading = next_reading()
    fetched = gateway.retrieve(f"/v1/subscriptions/{claim.object_id}")
    changed_at = max((event.stripe_created_at for event in claim.events), default=None)

    def work() -> None:
        brought = project_subscription(fetched, now=now, reading=reading, changed_at=changed_at)
        if brought is None:
            raise NotYetKnown(f"subscription {claim.object_id} is not known here")
        require_heard_of(brought, fetched)

    return work
