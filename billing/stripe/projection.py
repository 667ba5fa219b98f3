"""
From an event to the object's current state in our books (DESIGN §10).

An event only says that something happened to an object. Its handler first *fetches* what it needs, with no
transaction open, and returns the work to do in the one transaction that also marks the events done. What an event
itself carries is used for two things: to see that our row already says as much, and for links that never change.
"""

import logging
from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from billing.customers.models import Customer
from billing.invoicing import queries as invoicing_queries
from billing.invoicing.models import Invoice
from billing.invoicing.operations import begin_close, hold_close_of, project_invoice
from billing.invoicing.tasks import task_close_invoice
from billing.payments import queries as payments_queries
from billing.payments.models import Payment
from billing.payments.operations import (
    project_payment,
    record_balance_transactions,
    record_customer_balance_transactions,
)
from billing.stripe import gateway, inbox, outbox
from billing.stripe.errors import LeaseLost, NotYetKnown, ProjectionRefused, StripeRefused, StripeUnavailable
from billing.stripe.gateway import StripeDict, id_of
from billing.stripe.inbox import Claim, Verdict
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import SubscriptionError, project_subscription
from ledger.operations import LedgerError

logger = logging.getLogger(__name__)

Work = Callable[[], None]
Handler = Callable[[Claim, datetime], Work]
FINALIZED_BY_STRIPE = (
    "Stripe finalised this invoice before its usage was on it. The usage goes on the next invoice of the subscription."
)


def process_event(*, event_id: str, now: datetime) -> bool:
    """Project the object of an event, with all waiting events about it; return whether there was anything to do."""
    claim = inbox.claim(event_id=event_id, now=now)
    if claim is None:
        return False
    try:
        work = _handler_of(claim)(claim, now)
        with transaction.atomic():
            work()
            inbox.finish(claim, now=now)
    except LeaseLost:
        logger.info("%s was taken over by another worker", claim.object_id)
    except StripeUnavailable as failure:
        _fail(claim, failure, Verdict.TRY_AGAIN, now=now)
    except (ProjectionRefused, StripeRefused, LedgerError, SubscriptionError) as refusal:
        hold_close_of(stripe_invoice_id=claim.object_id, reason=str(refusal))
        _fail(claim, refusal, Verdict.SET_ASIDE, now=now)
    except NotYetKnown as early:
        _fail(claim, early, Verdict.TRY_A_FEW_TIMES, now=now)
    except Exception as bug:
        logger.exception("projecting %s failed", claim.object_id)
        _fail(claim, bug, Verdict.TRY_A_FEW_TIMES, now=now)
    return True


def _fail(claim: Claim, error: Exception, verdict: Verdict, *, now: datetime) -> None:
    try:
        inbox.fail(claim, error=f"{type(error).__name__}: {error}", verdict=verdict, now=now)
    except LeaseLost:
        logger.info("%s was taken over by another worker", claim.object_id)


def _handler_of(claim: Claim) -> Handler:
    for event in claim.events:
        handler = HANDLERS.get(event.type) or HANDLERS.get(event.type.partition(".")[0])
        if handler is not None:
            return handler
    return _ignore


def _nothing() -> None:
    """The books already say what the events say."""


def _ignore(claim: Claim, now: datetime) -> Work:
    return _nothing


# --- invoices ---------------------------------------------------------------------------------------------------------


def _invoice(claim: Claim, now: datetime) -> Work:
    known = Invoice.objects.filter(stripe_invoice_id=claim.object_id).first()
    if known is not None and all(invoicing_queries.covers(known, snapshot) for snapshot in claim.snapshots):
        return _nothing
    fetched = gateway.retrieve(f"/v1/invoices/{claim.object_id}")
    subscription = _subscription_of(fetched)
    closes_a_period = fetched["billing_reason"] == "subscription_cycle" and subscription is not None
    if closes_a_period and fetched["status"] == "draft":
        fetched = _take_over(fetched, now=now)
    is_finalized = fetched["status"] != "draft"
    lines = gateway.all_lines(fetched) if closes_a_period or is_finalized else []
    movements = _balance_movements(fetched) if is_finalized else []

    def work() -> None:
        invoice = project_invoice(fetched, lines=lines, subscription=subscription, now=now)
        record_customer_balance_transactions(movements, customer=invoice.customer, now=now)
        if closes_a_period:
            _begin_close(invoice, lines, now=now)

    return work


def _take_over(fetched: StripeDict, *, now: datetime) -> StripeDict:
    """Keep Stripe from finalising the draft after its hour: only the close does, once our lines are on it."""
    return outbox.perform(
        purpose=f"invoice:{fetched['id']}:take_over",
        operation="invoices.update",
        target=fetched["id"],
        params={"auto_advance": False},
        now=now,
    )


def _begin_close(invoice: Invoice, lines: list[StripeDict], *, now: datetime) -> None:
    """Start the close; nothing if it runs already. Should the broker lose the task, the sweeper finds the row."""
    is_draft = invoice.status == Invoice.Status.DRAFT
    close = begin_close(invoice=invoice, lines=lines, held_reason="" if is_draft else FINALIZED_BY_STRIPE, now=now)
    if is_draft:
        transaction.on_commit(lambda: task_close_invoice.delay(close_id=close.pk), robust=True)


