"""Events of invoices and their credit notes: rows, ledger, the customer's balance, and the start of the close."""

import json
from datetime import datetime
from functools import partial

from django.conf import settings
from django.db import transaction

from billing.invoicing import queries as invoicing_queries
from billing.invoicing.crediting import is_as_shown, project_credit_note
from billing.invoicing.deleting import is_deleted, record_deleted_draft
from billing.invoicing.metered.closing import fees_among, metered_prices_of
from billing.invoicing.models import CreditNote, Invoice, InvoiceClose
from billing.invoicing.operations import begin_close, project_invoice
from billing.invoicing.tasks import task_close_invoice
from billing.payments.operations import record_customer_balance_transactions
from billing.payments.recovery.operations import follow_invoice
from billing.stripe import gateway, inbox, outbox, readers
from billing.stripe.errors import NotYetKnown, ProjectionRefused
from billing.stripe.gateway import StripeDict
from billing.stripe.handlers import Work, nothing
from billing.stripe.handlers.customers import balance_movements
from billing.stripe.inbox import Claim
from billing.stripe.readers import id_of
from billing.subscriptions import looking, unheard
from billing.subscriptions.changes import is_awaited
from billing.subscriptions.looking import SubscriptionLook, bills_our_terms, look_at
from billing.subscriptions.models import Subscription
from billing.takeover.cut import cut, is_second_before

FINALIZED_BY_STRIPE = (
    "Stripe finalised this invoice before its usage was on it. The usage goes on the next invoice of the subscription."
)
# Stripe's word for a draft that it could not finalise, by itself or when somebody asked for it.
FINALIZATION_FAILED = "invoice.finalization_failed"
NOT_FINALIZED = "Stripe could not finalise"
# The type of our own events; its handler is named by its beginning (billing.stripe.projection).
UNHEARD = "invoice.unheard"


def invoice(claim: Claim, now: datetime) -> Work:
    known = Invoice.objects.filter(stripe_invoice_id=claim.object_id).first()
    tells_deletion = any(event.type.removeprefix("v1.") == "invoice.deleted" for event in claim.events)
    if tells_deletion and (known is None or is_deleted(claim.object_id)):
        return partial(_delete, claim.object_id, now)
    if known is not None and claim.shows_only(partial(invoicing_queries.covers, known)):
        return nothing
    fetched = gateway.retrieve(f"/v1/invoices/{claim.object_id}", expand=("discounts", readers.PAID_OFF_STRIPE))
    subscription = _subscription_of(fetched)
    is_of_before = is_second_before(fetched["created"], cut())  # the period that it bills was not ours
    is_cycle = fetched["billing_reason"] == "subscription_cycle" and not is_of_before
    bills_a_cycle = is_cycle and subscription is not None
    closes_a_period = bills_a_cycle and not _comes_with_the_end(fetched, subscription)
    if (closes_a_period or _brings_usage(fetched, is_cycle=bills_a_cycle)) and fetched["status"] == "draft":
        fetched = _take_over(fetched, now=now)
    is_finalized = fetched["status"] != "draft"
    if not is_finalized and not closes_a_period:
        _require_finalizable(claim, fetched)
    opens_a_period = closes_a_period and not _is_begun(fetched)
    lines = readers.all_lines(fetched) if closes_a_period or is_finalized else []
    begins_at = _require_in_order(fetched, subscription, lines, now=now) if opens_a_period else None
    awaited = _awaited_change(subscription) if opens_a_period else None
    look = _look_for_change(subscription, lines) if opens_a_period and awaited is None else None
    notes = readers.credit_notes_of(fetched) if is_finalized else []
    movements = balance_movements(fetched) if is_finalized else []
    payments = readers.payments_after_giving_up(fetched)

    def work() -> None:
        invoice = project_invoice(
            fetched, lines=lines, notes=notes, payments=payments, subscription=subscription, now=now
        )
        record_customer_balance_transactions(movements, customer=invoice.customer, now=now)
        follow_invoice(invoice, now=now)
        if look is not None:
            looking.bring(look, now=now)
        if subscription is not None and begins_at is not None:
            unheard.require_reached(subscription.pk, until=begins_at)
        if closes_a_period:
            _begin_close(invoice, lines, awaited_change=awaited, now=now)
        if is_finalized and (known is None or known.status == Invoice.Status.DRAFT):
            inbox.take_for_done(object_id=claim.object_id, because=NOT_FINALIZED, now=now)

    return work


def _delete(stripe_invoice_id: str, now: datetime) -> None:
    record_deleted_draft(stripe_invoice_id=stripe_invoice_id, now=now)
    inbox.take_for_done(object_id=stripe_invoice_id, because=NOT_FINALIZED, now=now)


def _require_finalizable(claim: Claim, fetched: StripeDict) -> None:
    """
    Raise ProjectionRefused, for a person to look, where Stripe says that it could not finalise a draft that is not ours
    to finalise: it would stay one for ever. Of ours the close asks for it, and shows why it was refused.
    """
    error = fetched["last_finalization_error"]
    is_told = any(event.type.removeprefix("v1.") == FINALIZATION_FAILED for event in claim.events)
    if error is None or not is_told or InvoiceClose.objects.filter(invoice__stripe_invoice_id=fetched["id"]).exists():
        return
    raise ProjectionRefused(
        f"{NOT_FINALIZED} {fetched['id']}: {error.get('code') or error['type']}: {error.get('message') or ''}"
        " Mend that at Stripe, and finalise or delete the draft there"
    )


