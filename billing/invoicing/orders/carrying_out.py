"""
Making ordered invoices: a draft at Stripe in our hands, our lines for it, and the close that every invoice has.

What is asked of Stripe is fixed before it is asked, and each call is made once under a purpose named after the order.
So a crash between any two statements is mended by carrying the order out again, and two workers at once make one.
"""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F

from billing.customers.operations import create_at_stripe, lock_customer
from billing.invoicing import drafting, queries
from billing.invoicing.absorbing import give_up
from billing.invoicing.collecting import terms_of
from billing.invoicing.deleting import DELETED, NOT_FOUND
from billing.invoicing.metered.ends import unsettled
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceCloseStep, InvoiceLine
from billing.invoicing.operations import project_invoice
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.orders.thresholds import void_usage_of
from billing.invoicing.rounding import to_minor
from billing.money_text import counted
from billing.rating import queries as rating_queries
from billing.rating.operations import accrue_period
from billing.rating.rating import RatingError
from billing.stripe import gateway, outbox
from billing.stripe.errors import NotYetKnown, OutboxConflict, ProjectionRefused, StripeRefused, StripeUnavailable
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.operations import close_period
from ledger.operations import LedgerError
from metering.queries import aggregated_through

logger = logging.getLogger(__name__)
Kind, State, Step = InvoiceOrder.Kind, InvoiceOrder.State, InvoiceClose.Step

LEASE = timedelta(seconds=settings.BILLING_LEASE_SECONDS)
WAIT_FOR_USAGE = timedelta(seconds=30)
WAIT_FIRST, WAIT_MAX = timedelta(seconds=2), timedelta(minutes=15)
ACTOR = "service:invoice_orders"
TOO_SMALL = "Less than the smallest amount that can be charged, when the subscription ended"
COLLECTED_AS = ("subscription_create", "subscription_cycle", "subscription_update")


class OrderWaits(Exception):
    """The order cannot be carried out yet; its text says what it waits for."""


def due_orders(*, now: datetime, limit: int) -> list[int]:
    """Orders that are due, the longest waiting first."""
    due = InvoiceOrder.objects.filter(state=State.INTENDED, next_attempt_at__lte=now)
    return list(due.order_by("next_attempt_at", "pk").values_list("pk", flat=True)[:limit])


def carry_out(*, order_id: int, now: datetime) -> int | None:
    """
    Make the draft of a due order and begin its close, whose id is returned; None where there is nothing to close.

    Not inside a transaction. What cannot be done now is put off with the reason; what Stripe refuses ends the order.
    """
    due = InvoiceOrder.objects.filter(pk=order_id, state=State.INTENDED, next_attempt_at__lte=now)
    if not due.update(next_attempt_at=now + LEASE, attempts=F("attempts") + 1):
        return None
    order = InvoiceOrder.objects.select_related("customer", "subscription", "period", "replaces").get(pk=order_id)
    try:
        return _carry_out(order, now=now)
    except OrderWaits as waits:
        _put_off(order, str(waits), now + WAIT_FOR_USAGE)
    except (StripeRefused, OutboxConflict) as refused:
        _end(order, State.REFUSED, str(refused), now=now)
    except (StripeUnavailable, ProjectionRefused, NotYetKnown, RatingError, LedgerError) as failure:
        wait = min(WAIT_FIRST * 2 ** min(order.attempts - 1, 20), WAIT_MAX)
        wait = max(wait, getattr(failure, "retry_after", None) or wait)
        _put_off(order, f"{type(failure).__name__}: {failure}", now + wait)
    return None


