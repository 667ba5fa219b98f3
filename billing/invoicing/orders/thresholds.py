"""
Which open periods have come to so much usage that an invoice asks for it before they end.

The amount is a setting by currency. It doubles with each threshold invoice the customer paid, DOUBLED_MAX times at
most, so that who pays reliably is asked less often. Another one is made only after the last was paid: who does not pay
is not sent one an hour, and what is used meanwhile counts for the next. None is made either after one that Stripe
refused, or while usage of a void invoice waits for a person: a proof wants all that is left of a price on one line, so
the next would ask for it again by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import (
    Case,
    Count,
    DecimalField,
    Exists,
    F,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Least, Power

from billing.customers.operations import lock_customer
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.orders.models import InvoiceOrder
from billing.invoicing.orders.operations import order_threshold_invoice
from billing.invoicing.queries import uninvoiced_amount
from billing.invoicing.rounding import to_minor
from billing.rating.rating import plain
from billing.subscriptions.models import BillingPeriod, Subscription

Kind, State = InvoiceOrder.Kind, InvoiceOrder.State
DOUBLED_MAX = 5
FOUND_MAX = 500
_EXACT = DecimalField(max_digits=38, decimal_places=12)


@dataclass(frozen=True, slots=True)
class Reached:
    """An open period whose usage on no invoice reached its threshold, both in currency units."""

    period: BillingPeriod
    amount: Decimal
    threshold: Decimal


def order_threshold_invoices(*, now: datetime) -> list[InvoiceOrder]:
    """Order an invoice for every open period that reached its threshold; all are found by one query."""
    ordered = []
    for found in reached(now=now):
        with transaction.atomic():
            lock_customer(customer_id=found.period.subscription.customer_id)
            # Another worker may have ordered it, or a close billed it, before the customer was held.
            still = reached(now=now, period_id=found.period.pk)
            ordered += [_order(one, now=now) for one in still]
    return ordered


def reached(*, now: datetime, period_id: int | None = None) -> Sequence[Reached]:
    """Every open period that reached its threshold, or that one; one query."""
    thresholds: dict[str, Decimal] = settings.BILLING_THRESHOLDS
    if not thresholds:
        return []
    found = _open_periods(now, list(thresholds)).annotate(
        reached=uninvoiced_amount(),
        threshold=_base(thresholds) * Power(Value(2), Least(_paid(), Value(DOUBLED_MAX)), output_field=_EXACT),
    )
    found = found.filter(~Exists(_unpaid()), ~Exists(_refused()), reached__gte=F("threshold"))
    found = found.filter(~Exists(void_usage_of(OuterRef("pk"))))
    if period_id is not None:
        found = found.filter(pk=period_id)
    return [Reached(period, period.reached, period.threshold) for period in found.order_by("pk")[:FOUND_MAX]]


def void_usage_of(period: BillingPeriod | OuterRef) -> QuerySet[InvoiceLine]:
    """Usage lines of an open period on void invoices that nobody had re-issued: on no invoice, and for a person."""
    lines = InvoiceLine.objects.filter(period=period, kind=InvoiceLine.Kind.USAGE, invoice__status=Invoice.Status.VOID)
    reissued = InvoiceOrder.objects.filter(
        kind=Kind.REISSUE, replaces=OuterRef("invoice"), state__in=(State.INTENDED, State.DRAFTED)
    )
    return lines.filter(~Exists(reissued))


def _order(found: Reached, *, now: datetime) -> InvoiceOrder:
    currency = found.period.subscription.customer.currency
    number = InvoiceOrder.objects.filter(kind=Kind.THRESHOLD, period=found.period).count() + 1
    return order_threshold_invoice(
        period=found.period,
        reached_minor=to_minor(found.amount, currency),
        number=number,
        reason=f"Usage on no invoice came to {plain(found.amount)} {currency}; the threshold is "
        f"{plain(found.threshold.normalize())} {currency}",
        now=now,
    )


def _open_periods(now: datetime, currencies: Sequence[str]) -> QuerySet[BillingPeriod]:
    return BillingPeriod.objects.filter(
        state=BillingPeriod.State.OPEN,
        kind=BillingPeriod.Kind.REGULAR,
        starts_at__lte=now,
        ends_at__gt=now,
        subscription__status__in=(Subscription.Status.ACTIVE, Subscription.Status.PAST_DUE),
        subscription__customer__currency__in=currencies,
        subscription__stripe_subscription_id__isnull=False,
    ).select_related("subscription__customer", "plan_version")


def _base(thresholds: dict[str, Decimal]) -> Case:
    whens = (When(subscription__customer__currency=name, then=Value(amount)) for name, amount in thresholds.items())
    return Case(*whens, output_field=_EXACT)


def _paid() -> Coalesce:
    """How many threshold invoices the customer of a period has paid."""
    orders = InvoiceOrder.objects.filter(
        kind=Kind.THRESHOLD,
        customer=OuterRef("subscription__customer"),
        invoice__status=Invoice.Status.PAID,
        invoice__amount_paid_minor__gt=0,
    )
    number = orders.order_by().values("customer").annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(number, output_field=IntegerField()), Value(0))


def _unpaid() -> QuerySet[InvoiceOrder]:
    """Threshold invoices of a period's customer that are under way, or were not paid."""
    unpaid = (Invoice.Status.DRAFT, Invoice.Status.OPEN, Invoice.Status.UNCOLLECTIBLE)
    orders = InvoiceOrder.objects.filter(kind=Kind.THRESHOLD, customer=OuterRef("subscription__customer"))
    return orders.filter(Q(state=State.INTENDED) | Q(invoice__status__in=unpaid))


def _refused() -> QuerySet[InvoiceOrder]:
    """Threshold orders of a period that came to nothing at Stripe: a person mends that and has them made once more."""
    orders = InvoiceOrder.objects.filter(kind=Kind.THRESHOLD, period=OuterRef("pk"), repeated_by=None)
    return orders.filter(state__in=(State.REFUSED, State.LOST))
