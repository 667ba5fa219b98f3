"""
From an event to the object's current state in our books (DESIGN §10).

An event only says that something happened to an object. Its handler (billing.stripe.handlers) fetches the object and
says what is to be done in the one transaction that also marks the events done.
"""

import logging
from datetime import datetime

from django.db import transaction

from billing.invoicing.operations import hold_close_of
from billing.stripe import inbox
from billing.stripe.errors import LeaseLost, NotYetKnown, ProjectionRefused, StripeRefused, StripeUnavailable
from billing.stripe.handlers import Handler, customers, ignore, invoices, money
from billing.stripe.inbox import Claim, Verdict
from billing.subscriptions.operations import SubscriptionError
from ledger.operations import LedgerError
from promotions.operations import GrantError

logger = logging.getLogger(__name__)


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
    except (ProjectionRefused, StripeRefused, LedgerError, GrantError, SubscriptionError) as refusal:
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
    """The handler of the first event that has one: by its whole type, or by as much of its beginning as is named."""
    for event in claim.events:
        name = event.type
        while name:
            if name in HANDLERS:
                return HANDLERS[name]
            name = name.rpartition(".")[0]
    return ignore


# By the event's whole type, or by its beginning up to a dot: the longest that is named counts.
HANDLERS: dict[str, Handler] = {
    "customer.created": ignore,
    "customer.updated": customers.customer,
    "customer.subscription.created": customers.subscription,
    "customer.subscription.updated": customers.subscription,
    "customer.subscription.deleted": customers.subscription,
    "invoice": invoices.invoice,
    "credit_note": invoices.credit_note,
    "invoice_payment": money.payment,
    "payment_intent": money.payment,
    "charge": money.payment,
    "refund": money.payment,
    "payout": money.payout,
}
# What the endpoint asks Stripe for, and the poll.
ENABLED_EVENTS = (
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "charge.updated",
    "credit_note.created",
    "credit_note.updated",
    "credit_note.voided",
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
    "payment_intent.succeeded",
    "payout.canceled",
    "payout.created",
    "payout.failed",
    "payout.paid",
    "payout.updated",
    "refund.created",
    "refund.failed",
    "refund.updated",
)