def _carry_out(order: InvoiceOrder, *, now: datetime) -> int | None:
    if order.kind == Kind.CLOSING:
        _wait_for_usage(order, now=now)
        waits_for = unsettled(order.period, now=now) if order.period is not None else ""
        if waits_for:
            raise OrderWaits(waits_for)
    with transaction.atomic():
        lock_customer(customer_id=order.customer_id)
        why_not = _why_not(order, now=now)
        if why_not:
            _end(order, State.DROPPED, why_not, now=now)
            return None
    stripe_customer_id = order.customer.stripe_customer_id or create_at_stripe(customer_id=order.customer_id, now=now)
    answer = outbox.perform(
        purpose=f"invoice_order:{order.pk}:invoice",
        operation="invoices.create",
        target="",
        params=order.request or _fixed(order, _request(order, stripe_customer_id)),
        now=now,
    )
    try:
        # The answer may be of long ago: lines written for what is no draft any more would never be charged.
        fetched = gateway.retrieve(f"/v1/invoices/{answer['id']}")
    except StripeRefused as refused:
        if refused.status != NOT_FOUND:
            raise
        _end(order, State.LOST, DELETED.format(invoice=answer["id"]), now=now)
        return None
    with transaction.atomic():
        return _begin(order, fetched, now=now)


def _wait_for_usage(order: InvoiceOrder, *, now: datetime) -> None:
    """Before its last period is counted nobody knows whether there is anything to ask for; for the longest wait."""
    assert order.period is not None  # a CHECK of the table
    complete_from = order.period.ends_at + timedelta(seconds=settings.BILLING_CLOSE_GRACE_SECONDS)
    waited = now - max(order.ordered_at, complete_from)
    if aggregated_through() < complete_from and waited <= timedelta(seconds=settings.BILLING_CLOSE_WAIT_MAX_SECONDS):
        raise OrderWaits(f"usage received before {complete_from:%F %T} is not aggregated yet")


def _why_not(order: InvoiceOrder, *, now: datetime) -> str:
    """Why there is nothing to make a draft for, or nothing. The customer is held."""
    period = order.period
    if order.kind == Kind.THRESHOLD:
        assert period is not None  # a CHECK of the table
        period.refresh_from_db()
        if period.state != BillingPeriod.State.OPEN:
            return "The period was invoiced as a whole meanwhile"
        if void_usage_of(period).exists():
            return "Usage of a void invoice waits for a person"
        return "" if _asks_for_something(period) else "The usage is on another invoice meanwhile"
    if order.kind == Kind.CLOSING:
        assert period is not None
        if InvoiceClose.objects.filter(period=period).exists():
            return "An invoice of its own closes the period"
        return "" if _rest_of_subscription(period, now=now) else "Nothing was left to invoice"
    if order.kind == Kind.REISSUE and not order.lines.exists():
        assert order.replaces is not None
        usage = order.replaces.lines.filter(kind=InvoiceLine.Kind.USAGE).values_list("period_id", flat=True)
        periods = BillingPeriod.objects.filter(pk__in=usage)
        return "" if any(_asks_for_something(one) for one in periods) else "Its usage is on another invoice meanwhile"
    return ""


def _asks_for_something(period: BillingPeriod) -> bool:
    currency = period.plan_version.currency
    left = rating_queries.uninvoiced(period.subscription_id, period.pk)
    return any(to_minor(rest.amount, currency) for rest in left)


def _rest_of_subscription(period: BillingPeriod, *, now: datetime) -> bool:
    """
    Whether the last period, or an earlier one, has something left to invoice. If not, all of them are closed here, and
    what is too small to be charged is given up: no invoice would ever round it away.
    """
    with_rest = [*queries.earlier_periods_to_settle(period), period]
    for one in with_rest:
        accrue_period(period_id=one.pk, now=now)
    if any(_asks_for_something(one) for one in with_rest):
        return True
    for one in with_rest:
        close_period(period_id=one.pk, now=now)
        rest = [left for left in rating_queries.uninvoiced(one.subscription_id, one.pk) if left.amount]
        if rest:
            give_up(one, rest, reason=TOO_SMALL, actor=ACTOR, idempotency_key=f"closing:{one.pk}", now=now)
    return False


def _request(order: InvoiceOrder, stripe_customer_id: str) -> dict[str, Any]:
    """An empty draft that Stripe leaves alone, taxed and collected as the customer's latest subscription invoice."""
    latest = Invoice.objects.filter(customer=order.customer, billing_reason__in=COLLECTED_AS)
    like = order.replaces or latest.order_by("-created_at", "-pk").first()
    return {
        "customer": stripe_customer_id,
        "currency": order.currency.lower(),
        "auto_advance": False,
        "pending_invoice_items_behavior": "exclude",
        "metadata": {"invoice_order": str(order.pk)},
        **({} if like is None else terms_of(gateway.retrieve(f"/v1/invoices/{like.stripe_invoice_id}"))),
    }