def credit_note(claim: Claim, now: datetime) -> Work:
    """A credit note that is issued, changed or void. What it changes of its invoice has an event of its own."""
    known = CreditNote.objects.filter(stripe_credit_note_id=claim.object_id).first()
    if known is not None and claim.shows_only(partial(is_as_shown, known)):
        return nothing
    fetched = readers.credit_note_with_lines(claim.object_id)

    def work() -> None:
        project_credit_note(fetched, now=now)

    return work


def _comes_with_the_end(fetched: StripeDict, subscription: Subscription | None) -> bool:
    """
    Whether a cycle's invoice begins no period: where a subscription ends as planned, Stripe still bills the prorations
    that wait, finalises them by itself, and the closing invoice has the usage.
    """
    if subscription is None or (subscription.cancel_at is None and subscription.ended_at is None):
        return False
    return not fees_among(readers.all_lines(fetched))


def _brings_usage(fetched: StripeDict, *, is_cycle: bool) -> bool:
    """
    Whether the last invoice of a subscription has usage of our meters, of an end that was planned in its last minutes:
    it may not become final before they stand at nothing, which the closing invoice sees to (metered.ends).
    """
    return is_cycle and bool(metered_prices_of(readers.all_lines(fetched)))


def _take_over(fetched: StripeDict, *, now: datetime) -> StripeDict:
    """Keep Stripe from finalising the draft after its hour: only the close does, once our lines are on it."""
    return outbox.perform(
        purpose=f"invoice:{fetched['id']}:take_over",
        operation="invoices.update",
        target=fetched["id"],
        params={"auto_advance": False},
        now=now,
    )


def _is_begun(fetched: StripeDict) -> bool:
    """Whether its close has begun, and with it the period that follows: that period's terms stay as they are."""
    return InvoiceClose.objects.filter(invoice__stripe_invoice_id=fetched["id"]).exists()


def _awaited_change(subscription: Subscription | None) -> StripeDict | None:
    """Stripe's subscription, where a change was asked for that begins before the period which this invoice opens."""
    if subscription is None or not is_awaited(subscription):
        return None
    return gateway.retrieve(f"/v1/subscriptions/{subscription.stripe_subscription_id}")


def _look_for_change(subscription: Subscription | None, lines: list[StripeDict]) -> SubscriptionLook | None:
    """
    Stripe's subscription, where a renewal bills other fees than our terms come to: somebody changed its items there,
    and the event of that has not come. Once, before the period opens whose terms then stay frozen.
    """
    if subscription is None or bills_our_terms(subscription, lines):
        return None
    return look_at(subscription)


def _require_in_order(
    fetched: StripeDict, subscription: Subscription | None, lines: list[StripeDict], *, now: datetime
) -> datetime | None:
    """
    Raise NotYetKnown for a renewal before which Stripe billed others that are not known here: they are put into the
    inbox, and this one is tried again after them. Else when it begins, where our periods do not reach until then.
    """
    starts_at = None if subscription is None else unheard.begins_after_ours(subscription, lines)
    if subscription is None or starts_at is None:
        return None
    before = unheard.renewals_before(subscription, fetched)
    for renewal in before:
        event = _event_of(renewal)
        inbox.receive(event, body=json.dumps(event), source="poll", received_at=now)
    if before:
        named = ", ".join(renewal["id"] for renewal in before)
        raise NotYetKnown(f"the renewal of {starts_at:%F %T} comes after {named}, not known here yet and asked for now")
    return starts_at


def _event_of(renewal: StripeDict) -> StripeDict:
    """An event of our own making, once for each renewal that was not heard of; its handler fetches the invoice."""
    return {
        "id": f"{UNHEARD}:{renewal['id']}",
        "object": "event",
        "type": UNHEARD,
        "created": renewal["created"],
        "livemode": settings.STRIPE_LIVE_MODE,
        "data": {"object": renewal},
    }


def _begin_close(
    invoice: Invoice, lines: list[StripeDict], *, awaited_change: StripeDict | None, now: datetime
) -> None:
    """Start the close; nothing if it runs already. Should the broker lose the task, the sweeper finds the row."""
    is_draft = invoice.status == Invoice.Status.DRAFT
    close = begin_close(
        invoice=invoice,
        lines=lines,
        held_reason="" if is_draft else FINALIZED_BY_STRIPE,
        awaited_change=awaited_change,
        now=now,
    )
    if is_draft and close is not None:
        transaction.on_commit(lambda: task_close_invoice.delay(close_id=close.pk), robust=True)


def _subscription_of(fetched: StripeDict) -> Subscription | None:
    """
    Our subscription of an invoice, by Stripe's id, or by the id we wrote into its metadata.

    The first invoice arrives while our own call is still waiting for Stripe's answer, so the id may not be recorded
    yet. Anybody may edit metadata at Stripe: they count only for the same customer's subscription that has no id yet.
    """
    stripe_id = readers.subscription_of_invoice(fetched)
    if not stripe_id:
        return None
    bound = Subscription.objects.filter(stripe_subscription_id=stripe_id).first()
    if bound is not None:
        return bound
    named = readers.subscription_metadata_of_invoice(fetched).get("subscription_id", "")
    if named.isdecimal():
        waiting = Subscription.objects.filter(
            pk=int(named), stripe_subscription_id=None, customer__stripe_customer_id=id_of(fetched["customer"])
        ).first()
        if waiting is not None:
            return waiting
    if is_second_before(fetched["created"], cut()):
        return None  # one that had ended before the takeover
    raise NotYetKnown(f"subscription {stripe_id} of invoice {fetched['id']} is not known here")
