"""What an end was said to come to, against what was invoiced once it had come."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from billing.customers.operations import lock_customer
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.orders.models import InvoiceOrder
from billing.money_text import minor_text
from billing.stripe import readers
from billing.stripe.errors import StripeRefused
from billing.subscriptions.change_models import ChangePreviewLine, EndOutcome, EndPreview, SubscriptionEvent
from billing.subscriptions.end_previews import discounts_at, fee_given_back
from billing.subscriptions.history import Kind, record
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.previews import amounts_of
from billing.subscriptions.queries import latest_period

logger = logging.getLogger(__name__)
TASK = "task:compare_changes"
# An end later than it was planned by more than this did not come of that plan.
PLANNED_WITHIN = timedelta(hours=1)
# So long after the end an invoice that gives the fee back is waited for.
WAITS_FOR = timedelta(days=2)
INVOICES_READ_MAX = 5


@dataclass(frozen=True, slots=True)
class Figures:
    """Minor units; what is given back is below zero. `fee_minor` is ours for the second of the end."""

    fee_minor: int
    fee_invoiced_minor: int
    usage_invoiced_minor: int
    stripe_invoice_id: str


def unsettled() -> QuerySet[EndPreview]:
    """Previews that an end was asked for with, whose end has come and is not compared yet."""
    found = EndPreview.objects.filter(outcome=None, preview__subscription__ended_at__isnull=False)
    found = found.filter(preview__requests__kind__in=("cancel", "cancel_later"))
    undone = SubscriptionEvent.objects.filter(
        subscription=OuterRef("preview__subscription"), kind=Kind.CANCEL_UNDONE,
        recorded_at__gte=OuterRef("preview__made_at"),
    )  # fmt: skip
    found = found.exclude(~Q(how=EndPreview.How.NOW) & Exists(undone))  # a plan that was taken back
    return found.select_related("preview__subscription__plan_version").order_by("pk").distinct()


def compare_ends_due(*, now: datetime, limit: int) -> int:
    """
    Compare ends whose closing invoice is final with what was said before them, `limit` at most; return how many.

    One whose closing invoice is held is not among these, and what Stripe refuses to show is looked at again next time:
    neither holds others up. Not inside a transaction: the lines are Stripe's own. Raises StripeUnavailable.
    """
    settled = 0
    closing = InvoiceOrder.objects.filter(
        kind=InvoiceOrder.Kind.CLOSING,
        period__subscription=OuterRef("preview__subscription"),
        invoice__finalized_at=None,
    ).exclude(state=InvoiceOrder.State.DROPPED)
    for end in unsettled().exclude(Exists(closing))[:limit]:
        try:
            settled += compare_end(end, now=now) is not None
        except StripeRefused:
            logger.exception("preview %s of an end is not compared with its invoice", end.pk)
    return settled


def compare_end(end: EndPreview, *, now: datetime) -> EndOutcome | None:
    """Write down what an end was invoiced as, once that is final; None while it is not."""
    subscription, ended_at = end.preview.subscription, end.preview.subscription.ended_at
    last = latest_period(subscription.pk)
    if ended_at is None or last is None:
        return None
    figures = _figures(end, subscription, last, ended_at=ended_at, now=now)
    if figures is None:
        return None
    said = differences(end, figures, ended_at=ended_at)
    with transaction.atomic():
        # Nobody may update a preview, so it cannot be locked: whoever else compares it waits for its customer.
        lock_customer(customer_id=subscription.customer_id)
        known = EndOutcome.objects.filter(preview=end).first()
        if known is not None:
            return known
        outcome = EndOutcome.objects.create(
            preview=end, ended_at=ended_at, fee_minor=figures.fee_minor, fee_invoiced_minor=figures.fee_invoiced_minor,
            usage_invoiced_minor=figures.usage_invoiced_minor, stripe_invoice_id=figures.stripe_invoice_id,
            recorded_at=now, differences=said,
        )  # fmt: skip
        record(
            subscription, Kind.INVOICED, after=said[0] if said else "The end came as previewed", effective_at=ended_at,
            now=now, actor=TASK,
        )  # fmt: skip
    return outcome


def differences(end: EndPreview, figures: Figures, *, ended_at: datetime) -> list[str]:
    """A sentence for each thing that came otherwise than it was said; pure but for the preview's own lines."""
    currency = end.preview.currency
    fee_said = said_minor(end, ChangePreviewLine.Source.OURS)
    found = []
    if end.how != EndPreview.How.NOW and abs(ended_at - end.ends_at) > PLANNED_WITHIN:
        found.append(f"It ended {ended_at:%d %b %Y %H:%M:%S} UTC, and was to end {end.ends_at:%d %b %Y %H:%M:%S} UTC")
    if figures.fee_invoiced_minor != figures.fee_minor:
        found.append(
            f"The fee: {minor_text(fee_said, currency)} said, {minor_text(figures.fee_minor, currency)} for the second"
            f" of the end, {minor_text(figures.fee_invoiced_minor, currency)} invoiced"
        )
    if figures.usage_invoiced_minor != end.usage_minor:
        found.append(
            f"The usage: {minor_text(end.usage_minor, currency)} said, as rated then,"
            f" {minor_text(figures.usage_invoiced_minor, currency)} invoiced"
        )
    return found


