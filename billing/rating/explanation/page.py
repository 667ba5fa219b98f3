"""The page of an explanation: from the amount to the price, the windows, who paid, what was posted, and in words."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from billing.admin_links import page_url, windows_url
from billing.charts import DAYS, MONTHS, Chart, money_axis, stacked_kinds
from billing.money_text import exact_text, minor_text
from billing.rating.explanation.as_text import explanation_text
from billing.rating.explanation.gather import (
    NothingToExplain,
    explain_accrual,
    explain_accrual_line,
    explain_invoice_line,
    explain_period,
)
from billing.rating.explanation.links import accrual_url
from billing.rating.explanation.model import Explanation, Payer, PriceExplained, Slice, SubjectKind
from billing.rating.rating import EXACT
from config import clock

SEES_USAGE, SEES_INVOICE, SEES_ENTRY = "billing.view_usageaccrual", "billing.view_invoice", "ledger.view_journalentry"
MAY_SEE: Mapping[SubjectKind, tuple[str, ...]] = {
    "invoice_line": (SEES_USAGE, SEES_INVOICE),
    "accrual": (SEES_USAGE,),
    "accrual_line": (SEES_USAGE,),
    "period": (SEES_USAGE,),
}
EXPLAINERS: Mapping[SubjectKind, Callable[..., Explanation]] = {
    "invoice_line": explain_invoice_line,
    "accrual": explain_accrual,
    "accrual_line": explain_accrual_line,
    "period": explain_period,
}
API_NAMES: Mapping[SubjectKind, str] = {
    "invoice_line": "billing-api:invoice-line",
    "accrual": "billing-api:accrual",
    "accrual_line": "billing-api:accrual-line",
    "period": "billing-api:period",
}
HAPPENINGS_MAX = 60
_LONGEST_BY_DAY = timedelta(days=93)
_TONES = {"agrees": "good", "differs": "waiting", "unknown": "bad"}
_VERDICTS = {"agrees": "Proved", "differs": "More is known now", "unknown": "Cannot be proved"}
May = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened, for the timeline."""

    at: datetime
    title: str
    text: str
    url: str = ""
    tone: str = "plain"
    entry_id: int | None = None


@dataclass(frozen=True, slots=True)
class PayerRow:
    """Who paid, and where that is shown; "" where the reader may not open it."""

    payer: Payer
    url: str


@dataclass(frozen=True, slots=True)
class DayRow:
    """The usage of one day, and where its windows are told one by one."""

    slice: Slice
    url: str


@dataclass(frozen=True, slots=True)
class PriceCard:
    """One price on the page; `url` leads to the price, `windows_url` to the windows behind it."""

    explained: PriceExplained
    url: str
    windows_url: str
    payers: list[PayerRow]
    days: list[DayRow]


def view(kind: SubjectKind) -> Callable[..., HttpResponse]:
    """The view of one kind of subject."""

    def explanation_view(request: HttpRequest, number: int) -> HttpResponse:
        may = request.user.has_perm
        if request.method not in ("GET", "HEAD") or not all(may(permission) for permission in MAY_SEE[kind]):
            raise PermissionDenied
        try:
            explained = EXPLAINERS[kind](number, now=clock.now())
        except NothingToExplain as error:
            return nothing_page(request, str(error))
        return TemplateResponse(
            request,
            "admin/billing/explanation/page.html",
            {**admin.site.each_context(request), **_context(explained, may)},
        )

    return explanation_view


def nothing_page(request: HttpRequest, problem: str, *, status: int = 404) -> HttpResponse:
    """A page that says why there is nothing to explain."""
    context = {**admin.site.each_context(request), "title": "Nothing to explain", "problem": problem}
    return TemplateResponse(request, "admin/billing/explanation/nothing.html", context, status=status)


