"""Quarantined events, to read and replay."""

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from config import clock
from metering import operations
from metering.admin.lists import ReadOnlyAdmin
from metering.models import (
    QuarantinedEvent,
)

REPLAY_PERMISSION = "metering.replay_quarantinedevent"


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
