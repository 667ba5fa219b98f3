"""Events to search, newest first, and of each its life; and conflicts to read."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import display

from metering import queries, showing
from metering.admin.asking import SpanForm, asked_of, choice_field, keep_zone, text_field
from metering.admin.event_life import life_view
from metering.admin.lists import MonthFilter, ReadOnlyAdmin
from metering.events import TEXT_LIMITS
from metering.models import (
    EventConflict,
    Meter,
    UsageEvent,
)

EVENTS_A_PAGE = 50
VIEW_PERMISSION = "metering.view_usageevent"
_BIGINT_DIGITS = 18


class EventSearchForm(SpanForm):
    customer = text_field("Customer", placeholder="acme", max_length=TEXT_LIMITS["subject"])
    source = text_field("Source", placeholder="edge/us-east-1", max_length=TEXT_LIMITS["source"])
    id = text_field("Event id", max_length=TEXT_LIMITS["id"])
    type = text_field("Type", placeholder="llm.request", max_length=TEXT_LIMITS["type"])
    window = forms.CharField(required=False, max_length=_BIGINT_DIGITS, widget=forms.HiddenInput)
    field_order = ("customer", "source", "id", "type", "meter", "state", "from", "before", "zone")

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        codes = Meter.objects.order_by("code").values_list("code", flat=True).distinct()
        self.fields["meter"] = choice_field(
            "Counted by meter", [("", "Any, or none"), *((code, code) for code in codes)]
        )
        states = [("", "Any"), *((state, word) for state, (word, _) in showing.STATES.items())]
        self.fields["state"] = choice_field("State", states)
        self.order_fields(self.field_order)

    def clean_window(self) -> int | None:
        text = self.cleaned_data["window"]
        if text and not (text.isascii() and text.isdecimal()):
            raise forms.ValidationError("There is no such window. Open its events from the window's page.")
        return int(text) if text else None

    def wanted(self) -> queries.EventFilter:
        """What is asked for. Only of a form that is valid."""
        asked = self.cleaned_data
        return queries.EventFilter(
            customer_key=asked["customer"].strip(),
            event_type=asked["type"].strip(),
            source=asked["source"],
            event_id=asked["id"],
            meter_code=asked["meter"],
            start=asked["start"],
            end=asked["end"],
            state=asked["state"] or None,
            window_id=asked["window"],
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """A page of events, or why there is none; `remedy` says what to add to a search that looks through everything."""

    page: queries.EventPage
    window: Any = None
    problem: str = ""
    remedy: str = ""


_NOTHING = queries.EventPage((), None, None)


def search(form: EventSearchForm, after: str) -> _Found:
    if not form.is_valid():
        return _Found(_NOTHING, problem="This cannot be searched for; each field says why.")
    wanted = form.wanted()
    try:
        window = None if wanted.window_id is None else queries.find_window(wanted.window_id)
        page = queries.find_events(wanted, limit=EVENTS_A_PAGE, after=_place(after))
    except queries.UnknownWindow as error:
        return _Found(_NOTHING, problem=str(error))
    return _Found(page, window=window, remedy=_remedy(wanted) if page.looked_back_to is not None else "")


def _remedy(wanted: queries.EventFilter) -> str:
    """What would let an index lead to the events, in a search that had to look at one after another."""
    if wanted.event_id and not wanted.source:
        return "An id is found at once when its source is given too."
    missing = []
    if not wanted.customer_key:
        missing.append("a customer")
    if wanted.start is None or wanted.end is None:
        missing.append("a span of time (from and before)")
    return f"Add {' and '.join(missing)} to find it sooner." if missing else "Choose a shorter span to find it sooner."


def _place(text: str) -> queries.EventPlace | None:
    """A place that cannot be read is none: it was not written by this page."""
    at, _, key = text.partition("_")
    try:
        place = queries.EventPlace(datetime.fromisoformat(at), f"{int(key, 16):032x}")
    except ValueError:
        return None
    return place if place.event_time.tzinfo is not None and len(key) == len(place.key) else None


def next_query(asked: QueryDict, page: queries.EventPage) -> str:
    if page.next is None:
        return ""
    following = {name: value for name, value in asked.items() if value and name != "after"}
    return urlencode({**following, "after": f"{page.next.event_time.isoformat()}_{page.next.key}"})


@admin.register(UsageEvent)
class UsageEventAdmin(ReadOnlyAdmin):
    """The list is a search of its own: Django's would count, and sort what no index sorts."""

    fields = ("key",)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = asked_of(request)
        form = EventSearchForm(asked)
        found = search(form, asked.get("after", ""))
        keep_zone(request, form)
        context = {
            **admin.site.each_context(request),
            "title": "Events",
            "form": form,
            "clear": reverse("admin:metering_usageevent_changelist"),
            "found": found,
            "rows": found.page.rows,
            "zone": form.zone,
            "is_continued": bool(asked.get("after")),
            "first": urlencode({name: value for name, value in asked.items() if value and name != "after"}),
            "next": next_query(asked, found.page),
            **(extra_context or {}),
        }
        status = 422 if found.problem else 200
        return TemplateResponse(request, "admin/metering/events.html", context, status=status)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request) or request.method != "GET":
            raise PermissionDenied
        return life_view(request, object_id)


@admin.register(EventConflict)
class EventConflictAdmin(ReadOnlyAdmin):
    list_display = ("received_at", "customer", "source", "event_id", "event_time", "first_event_time")
    list_filter = (MonthFilter,)
    search_fields = ("=customer_key", "=event_id")
    search_help_text = "A customer key or an event's id"
    ordering = ("-id",)
    fields = readonly_fields = (
        "source",
        "event_id",
        "customer",
        "event_type",
        "event_time",
        "data_text",
        "received_at",
        "first_event_time",
        "first_data",
    )

    @display(description="Data of the event that counts")
    def first_data(self, conflict: EventConflict) -> str:
        first = UsageEvent.objects.filter(event_time=conflict.first_event_time, key=conflict.key).first()
        return self.data_text(first) if first is not None else "–"
