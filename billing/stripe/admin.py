"""What Stripe told us and what we told Stripe, to read; and processing a failed event again."""

import json
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.views.decorators.http import require_POST
from unfold.decorators import display

from billing.admin_links import NOTHING, page_url
from billing.read_only_admin import ReadOnlyAdmin
from billing.stripe import inbox, mirror_admin
from billing.stripe.models import InboxEvent, OutboxIntent
from config import clock

__all__ = ["InboxEventAdmin", "OutboxIntentAdmin", "mirror_admin"]

PROCESS_PERMISSION = "billing.process_inboxevent"
STATE_COLOURS = {
    InboxEvent.State.DONE.label: "success",
    InboxEvent.State.FAILED.label: "danger",
    InboxEvent.State.DEAD.label: "danger",
    InboxEvent.State.PROCESSING.label: "info",
    OutboxIntent.State.SUCCEEDED.label: "success",
    OutboxIntent.State.REFUSED.label: "danger",
    OutboxIntent.State.INTENDED.label: "warning",
}


def _pretty(document: Any) -> str:
    """A JSON document as text with line breaks, escaped."""
    return format_html(
        '<pre class="bb-json">{}</pre>', json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    )


@admin.register(InboxEvent)
class InboxEventAdmin(ReadOnlyAdmin):
    list_display = ("type", "event_id", "object_id", "state_label", "attempts", "source", "received_at", "processed_at")
    # Not by type: the choices of such a filter are read by going through the whole table.
    list_filter = ("state",)
    search_fields = ("=event_id", "=object_id", "=type")
    search_help_text = "Id of an event or of the object it is about, or a type such as invoice.paid"
    linked_by = frozenset({"state__in", "object_id__exact"})
    actions = ("process_again",)
    change_form_outer_before_template = "admin/billing/inboxevent/process_again.html"
    fields = (
        "type",
        "event_id",
        "object_id",
        "state_label",
        "error_text",
        "attempts",
        "deliveries",
        "source",
        "stripe_created_at",
        "received_at",
        "next_attempt_at",
        "processed_at",
        "mirrored_at",
        "api_version",
        "mode",
        "payload_text",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[InboxEvent]:
        found: QuerySet[InboxEvent] = super().get_queryset(request)
        # Payloads are large; only the page of one event shows its own.
        return (
            found if request.resolver_match and "object_id" in request.resolver_match.kwargs else found.defer("payload")
        )

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_label(self, event: InboxEvent) -> str:
        return event.get_state_display()

    @display(description="Mode")
    def mode(self, event: InboxEvent) -> str:
        return "live" if event.livemode else "test"

    @display(description="Error")
    def error_text(self, event: InboxEvent) -> str:
        return format_html('<pre class="bb-json">{}</pre>', event.error) if event.error else NOTHING

    @display(description="Payload, as received")
    def payload_text(self, event: InboxEvent) -> str:
        return _pretty(event.payload)

    def get_urls(self) -> list[URLPattern]:
        again = path(
            "<str:event_id>/process-again/",
            self.admin_site.admin_view(require_POST(self.process_again_view)),
            name="billing_inboxevent_process_again",
        )
        return [again, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        may_process = self.has_process_permission(request)
        extra_context = {**(extra_context or {}), "may_process": may_process, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def has_process_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(PROCESS_PERMISSION)

    @admin.action(description="Process again", permissions=["process"])
    def process_again(self, request: HttpRequest, events: QuerySet[InboxEvent]) -> None:
        self._replay(request, list(events))

    def process_again_view(self, request: HttpRequest, event_id: str) -> HttpResponse:
        if not self.has_process_permission(request):
            raise PermissionDenied
        event = InboxEvent.objects.filter(pk=event_id).first()
        if event is None:
            raise Http404("There is no such event.")
        self._replay(request, [event])
        return HttpResponseRedirect(page_url("billing.inboxevent", event.pk))

    def _replay(self, request: HttpRequest, events: list[InboxEvent]) -> None:
        """Put them back into the queue. The sweeper takes them up: the page never waits for Stripe."""
        with transaction.atomic():
            count = inbox.replay(event_ids=[event.pk for event in events], now=clock.now())
            for event in events:
                self.log_change(request, event, "Asked to be processed again")
        skipped = len(events) - count
        if count:
            self.message_user(request, f"{count} waiting to be processed again within seconds.", messages.SUCCESS)
        if skipped:
            self.message_user(request, f"{skipped} left alone: neither failed nor set aside.", messages.WARNING)


@admin.register(OutboxIntent)
class OutboxIntentAdmin(ReadOnlyAdmin):
    list_display = ("purpose", "operation", "state_label", "attempts", "stripe_object_id", "created_at", "finished_at")
    list_filter = ("state",)
    search_fields = ("=purpose", "=operation", "=target", "=stripe_object_id", "=request_id")
    search_help_text = "A purpose, an operation, or an id at Stripe"
    fields = (
        "purpose",
        "operation",
        "target",
        "state_label",
        "error",
        "attempts",
        "created_at",
        "first_sent_at",
        "finished_at",
        "stripe_object_id",
        "request_id",
        "params_text",
    )

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_label(self, intent: OutboxIntent) -> str:
        return intent.get_state_display()

    @display(description="Request")
    def params_text(self, intent: OutboxIntent) -> str:
        return _pretty(intent.params)
