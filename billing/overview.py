"""
The overview: money and usage over time, how far behind the machine is, and what waits for a person.

Each figure leads to the list it was added up from. What the reader may not open is neither read nor shown.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Max, Q, Sum
from django.db.models.functions import TruncDate
from django.http import HttpRequest

from billing.admin_links import list_url
from billing.charts import TOKENS, Chart, grouped_days, money_axis, stacked_days
from billing.figures import Figure, tone_of
from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.page import PAST_DUE
from billing.invoicing.rounding import from_minor
from billing.machine_health import health_figures, last_run, sees_usage, whole_seconds
from billing.money_text import exact_text, minor_text
from billing.payments.models import Payment
from billing.rating.models import UsageAccrual
from billing.stripe.models import InboxEvent
from config import clock
from metering import queries as metering_queries

DAYS_SHOWN = 35
ROWS_SHOWN = 8
CHART_SECONDS = 60
May = Callable[[str], bool]


def add_figures(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold calls this for the admin's first page."""
    may, now = request.user.has_perm, clock.now()
    until = _until(request.GET.get("until", ""), now=now)
    days = [until - timedelta(days=back) for back in range(DAYS_SHOWN - 1, -1, -1)]
    sees_invoices = may("billing.view_invoice")
    return {
        **context,
        "usage_chart": _cached("usage", until, lambda: usage_chart(days)) if sees_usage(may) else None,
        "money_chart": _cached("money", until, lambda: money_chart(days)) if sees_invoices else None,
        "earlier": until - timedelta(days=DAYS_SHOWN),
        "later": until + timedelta(days=DAYS_SHOWN) if until < now.date() else None,
        "money_figures": [
            *(_sums("open_periods", now, open_period_figures) if may("billing.view_usageaccrual") else ()),
            *(_sums("invoices", now, invoice_figures) if sees_invoices else ()),
        ],
        "health_figures": health_figures(may=may, now=now),
        "past_due": past_due_invoices() if sees_invoices else None,
        "held_closes": held_closes(now=now) if may("billing.view_invoiceclose") else None,
        "failed_events": failed_events() if may("billing.view_inboxevent") else None,
        "last_run": last_run() if may("billing.view_reconciliationrun") else None,
    }


def _cached(name: str, until: date, make: Callable[[], Chart]) -> Chart:
    """Charts read whole months; everybody who looks within a minute sees the same."""
    key = f"overview:{name}:{until.isoformat()}"
    known: Chart | None = cache.get(key)
    if known is not None:
        return known
    chart = make()
    cache.set(key, chart, CHART_SECONDS)
    return chart


def _sums(name: str, now: datetime, make: Callable[[str], list[Figure]]) -> list[Figure]:
    """Sums over all invoices or all open periods take seconds: as the charts, they are the same for a minute."""
    key = f"overview:{name}"
    known: list[Figure] | None = cache.get(key)
    if known is not None:
        return known
    figures = make(f"as of {now:%H:%M} UTC")
    cache.set(key, figures, CHART_SECONDS)
    return figures


def _until(text: str, *, now: datetime) -> date:
    """The last day shown: the one asked for; else the latest on which something happened."""
    try:
        return min(date.fromisoformat(text), now.date())
    except ValueError:
        latest = [
            Invoice.objects.aggregate(at=Max("finalized_at"))["at"],
            Payment.objects.aggregate(at=Max("occurred_at"))["at"],
            UsageAccrual.objects.order_by("-id").values_list("period__ends_at", flat=True).first(),
        ]
        return min(max((at for at in latest if at is not None), default=now), now).date()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)


def usage_chart(days: list[date]) -> Chart:
    """Tokens of all customers by day and model; each day leads to its windows."""
    series: dict[str, dict[date, Decimal]] = {}
    for total in metering_queries.daily_totals(_midnight(days[0]), _midnight(days[-1] + timedelta(days=1))):
        by_day = series.setdefault(total.dimensions.get("model") or "no model", {})
        by_day[total.day] = by_day.get(total.day, Decimal(0)) + total.quantity

    def day_url(day: date) -> str:
        start, end = _midnight(day), _midnight(day + timedelta(days=1))
        return list_url(
            "metering.aggregationwindow", window_start__gte=start.isoformat(), window_start__lt=end.isoformat()
        )

    return stacked_days(title="Tokens by day and model", days=days, series=series, axis_format=TOKENS, day_url=day_url)