def _fixed(order: InvoiceOrder, request: dict[str, Any]) -> dict[str, Any]:
    """Keep what is asked for, so that a repeat asks for the same; the first of two workers says what that is."""
    InvoiceOrder.objects.filter(pk=order.pk, request__isnull=True).update(request=request)
    order.refresh_from_db(fields=["request"])
    assert order.request is not None  # the update above has just seen to that
    return dict(order.request)


def _begin(order: InvoiceOrder, fetched: dict[str, Any], *, now: datetime) -> int | None:
    """Write the lines for the draft and start its close; the other of two workers finds it started."""
    lock_customer(customer_id=order.customer_id)
    row = Invoice.objects.filter(stripe_invoice_id=fetched["id"]).first()
    known = InvoiceClose.objects.filter(invoice=row).first() if row is not None else None
    if known is not None:
        return known.pk
    status = fetched["status"] if row is None or fetched["status"] != Invoice.Status.DRAFT else row.status
    if status != Invoice.Status.DRAFT:
        lost = f"The draft {fetched['id']} became {status} at Stripe before our lines were on it"
        _end(order, State.LOST, lost, now=now)
        return None
    invoice = project_invoice(fetched, lines=[], subscription=order.subscription, now=now)
    if order.kind == Kind.CLOSING:
        # Its lines are written by the close itself, which ends the period.
        close = InvoiceClose.objects.create(
            invoice=invoice, period=order.period, step=Step.STARTED, next_attempt_at=now
        )
        _record(close, (Step.STARTED, order.reason), now=now)
    else:
        lines = _lines(order, invoice, now=now)
        if not lines:
            left = f"Nothing is left to ask for on the draft {invoice.stripe_invoice_id}: delete it at Stripe"
            _end(order, State.DROPPED, left, now=now)
            return None
        close = InvoiceClose.objects.create(invoice=invoice, step=Step.ACCRUED, next_attempt_at=now)
        _record(close, (Step.STARTED, order.reason), (Step.ACCRUED, counted(len(lines), "line")), now=now)
    outcome = f"Draft {invoice.stripe_invoice_id}"
    InvoiceOrder.objects.filter(pk=order.pk, state=State.INTENDED).update(
        state=State.DRAFTED, invoice=invoice, outcome=outcome, error="", finished_at=now
    )
    return close.pk


def _lines(order: InvoiceOrder, invoice: Invoice, *, now: datetime) -> list[InvoiceLine]:
    if order.kind == Kind.THRESHOLD:
        assert order.period is not None
        is_open = BillingPeriod.objects.filter(pk=order.period.pk, state=BillingPeriod.State.OPEN).exists()
        return drafting.write_threshold_lines(invoice=invoice, period=order.period, now=now) if is_open else []
    rows: list[InvoiceLine] = []
    if order.replaces is not None:
        rows = drafting.reissued_rows(invoice=invoice, replaces=order.replaces, after=0)
    rows += drafting.ordered_rows(invoice=invoice, order=order, after=len(rows))
    return InvoiceLine.objects.bulk_create(rows)


def _record(close: InvoiceClose, *steps: tuple[str, str], now: datetime) -> None:
    InvoiceCloseStep.objects.bulk_create(
        InvoiceCloseStep(close=close, step=step, recorded_at=now, detail=detail[:500]) for step, detail in steps
    )


def _put_off(order: InvoiceOrder, why: str, until: datetime) -> None:
    InvoiceOrder.objects.filter(pk=order.pk, state=State.INTENDED).update(error=why, next_attempt_at=until)


def _end(order: InvoiceOrder, state: str, outcome: str, *, now: datetime) -> None:
    logger.warning("invoice order %s ended: %s", order.pk, outcome)
    InvoiceOrder.objects.filter(pk=order.pk, state=State.INTENDED).update(
        state=state, outcome=outcome[:500], error="", finished_at=now
    )
