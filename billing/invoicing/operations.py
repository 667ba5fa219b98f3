"""
The projection of Stripe's invoices, and the start of a close.

Everything here runs inside one transaction of the caller and calls nobody: what it needs of Stripe is passed in.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from billing.accounting.invoices import UnexplainedTotal, post_invoice_finalized, post_invoice_voided
from billing.accounting.write_offs import post_recovered, post_written_off
from billing.customers.models import Customer
from billing.customers.operations import lock_customer
from billing.invoicing import queries
from billing.invoicing.crediting import project_credit_notes
from billing.invoicing.discounts import record_discounts
from billing.invoicing.holding import held
from billing.invoicing.metered.closing import fees_among
from billing.invoicing.metered.shortfalls import bring_lines
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceCloseStep
from billing.invoicing.prepaying import issue_prepaid_grants
from billing.invoicing.recording import record_lines
from billing.invoicing.rounding import from_minor
from billing.payments.operations import instant
from billing.payments.settlement import settle_paid_elsewhere
from billing.rollouts.moves import take_effect
from billing.stripe.errors import NotYetKnown, ProjectionRefused
from billing.stripe.readers import price_of_line
from billing.subscriptions.changes import unfollowable
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.operations import bring_awaited_change, open_next_period
from billing.takeover.cut import cut, is_before

Status, Step = Invoice.Status, InvoiceClose.Step
StripeDict = dict[str, Any]


def project_invoice(
    fetched: StripeDict,
    *,
    lines: Sequence[StripeDict],
    notes: Sequence[StripeDict] = (),
    payments: Sequence[StripeDict] = (),
    subscription: Subscription | None,
    now: datetime,
) -> Invoice:
    """
    Bring the row of an invoice up to the state just fetched with all its lines; once finalised, enter it.

    `notes` are its credit notes, each with all its lines. They come first: what they took off is neither granted as
    prepaid credit nor written off. `payments` are Stripe's invoice payments of one that was given up and has ended
    (`readers.payments_after_giving_up`). A state that lies behind the recorded one changes nothing. Raises NotYetKnown
    for an unknown customer, ProjectionRefused for a line or total that cannot be explained, and LedgerError.
    """
    customer = Customer.objects.filter(stripe_customer_id=fetched["customer"]).first()
    if customer is None:
        raise NotYetKnown(f"customer {fetched['customer']} of invoice {fetched['id']} is not known here")
    lock_customer(customer_id=customer.pk)
    known = Invoice.objects.select_for_update().filter(stripe_invoice_id=fetched["id"]).first()
    if known is not None and queries.stage(fetched["status"]) < queries.stage(known.status):
        return known
    if fetched["currency"].upper() != customer.currency:
        raise ProjectionRefused(f"invoice {fetched['id']} is in {fetched['currency']}, not {customer.currency}")
    was_entered = known is not None and known.finalized_at is not None
    is_newly_void = fetched["status"] == Status.VOID and (known is None or known.status != Status.VOID)
    was_asked_for = known is None or known.status in (Status.DRAFT, Status.OPEN)
    invoice = known or Invoice(
        stripe_invoice_id=fetched["id"],
        billing_reason=fetched["billing_reason"] or "",
        currency=customer.currency,
        created_at=instant(fetched["created"]),
    )
    if known is None:
        invoice.taken_over = _side_of_cut(fetched, cut_at=cut())
    # Stripe knows nothing of the subscription that an invoice of our making is about.
    invoice.subscription = subscription or invoice.subscription
    invoice.customer, invoice.projected_at = customer, now
    for name, value in queries.projected_fields(fetched).items():
        setattr(invoice, name, value)
    invoice.save()
    if invoice.finalized_at is None:
        return invoice
    if invoice.taken_over == Invoice.TakenOver.SETTLED:
        if not was_entered:
            record_lines(invoice, lines)
        project_credit_notes(invoice, notes, now=now)
        return invoice
    if not was_entered or is_newly_void:
        _enter(invoice, lines, fetched, now=now)
    project_credit_notes(invoice, notes, now=now)
    issue_prepaid_grants(invoice, now=now)
    settle_paid_elsewhere(invoice, fetched, now=now)
    if was_asked_for:
        _enter_unseen_write_off(invoice, fetched, notes, payments, now=now)
    _settle_write_off(invoice, fetched, now=now)
    return invoice


def _side_of_cut(fetched: StripeDict, *, cut_at: datetime | None) -> str:
    """What of a takeover an invoice is that is not known yet: nothing for one that Stripe made after the cut."""
    if not is_before(instant(fetched["created"]), cut_at):
        return ""
    moments = fetched["status_transitions"]
    ended_at = moments.get("paid_at") or moments.get("voided_at")
    is_settled = fetched["status"] in (Status.PAID, Status.VOID) and is_before(instant(ended_at), cut_at)
    return Invoice.TakenOver.SETTLED if is_settled else Invoice.TakenOver.OPEN


def _enter(invoice: Invoice, stripe_lines: Sequence[StripeDict], fetched: StripeDict, *, now: datetime) -> None:
    """Post the finalisation, and its reversal when the invoice is void. The entry's key makes it once."""
    assert invoice.finalized_at is not None
    try:
        lines = record_lines(invoice, stripe_lines)
    except ProjectionRefused:
        # Stripe may have left off usage of its meters, and somebody decided about that.
        if not bring_lines(invoice, stripe_lines, now=now):
            raise
        lines = record_lines(invoice, stripe_lines)
    record_discounts(lines, stripe_lines, fetched)
    finalized_at = _not_before_cut(invoice, invoice.finalized_at)
    try:
        entry = post_invoice_finalized(invoice=invoice, lines=lines, finalized_at=finalized_at, recorded_at=now)
    except UnexplainedTotal as unexplained:
        raise ProjectionRefused(str(unexplained)) from unexplained
    if invoice.voided_at is not None and entry is not None:
        post_invoice_voided(finalized=entry, invoice=invoice, voided_at=invoice.voided_at, recorded_at=now)


