"""The figures of a draft and of what came before it, read for `anomalies`."""

from decimal import Decimal

from django.conf import settings
from django.db.models import DecimalField, Sum
from django.db.models.functions import Coalesce

from billing.invoicing.anomalies import COMPARED, Figures, Limits, NewRate, anomalies
from billing.invoicing.holding import Finding
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceLine
from billing.invoicing.rounding import from_minor
from billing.rating import queries as rating_queries
from billing.subscriptions.models import BillingPeriod

CYCLE = "subscription_cycle"
ZERO = Decimal(0)
COUNTED = (Invoice.Status.OPEN, Invoice.Status.PAID, Invoice.Status.UNCOLLECTIBLE)


def unusual(close: InvoiceClose, *, total_minor: int) -> list[Finding]:
    """What is unusual about a draft of this total, in minor units; at most five queries."""
    invoice = close.invoice
    figures = Figures(
        currency=invoice.currency,
        total=from_minor(total_minor, invoice.currency),
        usage=_usage_of(close.period),
        earlier_totals=_earlier_totals(close),
        earlier_usage=_earlier_usage(close.period),
        new_rates=_new_rates(invoice),
    )
    return anomalies(figures, limits_of(invoice.currency))


def limits_of(currency: str) -> Limits:
    """The settings for a currency. One that has no amount is looked at from the first increment on."""
    amounts: dict[str, Decimal] = settings.BILLING_GATE_AMOUNTS
    return Limits(settings.BILLING_GATE_PERCENT, amounts.get(currency, ZERO))


def _usage_of(period: BillingPeriod | None) -> Decimal:
    return ZERO if period is None else rating_queries.period_totals(period.pk).unbilled


def _earlier_totals(close: InvoiceClose) -> list[Decimal]:
    """Of the subscription's last cycles. A threshold, one-off or re-issued invoice has none to be compared with."""
    invoice = close.invoice
    if invoice.billing_reason != CYCLE or invoice.subscription_id is None:
        return []
    earlier = Invoice.objects.filter(
        subscription_id=invoice.subscription_id,
        billing_reason=CYCLE,
        status__in=COUNTED,
        created_at__lt=invoice.created_at,
    ).order_by("-created_at", "-pk")
    return [from_minor(minor, invoice.currency) for minor in earlier.values_list("total_minor", flat=True)[:COMPARED]]


def _earlier_usage(period: BillingPeriod | None) -> list[Decimal]:
    if period is None:
        return []
    earlier = BillingPeriod.objects.filter(
        subscription_id=period.subscription_id, ends_at__lte=period.starts_at, kind=BillingPeriod.Kind.REGULAR
    )
    # Part of a cycle whose terms changed is no whole period to compare with, and neither is what follows it.
    amount = Coalesce(Sum("accruals__unbilled"), ZERO, output_field=DecimalField(max_digits=38, decimal_places=12))
    rows = earlier.annotate(usage=amount).order_by("-ends_at")
    return list(rows.values_list("usage", flat=True)[:COMPARED])


def _new_rates(invoice: Invoice) -> list[NewRate]:
    """Lines of rates the customer was never charged before. A customer's first usage is all new, and not looked at."""
    usage = InvoiceLine.objects.filter(invoice__customer_id=invoice.customer_id, kind=InvoiceLine.Kind.USAGE)
    charged = usage.filter(invoice__status__in=COUNTED).exclude(invoice=invoice)
    known = set(charged.order_by().values_list("rate_id", flat=True).distinct())
    if not known:
        return []
    lines = usage.filter(invoice=invoice).exclude(rate_id__in=known).order_by("position")
    return [NewRate(line.description[:120], from_minor(line.amount_minor, invoice.currency)) for line in lines]
