"""The page of one event's cost: what it came to at each meter, who paid, and why it was their turn."""

import re
from dataclasses import dataclass

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from billing.admin_links import page_url
from billing.rating.explanation.as_text import event_text
from billing.rating.explanation.event_cost import costs_of_event
from billing.rating.explanation.links import period_url
from billing.rating.explanation.model import EventCost
from billing.rating.explanation.page import SEES_USAGE, nothing_page
from config import clock

KEY = re.compile(r"[0-9a-f]{32}", re.ASCII)
SEES_EVENT = "metering.view_usageevent"
STANDINGS = {
    "counted": ("Counted", "good"),
    "waiting": ("Waits for aggregation", "waiting"),
    "void": ("Void", "bad"),
    "unpriced": ("No price", "bad"),
    "no_period": ("No period", "bad"),
    "excluded": ("Not counted", "waiting"),
    "unknown": ("Not known", "bad"),
}


@dataclass(frozen=True, slots=True)
class CostCard:
    """What the event cost at one meter."""

    cost: EventCost
    word: str
    tone: str
    price_url: str
    period_url: str
    hour_url: str


def event_view(request: HttpRequest, key: str) -> HttpResponse:
    """The page, for who may see events and what they cost."""
    may = request.user.has_perm
    if request.method not in ("GET", "HEAD") or not (may(SEES_USAGE) and may(SEES_EVENT)):
        raise PermissionDenied
    costs = costs_of_event(key, now=clock.now()) if KEY.fullmatch(key) else None
    if costs is None:
        return nothing_page(
            request, "No event with this key is kept here: it was never accepted, or its month lies in the archive."
        )
    api = reverse("billing-api:event-cost", args=[key])
    context = {
        **admin.site.each_context(request),
        "title": "What this event cost",
        "life_url": page_url("metering.usageevent", key),
        "cards": [_card(cost) for cost in costs],
        "text": event_text(costs),
        "json_url": api,
        "text_url": f"{api}?as=text",
    }
    return TemplateResponse(request, "admin/billing/explanation/event.html", context)


def _card(cost: EventCost) -> CostCard:
    word, tone = STANDINGS[cost.standing]
    price = page_url("billing.rate", cost.price.rate_id) if cost.price is not None else ""
    period = period_url(cost.period.id) if cost.period is not None else ""
    return CostCard(cost, word, tone, price, period, _hour_url(cost))


def _hour_url(cost: EventCost) -> str:
    if cost.price is None or cost.period is None or cost.standing != "counted":
        return ""
    day = reverse("explanations:day", args=[cost.period.id, cost.price.rate_id, f"{cost.event_time:%Y-%m-%d}"])
    return f"{day}?hour={cost.event_time.hour}#events"