def _context(explained: Explanation, may: May) -> dict[str, Any]:
    shown, hidden = _happenings(explained, may)
    api = reverse(API_NAMES[explained.subject.kind], args=[explained.subject.id])
    return {
        "title": "Why this amount",
        "explained": explained,
        "period": explained.period,
        "currency": explained.period.currency,
        "figures": list(_figures(explained)),
        "verdict": _VERDICTS[explained.check.verdict],
        "verdict_tone": _TONES[explained.check.verdict],
        "prices": [_card(price, explained, may) for price in explained.prices],
        "payers": [_payer_row(one, explained, may) for one in explained.payers],
        "chart": chart_of(explained),
        "happenings": shown,
        "hidden_happenings": hidden,
        "text": explanation_text(explained),
        "json_url": api,
        "text_url": f"{api}?as=text",
        "sees_entries": may(SEES_ENTRY),
    }


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure at the top, as admin/billing/figures.html shows it."""

    name: str
    value: str
    note: str = ""
    tone: str = "plain"
    url: str = ""


def _figures(explained: Explanation) -> Iterator[Figure]:
    currency, total = explained.period.currency, explained.total
    yield Figure("Price of the usage", exact_text(total.rated, currency), "= the three beside it, exactly")
    yield Figure("Included", exact_text(total.included, currency))
    yield Figure("Paid by credit", exact_text(total.credited, currency))
    yield Figure("To invoice", exact_text(total.unbilled, currency))
    charged = explained.charged
    if charged is not None and charged.kind == "usage":
        note = f"{exact_text(charged.exact, currency)} exact, rounding {exact_text(charged.rounding, currency)}"
        yield Figure("Charged", minor_text(charged.minor, currency), note)


def _card(price: PriceExplained, explained: Explanation, may: May) -> PriceCard:
    period, version = explained.period, price.price
    windows = windows_url(
        customer_key=period.customer_key,
        start=period.starts_at,
        end=period.ends_at,
        meter_code=version.meter_code,
        dimension_model=version.dimensions.get("model", ""),
    )
    sees_windows = bool(version.meter_code) and may("metering.view_aggregationwindow")
    days = [
        DayRow(one, reverse("explanations:day", args=[period.id, version.rate_id, f"{one.at:%Y-%m-%d}"]))
        for one in price.days
    ]
    url = page_url("billing.rate", version.rate_id) if may("billing.view_rate") else ""
    payers = [_payer_row(one, explained, may) for one in price.payers]
    return PriceCard(price, url, windows if sees_windows else "", payers, days)


def _payer_row(payer: Payer, explained: Explanation, may: May) -> PayerRow:
    if payer.kind == "grant" and may("promotions.view_creditgrant"):
        return PayerRow(payer, page_url("promotions.creditgrant", payer.id))
    if payer.kind == "allowance" and may("billing.view_billingperiod"):
        return PayerRow(payer, page_url("billing.billingperiod", explained.period.id))
    charged = explained.charged
    if payer.kind == "unbilled" and charged is not None and may(SEES_INVOICE):
        return PayerRow(payer, page_url("billing.invoice", charged.invoice_id))
    return PayerRow(payer, "")


def chart_of(explained: Explanation) -> Chart:
    """What the usage of each day came to, by who pays for it; by month for long periods."""
    period = explained.period
    by_month = period.ends_at - period.starts_at > _LONGEST_BY_DAY
    series: dict[str, dict[date, Decimal]] = {"Included": {}, "Paid by credit": {}, "To invoice": {}}
    for price in explained.prices:
        for one in price.days:
            day = one.at.date().replace(day=1) if by_month else one.at.date()
            of_day = (one.amounts.included, one.amounts.credited, one.amounts.unbilled)
            for by_day, amount in zip(series.values(), of_day, strict=True):
                by_day[day] = EXACT.add(by_day.get(day, Decimal(0)), amount)
    # Whoever pays has the same colour on every page.
    return stacked_kinds(
        title=f"What each {'month' if by_month else 'day'} came to, and who pays for it",
        days=_days(period.starts_at, period.ends_at, by_month=by_month),
        series=series,
        axis_format=money_axis(period.currency),
        axis=MONTHS if by_month else DAYS,
    )


def _days(start: datetime, end: datetime, *, by_month: bool) -> list[date]:
    first, last = start.astimezone(UTC).date(), (end.astimezone(UTC) - timedelta(microseconds=1)).date()
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return sorted({day.replace(day=1) for day in days}) if by_month else days


def _happenings(explained: Explanation, may: May) -> tuple[list[Happening], int]:
    """What happened, in order of time, the newest HAPPENINGS_MAX; and how many came before these."""
    period, charged, currency = explained.period, explained.charged, explained.period.currency
    told = [Happening(period.starts_at, "The period began", f"{period.terms}, its terms were frozen")]
    for run in explained.postings:
        change = f"{_signed(run.change.rated, currency)}, of it {_signed(run.change.unbilled, currency)} to invoice"
        text = f"{run.because}. {change}" if run.because else change
        tone = "waiting" if run.because else "good"
        entry_id = run.entry_id if may(SEES_ENTRY) else None
        title = f"Accrual {run.revision}"
        told.append(Happening(run.recorded_at, title, text, accrual_url(run.accrual_id), tone, entry_id))
    if period.ends_at <= clock.now():
        told.append(Happening(period.ends_at, "The period ended", ""))
    if charged is not None:
        url = page_url("billing.invoice", charged.invoice_id)
        told.append(Happening(charged.created_at, "The invoice was drafted", charged.invoice, url))
        if charged.finalized_at is not None:
            text = f"{minor_text(charged.minor, currency)} for this line"
            told.append(Happening(charged.finalized_at, "The invoice was finalised", text, url, "good"))
    told.sort(key=lambda one: one.at)
    return told[-HAPPENINGS_MAX:], max(len(told) - HAPPENINGS_MAX, 0)


def _signed(amount: Decimal, currency: str) -> str:
    return f"+{exact_text(amount, currency)}" if amount > 0 else exact_text(amount, currency)
