"""What Stripe told us, to read; an object's timeline; and trying events again."""

import json
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.decorators import display

from billing.admin_links import NOTHING, link
from billing.read_only_admin import ReadOnlyAdmin
from billing.stripe import mirror_admin, poll_admin, replay_admin
from billing.stripe.models import InboxEvent
from billing.stripe.object_timeline import timeline_of
from billing.stripe.outbox_admin import OutboxIntentAdmin
from billing.stripe.replay_admin import PROCESS_PERMISSION

__all__ = ["InboxEventAdmin", "OutboxIntentAdmin", "mirror_admin", "poll_admin", "replay_admin"]

OBJECT_ID_CHARS_MAX = 255
STATE_COLOURS = {
    InboxEvent.State.DONE.label: "success",
    InboxEvent.State.FAILED.label: "danger",
    InboxEvent.State.DEAD.label: "danger",
    InboxEvent.State.PROCESSING.label: "info",
}


def _pretty(document: Any) -> str:
    """A JSON document as text with line breaks, escaped."""
    return format_html(
        '<pre class="bb-json">{}</pre>', json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    )


@admin.register(InboxEvent)
class InboxEventAdmin(ReadOnlyAdmin):
    # What is asked for first stands first: on most screens the last columns are reached by scrolling.
    list_display = ("type", "state_label", "object_id", "received_at", "attempts", "source", "processed_at", "event_id")
    # Not by type: the choices of such a filter are read by going through the whole table.
    list_filter = ("state",)
    search_fields = ("=event_id", "=object_id", "=type")
    search_help_text = "Id of an event or of the object it is about, or a type such as invoice.paid"
    linked_by = frozenset({"state__in", "object_id__exact", "source__exact", "received_at__gte", "received_at__lt"})
    actions = ("process_again",)
    list_before_template = "admin/billing/inboxevent/before_list.html"
    change_form_outer_before_template = "admin/billing/inboxevent/process_again.html"
    fields = (
        "type",
        "event_id",
        "object_link",
        "state_label",
        "outcome_text",
        "error_text",
        "attempts",
        "strikes",
        "failed_attempts",
        "replayed",
        "deliveries",
        "last_delivered_at",
        "source",
        "stripe_created_at",
        "received_at",
        "next_attempt",
        "processed_at",
        "mirrored_at",
        "api_version",
        "mode",
        "detail_text",
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

    @display(description="Next attempt")
    def next_attempt(self, event: InboxEvent) -> str:
        """While it is in work, when its lease ends; of one that is done there is none."""
        if event.state in (InboxEvent.State.DONE, InboxEvent.State.DEAD) or event.next_attempt_at is None:
            return NOTHING
        return f"{event.next_attempt_at:%d %b %Y %H:%M} UTC"

    @display(description="Mode")
    def mode(self, event: InboxEvent) -> str:
        return "live" if event.livemode else "test"

    @display(description="Error")
    def error_text(self, event: InboxEvent) -> str:
        return format_html('<pre class="bb-json">{}</pre>', event.error) if event.error else NOTHING

    @display(description="Object")
    def object_link(self, event: InboxEvent) -> str:
        if not event.object_id:
            return NOTHING
        return link(reverse("admin:billing_inboxevent_object", args=[event.object_id]), event.object_id)

    @display(description="What was done")
    def outcome_text(self, event: InboxEvent) -> str:
        return event.get_outcome_display() or NOTHING

    @display(description="Failed attempts")
    def failed_attempts(self, event: InboxEvent) -> str:
        return replay_admin.failures_text(event)

    @display(description="Tried again by people")
    def replayed(self, event: InboxEvent) -> str:
        return replay_admin.replays_text(event)

    @display(description="What was fetched for it")
    def detail_text(self, event: InboxEvent) -> str:
        return _pretty(event.detail) if event.detail is not None else NOTHING

    @display(description="Payload, as received")
    def payload_text(self, event: InboxEvent) -> str:
        if event.payload_dropped_at is not None:
            return f"Dropped {event.payload_dropped_at:%d %b %Y}: it was done long ago. Stripe has the object itself."
        return _pretty(event.payload)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("replay/", view(partial(replay_admin.replay_view, self)), name="billing_inboxevent_replay"),
            path("object/<path:object_id>/", view(self.object_view), name="billing_inboxevent_object"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        extra_context = {**(extra_context or {}), "may_process": self.has_process_permission(request)}
        response: HttpResponse = super().changelist_view(request, extra_context)
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        may_process = self.has_process_permission(request)
        extra_context = {**(extra_context or {}), "may_process": may_process, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def has_process_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(PROCESS_PERMISSION)

    @admin.action(description="Try again", permissions=["process"])
    def process_again(self, request: HttpRequest, events: QuerySet[InboxEvent]) -> HttpResponse:
        """Leads to the page that shows what would be tried again and asks why."""
        return HttpResponseRedirect(replay_admin.chosen_url(events))

    def object_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """All about one object at Stripe. It need not be one that we know."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if "\x00" in object_id or len(object_id) > OBJECT_ID_CHARS_MAX:
            raise Http404("No object at Stripe has such an id.")
        timeline = timeline_of(object_id, may=request.user.has_perm)
        context = {
            **self.admin_site.each_context(request),
            "title": object_id,
            "timeline": timeline,
            "may_process": self.has_process_permission(request),
            "may_mirror": request.user.has_perm("billing.view_mirror"),
            "mirror_text": _pretty(timeline.mirrored.stripe_data) if timeline.mirrored is not None else "",
        }
        return TemplateResponse(request, "admin/billing/inboxevent/object.html", context)
