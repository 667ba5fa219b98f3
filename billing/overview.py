"""
The overview: money and usage over time, how far behind the machine is, and what waits for a person.

Each figure leads to the list it was added up from. What the reader may not open is neither read nor shown.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Max, Min, Q, Sum
from django.db.models.functions import TruncDate
from django.http import HttpRequest
from django.urls import reverse

from billing.accounting import manual_entries
from billing.admin_links import list_url
from billing.charts import TOKENS, Chart, grouped_days, money_axis, stacked_days
from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.page import PAST_DUE
from billing.invoicing.rounding import from_minor
from billing.money_text import exact_text, minor_text, quantity_text
from billing.payments.models import Payment
from billing.rating.models import LateUsage, UsageAccrual
from billing.reconciliation.models import ReconciliationRun
from billing.stripe.models import InboxEvent, OutboxIntent
from config import clock
from metering import queries as metering_queries

DAYS_SHOWN = 35
ROWS_SHOWN = 8
CHART_SECONDS = 60
LAG_MAX = timedelta(minutes=5)
May = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its name, its colour, and the list it is made of."""

    name: str
    value: str
    note: str = ""
    url: str = ""
    tone: str = "plain"


def add_figures(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold calls this for the admin's first page."""
    may, now = request.user.has_perm, clock.now()
    until = _until(request.GET.get("until", ""), now=now)
    days = [until - timedelta(days=back) for back in range(DAYS_SHOWN - 1, -1, -1)]
    sees_invoices = may("billing.view_invoice")
    return {
        **context,
        "usage_chart": _cached("usage", until, lambda: usage_chart(days)) if _sees_usage(may) else None,
        "money_chart": _cached("money", until, lambda: money_chart(days)) if sees_invoices else None,
        "earlier": until - timedelta(days=DAYS_SHOWN),
        "later": until + timedelta(days=DAYS_SHOWN) if until < now.date() else None,
        "money_figures": [
            *(open_period_figures() if may("billing.view_usageaccrual") else ()),
            *(invoice_figures() if sees_invoices else ()),
        ],
        "health_figures": health_figures(may=may, now=now),
        "past_due": past_due_invoices() if sees_invoices else None,
        "held_closes": held_closes() if may("billing.view_invoiceclose") else None,
        "failed_events": failed_events() if may("billing.view_inboxevent") else None,
        "last_run": last_run() if may("billing.view_reconciliationrun") else None,
    }


def _sees_usage(may: May) -> bool:
    return may("metering.view_aggregationwindow")


def _cached(name: str, until: date, make: Callable[[], Chart]) -> Chart:
    """Charts read whole months; everybody who looks within a minute sees the same."""
    key = f"overview:{name}:{until.isoformat()}"
    known: Chart | None = cache.get(key)
    if known is not None:
        return known
    chart = make()
    cache.set(key, chart, CHART_SECONDS)
    return chart


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


def open_period_figures() -> list[Figure]:
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
        note = f"{included} included, {credited} credited, {unbilled} to be invoiced"
        figures.append(Figure("Usage in open periods", rated, note, url))
    return figures


def invoice_figures() -> list[Figure]:
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
        currency, invoices = row["currency"], _invoices_text(row["number"])
        late = f"{_invoices_text(row['late_number'])}, a payment was declined"
        figures += [
            Figure("Invoiced", minor_text(row["total"], currency), invoices, list_url("billing.invoice")),
            Figure("Collected", minor_text(row["paid"], currency), "", _invoices(status__exact="paid"), "good"),
            Figure("Open", minor_text(row["open"], currency), "", _invoices(status__exact="open"), "waiting"),
            Figure("Past due", minor_text(row["late"], currency), late, _invoices(past_due="yes"), _bad(row["late"])),
        ]
    return figures


def _invoices_text(number: int) -> str:
    return "1 invoice" if number == 1 else f"{number:,} invoices"


def _invoices(**filters: object) -> str:
    return list_url("billing.invoice", **filters)


def health_figures(*, may: May, now: datetime) -> list[Figure]:
    """How far behind, whether everything was counted, and what stands still."""
    figures = []
    if _sees_usage(may):
        figures += [_lag(now), _conservation(may)]
    if may("metering.view_alarm"):
        figures.append(_alarms())
    if may("billing.view_reconciliationrun"):
        figures.append(_discrepancies())
    if may("billing.view_invoiceclose"):
        held = InvoiceClose.objects.exclude(held_reason="").count()
        figures.append(Figure("Held closes", str(held), _held_note(held), _held_url(), _bad(held)))
    if may("billing.view_lateusage"):
        figures.append(_late_usage())
    if may("billing.approve_manualentry"):
        figures.append(_second_person())
    if may("billing.view_inboxevent"):
        figures += [_inbox(now), _outbox()]
    return figures


def _lag(now: datetime) -> Figure:
    through = metering_queries.aggregated_through()
    if through == metering_queries.NEVER:
        return Figure(
            "Usage is counted", "not yet", "no window was made so far", list_url("metering.aggregationwindow")
        )
    return Figure(
        "Usage lags behind",
        str(_whole_seconds(now - through)),
        f"complete through {through:%d %b %H:%M:%S} UTC",
        list_url("metering.aggregationwindow"),
        "bad" if now - through > LAG_MAX else "good",
    )


def _conservation(may: May) -> Figure:
    """Every pair of an event and a meter is counted, or excluded with a reason. Leads to the page that recomputes it,
    or for those who may not open that to the events."""
    found = metering_queries.conservation()
    excluded = sum(found.excluded.values())
    lost = found.pairs - found.counted - excluded
    note = f"{quantity_text(Decimal(found.counted))} counted, {quantity_text(Decimal(excluded))} excluded with a reason"
    value = "all counted" if lost == 0 else f"{lost} lost"
    proof = may("metering.view_aggregationadvance")
    url = reverse("admin:metering_conservation") if proof else list_url("metering.usageevent")
    return Figure("Events × meters", value, note, url, "good" if lost == 0 else "bad")


def _alarms() -> Figure:
    number = sum(metering_queries.open_alarms().values())
    note = "usage, or what counts it, is not as expected" if number else "usage is as expected"
    return Figure("Open alarms", str(number), note, list_url("metering.alarm", state="open"), _bad(number))


def _discrepancies() -> Figure:
    run = last_run()
    if run is None:
        return Figure("Discrepancies", "never compared", "", list_url("billing.reconciliationrun"), "waiting")
    return Figure(
        "Discrepancies",
        str(run.discrepancy_count),
        f"{quantity_text(Decimal(run.checked))} pairs of figures compared, {run.started_at:%d %b %H:%M}",
        list_url("billing.discrepancy", run__id__exact=run.pk),
        "bad" if run.discrepancy_count else "good",
    )


def _whole_seconds(passed: timedelta) -> timedelta:
    return timedelta(seconds=max(0, passed // timedelta(seconds=1)))


def _inbox(now: datetime) -> Figure:
    states = InboxEvent.objects.exclude(state="done").aggregate(
        failed=Count("pk", filter=Q(state__in=("failed", "dead"))),
        waiting=Count("pk", filter=Q(state__in=("received", "processing"))),
        oldest=Min("received_at", filter=Q(state__in=("received", "processing"))),
    )
    note = f"{states['waiting']} waiting"
    if states["oldest"] is not None:
        note += f", the oldest for {_whole_seconds(now - states['oldest'])}"
    url = list_url("billing.inboxevent", state__in="failed,dead")
    return Figure("Failed inbox events", str(states["failed"]), note, url, _bad(states["failed"]))


def _outbox() -> Figure:
    counts = OutboxIntent.objects.exclude(state="succeeded").aggregate(
        refused=Count("pk", filter=Q(state="refused")), intended=Count("pk", filter=Q(state="intended"))
    )
    url = list_url("billing.outboxintent", state__exact="refused")
    return Figure(
        "Refused by Stripe", str(counts["refused"]), f"{counts['intended']} on the way", url, _bad(counts["refused"])
    )


def _late_usage() -> Figure:
    number = LateUsage.objects.filter(state=LateUsage.State.DECISION).count()
    url = list_url("billing.lateusage", state__exact=LateUsage.State.DECISION)
    note = "usage of periods that were invoiced before it came"
    return Figure("Late usage to decide", str(number), note, url, "waiting" if number else "good")


def _second_person() -> Figure:
    number = manual_entries.waiting().count()
    url = list_url("billing.manualentry", state="waiting")
    note = "manual entries above what one person may move alone"
    return Figure("Waiting for a second person", str(number), note, url, "waiting" if number else "good")


def _bad(number: int) -> str:
    return "bad" if number else "good"


def _held_note(held: int) -> str:
    return "a person has to look" if held else "nothing waits for a person"


def _held_url() -> str:
    return list_url("billing.invoiceclose", held="yes")


def past_due_invoices() -> list[Invoice]:
    found = Invoice.objects.filter(PAST_DUE).select_related("customer")
    return list(found.order_by("-amount_remaining_minor", "-id")[:ROWS_SHOWN])


def held_closes() -> list[InvoiceClose]:
    found = InvoiceClose.objects.exclude(held_reason="").select_related("invoice__customer")
    return list(found.order_by("-id")[:ROWS_SHOWN])


def failed_events() -> list[InboxEvent]:
    found = InboxEvent.objects.filter(state__in=("failed", "dead")).defer("payload")
    return list(found.order_by("-received_at", "event_id")[:ROWS_SHOWN])


def last_run() -> ReconciliationRun | None:
    return ReconciliationRun.objects.filter(finished_at__isnull=False).order_by("-started_at", "-id").first()
