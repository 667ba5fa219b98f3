"""Events to read and search, and conflicts."""

from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from metering.admin.lists import MonthFilter, ReadOnlyAdmin
from metering.events import event_key
from metering.models import (
    EventConflict,
    EventKey,
    UsageEvent,
)


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