def said_minor(end: EndPreview, source: str) -> int:
    """What of the fee was said to be given back, in minor units, at most zero."""
    return end.preview.lines.filter(source=source).aggregate(sum=Sum("amount_minor"))["sum"] or 0


def _figures(
    end: EndPreview, subscription: Subscription, last: BillingPeriod, *, ended_at: datetime, now: datetime
) -> Figures | None:
    """None while the closing invoice, or the one that gives the fee back, is not final."""
    order = InvoiceOrder.objects.filter(kind=InvoiceOrder.Kind.CLOSING, period=last).order_by("-pk").first()
    if order is None and last.state == BillingPeriod.State.OPEN:
        return None
    if order is not None and order.state not in (InvoiceOrder.State.DRAFTED, InvoiceOrder.State.DROPPED):
        return None
    # A period that was closed before its end was known has no closing invoice: its usage is on that of its close.
    closed_by = Invoice.objects.filter(close__period=last).order_by("-pk")
    closing = order.invoice if order is not None else closed_by.first()
    if closing is not None and closing.finalized_at is None:
        return None
    lines = InvoiceLine.objects.filter(invoice=closing, kind=InvoiceLine.Kind.USAGE) if closing is not None else None
    usage = 0 if lines is None else lines.aggregate(sum=Sum("amount_minor"))["sum"] or 0
    fee = fee_invoiced = 0
    if end.prorate:
        discounts = discounts_at(subscription, ends_at=ended_at)
        given = fee_given_back(subscription, last, ends_at=ended_at, discounts=discounts, is_over=True)
        fee = sum(one.amount_minor for one in given)
        fee_invoiced = _given_back(end, subscription, ended_at=ended_at)
        if fee != fee_invoiced == 0 and now < ended_at + WAITS_FOR:
            return None
    return Figures(fee, fee_invoiced, usage, closing.stripe_invoice_id if closing is not None else "")


def _given_back(end: EndPreview, subscription: Subscription, *, ended_at: datetime) -> int:
    """What Stripe's invoices gave back for the time after the end."""
    invoices = Invoice.objects.filter(subscription=subscription, order=None, finalized_at__gte=end.preview.made_at)
    total = 0
    for invoice in invoices.exclude(status=Invoice.Status.VOID).order_by("finalized_at", "pk")[:INVOICES_READ_MAX]:
        _, lines = readers.invoice_with_lines(invoice.stripe_invoice_id)
        given = (one for one in amounts_of(lines, at=ended_at) if one.is_proration and one.amount_minor < 0)
        total += sum(one.amount_minor for one in given)
    return total
