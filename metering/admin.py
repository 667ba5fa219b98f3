"""Metering's pages: usage to read and search, and quarantined events to replay."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from config import clock
from metering import operations
from metering.admin_lists import MonthFilter, ReadOnlyAdmin, WindowMonthFilter
from metering.events import event_key
from metering.models import (
    AggregationAdvance,
    AggregationWindow,
    EventConflict,
    EventKey,
    ImportRun,
    Meter,
    QuarantinedEvent,
    UsageEvent,
)
from metering.windows import WINDOW

REPLAY_PERMISSION = "metering.replay_quarantinedevent"


@admin.register(Meter)
class MeterAdmin(ReadOnlyAdmin):
    list_display = ("code", "version", "event_type", "value_path", "aggregation", "dimensions", "unit", "active")
    list_filter = ("active", "event_type")
    search_fields = ("code", "event_type")
    ordering = ("code", "-version")
    fields = readonly_fields = list_display


@admin.register(UsageEvent)
class UsageEventAdmin(ReadOnlyAdmin):
    list_display = ("event_time", "customer", "event_type", "source", "event_id", "received_at")
    list_filter = (MonthFilter,)
    search_fields = ("=customer_key",)
    search_help_text = (
        "A customer key, or source and id with a space between: found at once. An id alone is looked for row by row: "
        "choose a month first."
    )
    ordering = ("-event_time",)
    sortable_by = ()
    fields = readonly_fields = (
        "event_time",
        "customer",
        "event_type",
        "source",
        "event_id",
        "data_text",
        "received_at",
        "key",
        "recorded_xid",
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[UsageEvent], search_term: str
    ) -> tuple[QuerySet[UsageEvent], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        of_customer = queryset.filter(customer_key=term)
        if of_customer.exists():
            return of_customer, False
        by_key = _keys_named(term)
        if by_key:
            return queryset.filter(by_key), False
        return queryset.filter(event_id=term), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> UsageEvent | None:
        """The event by its key. The key table knows its time, which leads to the one partition to look in."""
        named = _keys_named(object_id)
        return self.get_queryset(request).filter(named).first() if named else None


def _keys_named(text: str) -> Q | None:
    """Condition for the events whose key, or whose source and id, is this text; None when there are none."""
    words = text.split()
    keys = [event_key(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(1, len(words))]
    try:
        keys.append(UUID(text).hex)
    except ValueError:
        if not keys:
            return None
    found = EventKey.objects.filter(key__in=keys)
    conditions = [Q(event_time=row.event_time, key=row.key) for row in found]
    return Q(*conditions, _connector=Q.OR) if conditions else None


@admin.register(AggregationWindow)
class AggregationWindowAdmin(ReadOnlyAdmin):
    list_display = ("window_start", "customer", "meter", "dimensions", "quantity_text", "events")
    list_filter = (WindowMonthFilter, "meter__code")
    list_select_related = ("meter",)
    search_fields = ("=customer_key",)
    search_help_text = "A customer key"
    ordering = ("-window_start",)
    sortable_by = ()
    fields = readonly_fields = (
        "window_start",
        "customer",
        "meter",
        "dimensions",
        "quantity_text",
        "events",
        "fingerprint",
        "updated_at",
    )

    @display(description="Events")
    def events(self, window: AggregationWindow) -> str:
        """Their number, leading to the customer's events of that hour and type; the list does not tell dimensions."""
        filters = {
            "customer_key__exact": window.customer_key,
            "event_type__exact": window.meter.event_type,
            "event_time__gte": window.window_start.isoformat(),
            "event_time__lt": (window.window_start + WINDOW).isoformat(),
        }
        url = f"{reverse('admin:metering_usageevent_changelist')}?{urlencode(filters)}"
        return format_html('<a class="bb-link" href="{}">{}</a>', url, window.event_count)

    @display(description="Quantity")
    def quantity_text(self, window: AggregationWindow) -> str:
        whole, _, places = f"{window.quantity:,f}".partition(".")
        places = places.rstrip("0")
        return f"{whole}.{places} {window.meter.unit}" if places else f"{whole} {window.meter.unit}"


@admin.register(QuarantinedEvent)
class QuarantinedEventAdmin(ReadOnlyAdmin):
    list_display = ("received_at", "reason", "event_type", "customer", "source", "event_id", "event_time", "state")
    list_filter = ("reason", ("resolved_at", admin.EmptyFieldListFilter))
    search_fields = ("=customer_key", "=event_id")
    search_help_text = "A customer key or an event's id"
    ordering = ("-id",)
    actions = ("replay",)
    fields = readonly_fields = (
        "reason",
        "detail",
        "event_time",
        "customer",
        "event_type",
        "source",
        "event_id",
        "data_text",
        "received_at",
        "state",
        "resolved_at",
        "resolved_by",
    )

    @display(description="State", label={"Waiting": "warning", "Accepted": "success", "Conflict": "danger"})
    def state(self, event: QuarantinedEvent) -> str:
        return event.get_outcome_display() if event.resolved_at is not None else "Waiting"

    def has_replay_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm(REPLAY_PERMISSION)

    @admin.action(description="Replay", permissions=["replay"])
    def replay(self, request: HttpRequest, events: QuerySet[QuarantinedEvent]) -> None:
        result = operations.replay_quarantine(
            ids=list(events.values_list("id", flat=True)), actor=f"user:{request.user.get_username()}", now=clock.now()
        )
        taken = result.accepted + result.duplicates + result.conflicts
        if taken:
            text = f"{result.accepted} accepted, {result.duplicates} duplicates, {result.conflicts} conflicts."
            self.message_user(request, text, messages.SUCCESS)
        if result.waiting:
            self.message_user(request, f"{result.waiting} still cannot be counted; each says why.", messages.WARNING)


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


@admin.register(AggregationAdvance)
class AggregationAdvanceAdmin(ReadOnlyAdmin):
    list_display = (
        "advanced_at",
        "events",
        "events_without_meter",
        "pairs",
        "counted",
        "excluded_absent",
        "excluded_invalid",
        "windows",
    )
    ordering = ("-id",)
    sortable_by = ()
    fields = readonly_fields = (*list_display, "change_seq", "from_xid", "to_xid", "oldest_received_at")


@admin.register(ImportRun)
class ImportRunAdmin(ReadOnlyAdmin):
    list_display = (
        "file_name",
        "started_at",
        "done",
        "read",
        "accepted",
        "duplicates",
        "conflicts",
        "quarantined",
        "rejected",
    )
    search_fields = ("file_name",)
    ordering = ("-id",)
    fields = readonly_fields = (*list_display, "finished_at", "options", "shift_days", "file_bytes", "file_digest")

    @display(description="Done", label={"All of it": "success"})
    def done(self, run: ImportRun) -> Any:
        return "All of it" if run.finished_at is not None else f"{100 * run.byte_offset // run.file_bytes} %"