def _subscription_of(fetched: StripeDict) -> Subscription | None:
    """
    Our subscription of an invoice, by Stripe's id, or by the id we wrote into its metadata.

    The first invoice arrives while our own call is still waiting for Stripe's answer, so the id may not be recorded
    yet. Anybody may edit metadata at Stripe: they count only for the same customer's subscription that has no id yet.
    """
    stripe_id = gateway.subscription_of_invoice(fetched)
    if not stripe_id:
        return None
    bound = Subscription.objects.filter(stripe_subscription_id=stripe_id).first()
    if bound is not None:
        return bound
    named = gateway.subscription_metadata_of_invoice(fetched).get("subscription_id", "")
    if named.isdecimal():
        waiting = Subscription.objects.filter(
            pk=int(named), stripe_subscription_id=None, customer__stripe_customer_id=id_of(fetched["customer"])
        ).first()
        if waiting is not None:
            return waiting
    raise NotYetKnown(f"subscription {stripe_id} of invoice {fetched['id']} is not known here")


# --- customers --------------------------------------------------------------------------------------------------------


def _balance_movements(invoice: StripeDict) -> list[StripeDict]:
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


def _customer(claim: Claim, now: datetime) -> Work:
    """Only the customer's balance is ours to follow."""
    customer = Customer.objects.filter(stripe_customer_id=claim.object_id).first()
    if customer is None:
        return _nothing  # somebody else's customer on the same Stripe account
    recorded = payments_queries.customer_balance_minor(customer.pk)
    if all((snapshot.get("balance") or 0) == recorded for snapshot in claim.snapshots):
        return _nothing
    movements = _new_movements(customer)
    return lambda: _record_movements(movements, customer, now)


def _record_movements(movements: list[StripeDict], customer: Customer, now: datetime) -> None:
    record_customer_balance_transactions(movements, customer=customer, now=now)


def _subscription(claim: Claim, now: datetime) -> Work:
    known = Subscription.objects.filter(stripe_subscription_id=claim.object_id).first()
    if known is not None and all(_is_as_shown(known, snapshot) for snapshot in claim.snapshots):
        return _nothing
    fetched = gateway.retrieve(f"/v1/subscriptions/{claim.object_id}")

    def work() -> None:
        if project_subscription(fetched, now=now) is None:
            raise NotYetKnown(f"subscription {claim.object_id} is not known here")

    return work


def _is_as_shown(known: Subscription, snapshot: StripeDict) -> bool:
    return (known.status, known.seats) == (snapshot["status"], snapshot["items"]["data"][0]["quantity"])


# --- money ------------------------------------------------------------------------------------------------------------


def _payment(claim: Claim, now: datetime) -> Work:
    """All that happens around one payment intent: its own events, its charges', and its part of an invoice."""
    known = payments_queries.payment_of(claim.object_id)
    if known is not None and _is_settled(known):
        return _nothing
    fetched = gateway.payment_intent_with_charge(claim.object_id)
    invoice_id = _invoice_paid_by(claim, known)
    customer = Customer.objects.filter(stripe_customer_id=id_of(fetched.get("customer"))).first()
    invoice = Invoice.objects.filter(stripe_invoice_id=invoice_id).first() if invoice_id else None
    if customer is None or (invoice_id and invoice is None):
        raise NotYetKnown(f"customer {fetched.get('customer')} or invoice {invoice_id} is not known here")

    def work() -> None:
        project_payment(fetched, customer=customer, invoice=invoice, now=now)

    return work


def _is_settled(payment: Payment) -> bool:
    """A payment that succeeded and whose movement on our balance is in the books has nothing left to say."""
    return payment.status == Payment.Status.SUCCEEDED and payments_queries.is_on_balance(payment.stripe_charge_id)


def _invoice_paid_by(claim: Claim, known: Payment | None) -> str:
    if known is not None and known.invoice is not None:
        return known.invoice.stripe_invoice_id
    for snapshot in claim.snapshots:
        if snapshot.get("object") == "invoice_payment":
            return id_of(snapshot["invoice"])  # the link never changes, so the event may tell it
    return gateway.invoice_of_payment_intent(claim.object_id)


def _movement(path: str) -> Handler:
    """The handler of an object whose only trace in our books are its movements on our balance at Stripe."""

    def handle(claim: Claim, now: datetime) -> Work:
        fields = ("balance_transaction", "failure_balance_transaction")
        fetched = gateway.retrieve(path.format(id=claim.object_id), expand=fields)
        movements = [fetched[name] for name in fields if isinstance(fetched.get(name), dict)]

        def work() -> None:
            record_balance_transactions(movements, now=now)

        return work

    return handle


# By the event's whole type, or by the part before its first dot.
HANDLERS: dict[str, Handler] = {
    "customer.created": _ignore,
    "customer.updated": _customer,
    "customer.subscription.created": _subscription,
    "customer.subscription.updated": _subscription,
    "customer.subscription.deleted": _subscription,
    "invoice": _invoice,
    "invoice_payment": _payment,
    "payment_intent": _payment,
    "charge": _payment,
    "refund": _movement("/v1/refunds/{id}"),
    "payout": _movement("/v1/payouts/{id}"),
}
# What the endpoint asks Stripe for. Also the filter of the poll, which takes 20 types at most.
ENABLED_EVENTS = (
    "charge.updated",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.updated",
    "customer.updated",
    "invoice.created",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.updated",
    "invoice.voided",
    "invoice_payment.paid",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payout.created",
    "payout.failed",
    "refund.created",
)
