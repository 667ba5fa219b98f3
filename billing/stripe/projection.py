"""
From an event to the object's current state in our books (DESIGN §10).

An event only says that something happened to an object. Its handler (billing.stripe.handlers) fetches the object and
says what is to be done in the one transaction that also marks the events done.
"""

import logging
from datetime import datetime

from django.db import transaction

from billing.invoicing.holding import hold_close_of
from billing.stripe import gateway, inbox
from billing.stripe.errors import LeaseLost, NotYetKnown, ProjectionRefused, StripeRefused, StripeUnavailable
from billing.stripe.handlers import Handler, customers, ignore, invoices, meters, money, nothing
from billing.stripe.inbox import Claim, Outcome, Verdict
from billing.stripe.readers import id_of
from billing.subscriptions.operations import SubscriptionError
from billing.takeover.cut import cut, is_before, left_out
from ledger.operations import LedgerError
from promotions.operations import GrantError

logger = logging.getLogger(__name__)


class WorkerDied(Exception):
    """Nobody knows why: the process that worked on it is gone."""


def process_event(*, event_id: str, now: datetime) -> bool:
    """Project the object of an event, with all waiting events about it; return whether there was anything to do."""
    claim = inbox.claim(event_id=event_id, now=now)
    if claim is None:
        return False
    if claim.is_hopeless:
        _fail(claim, WorkerDied("its workers died, or took longer than their lease"), Verdict.SET_ASIDE, now=now)
        return True
    try:
        _project(claim, now=now)
    except LeaseLost:
        _overtaken(claim)
    except StripeUnavailable as failure:
        _fail(claim, failure, Verdict.TRY_AGAIN, now=now)
    except (ProjectionRefused, StripeRefused, LedgerError, GrantError, SubscriptionError) as refusal:
        hold_close_of(stripe_invoice_id=claim.object_id, reason=str(refusal), now=now)
        _fail(claim, refusal, Verdict.SET_ASIDE, now=now)
    except NotYetKnown as early:
        if _is_left_out(claim, early):
            _leave(claim, now=now)
        else:
            _fail(claim, early, Verdict.WAIT, now=now)
    except Exception as bug:
        logger.exception("projecting %s failed", claim.object_id)
        _fail(claim, bug, Verdict.TRY_A_FEW_TIMES, now=now)
    return True


def _project(claim: Claim, *, now: datetime) -> None:
    if _belongs_to_opening(claim):
        with transaction.atomic():
            inbox.finish(claim, outcome=Outcome.IGNORED, now=now)
        return
    behind = _whole_of(claim)
    if behind:
        inbox.readdress(claim, object_id=behind, now=now)
        return
    handler = _handler_of(claim)
    work = handler(claim, now)
    outcome = Outcome.IGNORED if handler is ignore else Outcome.KNOWN if work is nothing else Outcome.PROJECTED
    with transaction.atomic():
        work()
        inbox.finish(claim, outcome=outcome, now=now)


def _belongs_to_opening(claim: Claim) -> bool:
    """
    Whether all of it happened by the cut of a takeover. The run fetches every object after the cut, so it brings what
    these events tell; about objects that had ended by then there is nothing to do.
    """
    cut_at = cut()
    return cut_at is not None and all(is_before(event.stripe_created_at, cut_at) for event in claim.events)


def _is_left_out(claim: Claim, early: NotYetKnown) -> bool:
    """Whether it is about a customer whom a takeover left out of the books. Refunds and disputes do not name theirs."""
    named = {claim.object_id, early.customer} | {id_of(snapshot.get("customer")) for snapshot in claim.snapshots}
    return bool(left_out(named - {""}))


def _leave(claim: Claim, *, now: datetime) -> None:
    try:
        with transaction.atomic():
            inbox.finish(claim, outcome=Outcome.IGNORED, now=now)
    except LeaseLost:
        _overtaken(claim)


def _fail(claim: Claim, error: Exception, verdict: Verdict, *, now: datetime) -> None:
    try:
        retry_after = error.retry_after if isinstance(error, StripeUnavailable) else None
        inbox.fail(claim, error=f"{type(error).__name__}: {error}", verdict=verdict, now=now, retry_after=retry_after)
    except LeaseLost:
        _overtaken(claim)


def _overtaken(claim: Claim) -> None:
    logger.info("%s was taken over by another worker", claim.object_id)
    inbox.forgive(claim)


def _whole_of(claim: Claim) -> str:
    """The object of which a thin event's is a part, where it queues up behind the part. Only Stripe knows it."""
    for event in claim.events:
        related = event.said.get("related_object") if inbox.is_thin(event.said) else None
        if related and related["type"] in PARTS and claim.object_id == related["id"]:
            whole = inbox.subject_of_object(gateway.retrieve(related["url"]))
            if whole != claim.object_id:
                return whole
    return ""


def _handler_of(claim: Claim) -> Handler:
    """The handler of the first event that has one: by its whole type, or by as much of its beginning as is named."""
    found = (_handler_of_type(event.type) for event in claim.events)
    return next((handler for handler in found if handler is not ignore), ignore)


def _handler_of_type(name: str) -> Handler:
    """Thin events of objects of API v1 are named as these are, with "v1." before it."""
    name = name.removeprefix("v1.")
    while name:
        if name in HANDLERS:
            return HANDLERS[name]
        name = name.rpartition(".")[0]
    return ignore


PARTS = frozenset({"charge", "refund", "dispute", "invoice_payment"})
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
    "balance_transaction": money.movement,  # of our own making: billing.stripe.poll
    "payment_method": money.payment_method,
    "billing.meter.error_report_triggered": meters.error_report,
    "billing.meter.no_meter_found": meters.error_report,
}
# What the event destination asks for: events that API v1 has no snapshot of.
ENABLED_THIN_EVENTS = ("v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found")
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
    "invoice.deleted",
    "invoice.finalization_failed",
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
    "payment_method.attached",
    "payment_method.automatically_updated",
    "payment_method.detached",
    "payment_method.updated",
    "payout.canceled",
    "payout.created",
    "payout.failed",
    "payout.paid",
    "payout.reconciliation_completed",
    "payout.updated",
    "refund.created",
    "refund.failed",
    "refund.updated",
)
