"""How long it takes until an event is counted, rated and posted, and what holds aggregation back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from config import clock
from config.bar_charts import Bars, bars
from metering import queries
from metering.admin.lists import ReadOnlyAdmin
from metering.freshness import RELATIVE_ERROR, STAGES, Lag, Stage
from metering.models import FreshnessCount
from metering.queries import LagAt
from metering.showing import NOTHING

DEFAULT_STAGE: Stage = "windowed"
SECONDS = {"maximumFractionDigits": 3, "minimumFractionDigits": 0}


@dataclass(frozen=True, slots=True)
class Span:
    """A time to look back on: how long, parted into what, and how a part is written."""

    title: str
    length: timedelta
    part: timedelta
    label: str


SPANS = {
    "hour": Span("Hour", timedelta(hours=1), timedelta(minutes=2), "%H:%M"),
    "day": Span("Day", timedelta(days=1), timedelta(hours=1), "%H:00"),
    "week": Span("Week", timedelta(days=7), timedelta(hours=6), "%d %b %H:00"),
    "quarter": Span("90 days", timedelta(days=90), timedelta(days=3), "%d %b"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of figures, as texts."""

    name: str
    stage: str
    events: int
    texts: tuple[str, str, str, str]


@admin.register(FreshnessCount)
class FreshnessCountAdmin(ReadOnlyAdmin):
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        now = clock.now()
        span_key = request.GET.get("span", "")
        span_key = span_key if span_key in SPANS else "day"
        stage: Stage = next((name for name in STAGES if name == request.GET.get("stage")), DEFAULT_STAGE)
        span = SPANS[span_key]
        start, end = _bounds(now, span)
        over_time = queries.lag_over_time(stage, start, end, span=span.part)
        context = {
            **self.admin_site.each_context(request),
            "title": "Lag",
            "opts": self.opts,
            "span_key": span_key,
            "spans": [(key, each.title) for key, each in SPANS.items()],
            "stage": stage,
            "stage_title": STAGES[stage],
            "stages": [
                Row(STAGES[name], name, lag.events, _texts(lag)) for name, lag in queries.lags(start, end).items()
            ],
            "chart": _chart(over_time, start, end, span),
            "parts": [
                Row(f"{at.start:{span.label}}", stage, at.lag.events, _texts(at.lag)) for at in reversed(over_time)
            ],
            "behind": _behind(now),
            "progress": queries.aggregation_progress(),
            "error_percent": round(RELATIVE_ERROR * 100),
        }
        return TemplateResponse(request, "admin/metering/lag.html", context)


def _bounds(now: datetime, span: Span) -> tuple[datetime, datetime]:
    """Whole parts, the last of them the one that is not over yet."""
    epoch = datetime.min.replace(tzinfo=now.tzinfo)
    begun = now - (now - epoch) % span.part
    return begun + span.part - span.length, begun + span.part


def _behind(now: datetime) -> str | None:
    through = queries.aggregated_through()
    return None if through == queries.NEVER else seconds_text(max((now - through).total_seconds(), 0.0))


def _chart(over_time: Sequence[LagAt], start: datetime, end: datetime, span: Span) -> Bars | None:
    if not over_time:
        return None
    found = {at.start: at.lag for at in over_time}
    parts = [start + span.part * number for number in range((end - start) // span.part)]
    nothing = Lag(0, None, None, None, None)
    lags = [found.get(part, nothing) for part in parts]
    series = {
        "half within": [_seconds(lag.p50) for lag in lags],
        "90 % within": [_seconds(lag.p90) for lag in lags],
        "99 % within": [_seconds(lag.p99) for lag in lags],
    }
    return bars([f"{part:{span.label}}" for part in parts], series, axis_format=SECONDS, stacked=False)


def _seconds(seconds: float | None) -> Decimal:
    return Decimal(0) if seconds is None else Decimal(f"{seconds:.6f}")


def _texts(lag: Lag) -> tuple[str, str, str, str]:
    return (seconds_text(lag.p50), seconds_text(lag.p90), seconds_text(lag.p99), seconds_text(lag.longest))


def seconds_text(seconds: float | None) -> str:
    """A duration as it is said: 250 ms, 12.5 s, 5 min, 3.0 h, 12.0 days."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