def _not_before_cut(invoice: Invoice, at: datetime) -> datetime:
    """When a fact about an invoice counts in the books: one that was taken over is first in them at the cut."""
    cut_at = cut() if invoice.taken_over else None
    return at if cut_at is None else max(at, cut_at)


def _settle_write_off(invoice: Invoice, fetched: StripeDict, *, now: datetime) -> None:
    """
    Hold as bad debt what an uncollectible invoice still asks for, and nothing of any other.

    So whatever ends it (a payment, a credit note, a void) puts back on the receivable what it then takes off.
    """
    before = invoice.written_off_minor
    given_up = invoice.amount_remaining_minor if invoice.status == Status.UNCOLLECTIBLE else 0
    if given_up == before:
        return
    if before and given_up > before:
        raise ProjectionRefused(f"invoice {invoice.stripe_invoice_id} was given up with {before}, now it is {given_up}")
    entry: dict[str, Any] = {
        "invoice_id": invoice.stripe_invoice_id,
        "customer_key": invoice.customer.customer_key,
        "amount": from_minor(abs(given_up - before), invoice.currency),
        "currency": invoice.currency,
        "recorded_at": now,
    }
    if before:
        ended_at = invoice.paid_at or invoice.voided_at or now
        still = from_minor(given_up, invoice.currency)
        post_recovered(**entry, still_written_off=still, occurred_at=ended_at)
    else:
        marked_at = instant(fetched["status_transitions"]["marked_uncollectible_at"])
        post_written_off(**entry, occurred_at=_not_before_cut(invoice, marked_at))
    invoice.written_off_minor = given_up
    invoice.save(update_fields=["written_off_minor"])


def _enter_unseen_write_off(
    invoice: Invoice,
    fetched: StripeDict,
    notes: Sequence[StripeDict],
    payments: Sequence[StripeDict],
    *,
    now: datetime,
) -> None:
    """
    Give up, as of when Stripe did, what an invoice asked for that was ended before we looked again.

    The books then tell the same of it whether its events came one by one or only the last of them. What was given up is
    what has ended it since: payments, credit notes before payment, and at a void the rest.
    """
    marked_at = fetched["status_transitions"]["marked_uncollectible_at"]
    if marked_at is None or invoice.status not in (Status.PAID, Status.VOID):
        return
    paid = [one for one in payments if (one["status_transitions"]["paid_at"] or 0) >= marked_at]
    given_up = sum(one["amount_paid"] or 0 for one in paid)
    given_up += sum(one["pre_payment_amount"] for one in notes if one["created"] >= marked_at)
    given_up += invoice.amount_remaining_minor + invoice.paid_off_stripe_minor
    if given_up <= 0:
        return
    post_written_off(
        invoice_id=invoice.stripe_invoice_id,
        customer_key=invoice.customer.customer_key,
        amount=from_minor(given_up, invoice.currency),
        currency=invoice.currency,
        occurred_at=_not_before_cut(invoice, instant(marked_at)),
        recorded_at=now,
    )
    invoice.written_off_minor = given_up


def begin_close(
    *,
    invoice: Invoice,
    lines: Sequence[StripeDict],
    held_reason: str,
    awaited_change: StripeDict | None = None,
    now: datetime,
) -> InvoiceClose | None:
    """
    Start the close of the period that ended with this cycle's draft, and open the next one. Said twice: the first.

    The draft must be out of Stripe's hands already (auto_advance=false). The next period is read from the fee line and
    not from the subscription, which may have moved on further by the time a late event is read.
    `awaited_change` is Stripe's subscription, just fetched, where a change of terms was asked for that begins before
    the next period: it is brought here first, because its webhook may come after this one.
    Where its items are not all ours, it cannot be brought, and the close is held.
    A renewal that a pause makes void has no close. With a `held_reason` the close only shows that a person has to look.
    Raises ProjectionRefused, SubscriptionError.
    """
    existing = InvoiceClose.objects.filter(invoice=invoice).first()
    if existing is not None:
        return existing
    fees = fees_among(lines)
    if not fees or invoice.subscription_id is None:
        raise ProjectionRefused(f"{invoice.stripe_invoice_id} bills a cycle and has no subscription fee")
    bounds = fees[0]["period"]
    if awaited_change is not None:
        bring_awaited_change(subscription_id=invoice.subscription_id, stripe_subscription=awaited_change, now=now)
        held_reason = held_reason or unfollowable(awaited_change)
    take_effect(
        subscription_id=invoice.subscription_id,
        stripe_price_ids={price_of_line(fee) for fee in fees},
        starts_at=instant(bounds["start"]),
    )
    following = open_next_period(
        subscription_id=invoice.subscription_id, starts_at=instant(bounds["start"]), ends_at=instant(bounds["end"])
    )
    ended = BillingPeriod.objects.filter(subscription_id=invoice.subscription_id, ends_at=following.starts_at).first()
    if ended is None:
        raise ProjectionRefused(f"no period of subscription {invoice.subscription_id} ends at {following.starts_at}")
    if invoice.status == Status.VOID and following.kind == BillingPeriod.Kind.PAUSED:
        return None  # what Stripe makes while it is paused asks for nothing; usage before it goes onto a later invoice
    close = InvoiceClose.objects.create(
        invoice=invoice,
        period=ended,
        step=Step.STARTED,
        next_attempt_at=now,
        **(held(held_reason, now=now) if held_reason else {}),
    )
    InvoiceCloseStep.objects.create(close=close, step=Step.STARTED, recorded_at=now)
    return close
