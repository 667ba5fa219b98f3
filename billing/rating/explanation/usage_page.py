"""The windows of one price on one day, with what each came to; and the events of one of them, each with its cost."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from billing.admin_links import list_url
from billing.rating.explanation import facts
from billing.rating.explanation.event_cost import EventCosts
from billing.rating.explanation.gather import NothingToExplain, explain_day
from billing.rating.explanation.links import event_url
from billing.rating.explanation.model import Slice
from billing.rating.explanation.page import SEES_USAGE, nothing_page
from billing.rating.explanation.shared import SharedEvent
from billing.rating.rating import RatingError
from billing.subscriptions.models import BillingPeriod
from config import clock
from metering.queries import EventsArchived

SEES_EVENTS = "metering.view_usageevent"
EVENTS_MAX = 200
_DAY = "%Y-%m-%d"


@dataclass(frozen=True, slots=True)
class HourRow:
    """A window, where its events are shared out below, and where they are listed."""

    slice: Slice
    shares_url: str
    events_url: str


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event of the hour that is open, with its share."""

    shared: SharedEvent
    url: str


def day_view(request: HttpRequest, number: int, rate: int, day: str) -> HttpResponse:
    """The page of a day (UTC, such as 2026-10-04). `?hour=7` shows the events of that hour."""
    may = request.user.has_perm
    if request.method not in ("GET", "HEAD") or not may(SEES_USAGE):
        raise PermissionDenied
    period, start = facts.find_period(number), _day(day)
    versions = facts.price_versions([rate])
    if period is None or start is None or rate not in versions:
        return nothing_page(request, "There is no such day of this price and period. Open it from an explanation.")
    now = clock.now()
    try:
        hours = explain_day(period.pk, rate, start, now=now)
        hour = _hour(request.GET.get("hour", ""), start)
        events = _events(period, rate, hour, now=now) if hour is not None and may(SEES_EVENTS) else None
    except (NothingToExplain, RatingError, EventsArchived) as error:
        return nothing_page(request, f"This day cannot be computed again: {error}", status=422)
    context = {
        **admin.site.each_context(request),
        "title": f"{start:%d %b %Y}",
        "period": facts.period_facts(period),
        "currency": period.plan_version.currency,
        "price": versions[rate],
        "rows": [_row(one, period, versions[rate].meter_code, may(SEES_EVENTS)) for one in hours],
        "hour": hour,
        **_shown(events),
    }
    return TemplateResponse(request, "admin/billing/explanation/day.html", context)


def _day(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, _DAY).replace(tzinfo=UTC)
    except ValueError:
        return None


def _hour(text: str, day: datetime) -> datetime | None:
    """The start of the hour that is asked for; what is no hour of a day asks for none."""
    is_hour = text.isascii() and text.isdecimal() and len(text) <= 2 and int(text) < 24
    return day + timedelta(hours=int(text)) if is_hour else None


def _events(period: BillingPeriod, rate_id: int, hour: datetime, *, now: datetime) -> list[SharedEvent]:
    return list(EventCosts(now=now).of_hour(period, rate_id, hour))


def _row(one: Slice, period: BillingPeriod, meter_code: str, sees_events: bool) -> HourRow:
    if not sees_events or not one.usage.windows:
        return HourRow(one, "", "")
    start = one.at.replace(minute=0, second=0, microsecond=0)
    span = {"from": f"{start:%Y-%m-%d %H:%M}", "before": f"{start + timedelta(hours=1):%Y-%m-%d %H:%M}", "zone": "UTC"}
    events = list_url(
        "metering.usageevent", customer=period.subscription.customer.customer_key, meter=meter_code, **span
    )
    return HourRow(one, f"?{urlencode({'hour': one.at.hour})}#events", events)


def _shown(events: list[SharedEvent] | None) -> dict[str, Any]:
    if events is None:
        return {"events": None}
    rows = [EventRow(one, event_url(one.event.key)) for one in events[:EVENTS_MAX]]
    return {"events": rows, "event_count": len(events), "left_out": max(len(events) - EVENTS_MAX, 0)}