def money_chart(days: list[date]) -> Chart:
    """What was invoiced, collected and declined each day, in the currency that is invoiced most."""
    within = (_midnight(days[0]), _midnight(days[-1] + timedelta(days=1)))
    finalized = Invoice.objects.filter(finalized_at__gte=within[0], finalized_at__lt=within[1]).exclude(status="void")
    most = finalized.values("currency").annotate(total=Sum("total_minor")).order_by("-total").first()
    currency = most["currency"] if most else "USD"
    paid = Payment.objects.filter(occurred_at__gte=within[0], occurred_at__lt=within[1], currency=currency)
    series = {
        "invoiced": _by_day(finalized.filter(currency=currency), "finalized_at", "total_minor", currency),
        "collected": _by_day(paid.filter(status="succeeded"), "occurred_at", "amount_minor", currency),
        "declined": _by_day(paid.filter(status="failed"), "occurred_at", "amount_minor", currency),
    }

    def day_url(day: date) -> str:
        start, end = _midnight(day), _midnight(day + timedelta(days=1))
        return list_url("billing.invoice", finalized_at__gte=start.isoformat(), finalized_at__lt=end.isoformat())

    return grouped_days(
        title=f"Invoiced and collected by day, {currency}",
        days=days,
        series=series,
        axis_format=money_axis(currency),
        day_url=day_url,
    )


def _by_day(rows: Any, moment: str, amount: str, currency: str) -> dict[date, Decimal]:
    sums = rows.annotate(day=TruncDate(moment, tzinfo=UTC)).values("day").order_by("day").annotate(total=Sum(amount))
    return {row["day"]: from_minor(row["total"], currency) for row in sums}


def open_period_figures(as_of: str) -> list[Figure]:
    """What usage of the periods that are still open has come to, and who pays for it."""
    rows = UsageAccrual.objects.filter(period__state="open").order_by("period__plan_version__currency")
    sums = rows.values_list("period__plan_version__currency").annotate(
        rated=Sum("rated"), included=Sum("included"), credited=Sum("credited"), unbilled=Sum("unbilled")
    )
    url = list_url("billing.usageaccrual", period__state__exact="open")
    figures = []
    for currency, *amounts in sums:
        # Rounded for the eye; the list behind the figure has every place.
        rated, included, credited, unbilled = (exact_text(round(amount, 2), currency) for amount in amounts)
        note = f"{included} included, {credited} credited, {unbilled} to be invoiced, {as_of}"
        figures.append(Figure("Usage in open periods", rated, note, url))
    return figures


def invoice_figures(as_of: str) -> list[Figure]:
    """Invoiced, collected, open and past due, over all time, by currency."""
    rows = Invoice.objects.exclude(status__in=("draft", "void")).values("currency").order_by("currency")
    found = rows.annotate(
        number=Count("id"),
        total=Sum("total_minor"),
        paid=Sum("amount_paid_minor"),
        open=Sum("amount_remaining_minor", filter=Q(status="open"), default=0),
        late=Sum("amount_remaining_minor", filter=PAST_DUE, default=0),
        late_number=Count("id", filter=PAST_DUE),
    )
    figures = []
    for row in found:
        currency, invoices = row["currency"], f"{_invoices_text(row['number'])}, {as_of}"
        late = f"{_invoices_text(row['late_number'])}, a payment was declined"
        figures += [
            Figure("Invoiced", minor_text(row["total"], currency), invoices, list_url("billing.invoice")),
            Figure("Collected", minor_text(row["paid"], currency), "", _invoices(status__exact="paid"), "good"),
            Figure("Open", minor_text(row["open"], currency), "", _invoices(status__exact="open"), "waiting"),
            Figure(
                "Past due", minor_text(row["late"], currency), late, _invoices(past_due="yes"), tone_of(row["late"])
            ),
        ]
    return figures


def _invoices_text(number: int) -> str:
    return "1 invoice" if number == 1 else f"{number:,} invoices"


def _invoices(**filters: object) -> str:
    return list_url("billing.invoice", **filters)


def past_due_invoices() -> list[Invoice]:
    found = Invoice.objects.filter(PAST_DUE).select_related("customer", "recovery_case")
    return list(found.order_by("-amount_remaining_minor", "-id")[:ROWS_SHOWN])


def held_closes(*, now: datetime) -> list[tuple[InvoiceClose, timedelta | None]]:
    """Each with its age, the oldest first."""
    found = InvoiceClose.objects.exclude(held_reason="").select_related("invoice__customer")
    rows = found.order_by("held_at", "id")[:ROWS_SHOWN]
    return [(close, None if close.held_at is None else whole_seconds(now - close.held_at)) for close in rows]


def failed_events() -> list[InboxEvent]:
    found = InboxEvent.objects.filter(state__in=("failed", "dead")).defer("payload")
    return list(found.order_by("-received_at", "event_id")[:ROWS_SHOWN])
