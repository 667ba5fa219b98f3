"""Quarantined events: what waits and why, replayed once they can be counted, or dismissed for good."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from config import clock
from metering import operations
from metering.admin.lists import ReadOnlyAdmin
from metering.events import TEXT_LIMITS
from metering.models import (
    QuarantinedEvent,
    Subject,
)
from metering.operations import QuarantineFilter
from metering.operations.quarantine import waiting_events
from metering.queries.quarantine import quarantine_causes
from metering.tasks import task_replay_quarantine

REPLAY_PERMISSION = "metering.replay_quarantinedevent"
DISMISS_PERMISSION = "metering.dismiss_quarantinedevent"
AT_ONCE = 5_000
MAX_TICKED = 1_000
LIST = "admin:metering_quarantinedevent_changelist"
# What lets events of a reason through, and the page to do it on.
REMEDIES: dict[str, tuple[str, str]] = {
    QuarantinedEvent.UNKNOWN_TYPE: (
        "Define a meter that takes this type, or have the producer correct it; then replay.",
        "admin:metering_meter_changelist",
    ),
    QuarantinedEvent.UNKNOWN_SUBJECT: (
        "Create the customer with this key in billing, which registers it here; then replay.",
        "",
    ),
    QuarantinedEvent.REFUSED_ON_REPLAY: (
        "These can never be counted as they are; each says why. Have them sent again corrected, and dismiss these.",
        "",
    ),
}


class DismissForm(forms.Form):
    reason = forms.CharField(
        label="Why will they never be counted?",
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="They stay on record with this. One that is sent again stays dismissed.",
    )


@admin.register(QuarantinedEvent)
class QuarantinedEventAdmin(ReadOnlyAdmin):
    list_display = ("received_at", "reason", "event_type", "customer", "source", "event_id", "event_time", "state")
    list_filter = ("reason", ("resolved_at", admin.EmptyFieldListFilter))
    search_fields = ("=customer_key", "=event_id", "=source", "=event_type")
    search_help_text = "A customer key, an event's id, a source or a type"
    list_before_template = "admin/metering/quarantine/before_list.html"
    ordering = ("-id",)
    actions = ("replay", "dismiss")
    fields = readonly_fields = (
        "reason",
        "detail",
        "remedy",
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
        "dismissed_because",
    )

    @display(
        description="State",
        label={"Waiting": "warning", "Accepted": "success", "Conflict": "danger", "Dismissed": "info"},
    )
    def state(self, event: QuarantinedEvent) -> str:
        return event.get_outcome_display() if event.resolved_at is not None else "Waiting"

    def get_queryset(self, request: HttpRequest) -> QuerySet[QuarantinedEvent]:
        found: QuerySet[QuarantinedEvent] = super().get_queryset(request)
        return found.annotate(is_known=Exists(Subject.objects.filter(customer_key=OuterRef("customer_key"))))

    @display(description="Customer")
    def customer(self, row: Any) -> str:
        """Nobody has a page whose key nobody registered: most of these wait for just that."""
        text: str = super().customer(row) if row.is_known else row.customer_key
        return text

    @display(description="Remedy")
    def remedy(self, event: QuarantinedEvent) -> str:
        return "–" if event.resolved_at is not None else REMEDIES[event.reason][0]

    def get_urls(self) -> list[URLPattern]:
        def view(route: str, function: Callable[..., HttpResponse]) -> URLPattern:
            name = f"metering_quarantinedevent_{route.rstrip('/').replace('-', '_')}"
            found: URLPattern = path(route, self.admin_site.admin_view(function), name=name)
            return found

        return [view("replay-all/", self.replay_all_view), view("dismiss/", self.dismiss_view), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = {
            "causes": [
                {
                    "cause": cause,
                    "reason": dict(QuarantinedEvent.REASONS)[cause.reason],
                    "remedy": REMEDIES[cause.reason][0],
                    "remedy_url": reverse(REMEDIES[cause.reason][1]) if REMEDIES[cause.reason][1] else "",
                    "query": urlencode(
                        {"reason": cause.reason, "event_type": cause.event_type, "source": cause.source}
                    ),
                }
                for cause in quarantine_causes()
            ],
            "may_replay": self.has_replay_permission(request),
            "may_dismiss": self.has_dismiss_permission(request),
        }
        response: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **shown})
        return response

    def has_replay_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm(REPLAY_PERMISSION)

    def has_dismiss_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm(DISMISS_PERMISSION)

    @admin.action(description="Replay", permissions=["replay"])
    def replay(self, request: HttpRequest, events: QuerySet[QuarantinedEvent]) -> None:
        self._replay(request, list(events.values_list("id", flat=True)))

    @admin.action(description="Dismiss", permissions=["dismiss"])
    def dismiss(self, request: HttpRequest, events: QuerySet[QuarantinedEvent]) -> HttpResponse | None:
        ids = list(events.order_by("id").values_list("id", flat=True)[: MAX_TICKED + 1])
        if len(ids) > MAX_TICKED:
            text = f"At most {MAX_TICKED:,} ticked events at a time. Dismiss a whole cause at the top instead."
            self.message_user(request, text, messages.ERROR)
            return None
        address = reverse("admin:metering_quarantinedevent_dismiss")
        return HttpResponseRedirect(f"{address}?{urlencode({'ids': ','.join(map(str, ids))})}")

    def replay_all_view(self, request: HttpRequest) -> HttpResponse:
        """Replay every waiting event that fits, not only those on the page: at once, or in the background if many."""
        if request.method != "POST" or not self.has_replay_permission(request):
            raise PermissionDenied
        chosen = _filter_of(request)
        waiting = waiting_events(chosen).count()
        if waiting <= AT_ONCE:
            self._replay(request, chosen)
        else:
            task_replay_quarantine.delay(**asdict(chosen), actor=_actor(request))
            text = f"{waiting:,} events are being replayed in the background. The counts below go down as it goes on."
            self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(reverse(LIST))

    def dismiss_view(self, request: HttpRequest) -> HttpResponse:
        """Ask why, then dismiss the ticked events, or all of a cause."""
        if not self.has_dismiss_permission(request):
            raise PermissionDenied
        ids = _ids_of(request)
        chosen: list[int] | QuarantineFilter = ids if ids is not None else _filter_of(request)
        form = DismissForm(request.POST or None)
        if form.is_valid():
            try:
                dismissed = operations.dismiss_quarantine(
                    ids=chosen, reason=form.cleaned_data["reason"], actor=_actor(request), now=clock.now()
                )
            except operations.NotDismissed as refusal:
                form.add_error("reason", str(refusal))
            else:
                self.message_user(request, f"{dismissed:,} dismissed; they stay on record.", messages.SUCCESS)
                return HttpResponseRedirect(reverse(LIST))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.model._meta,
            "title": "Dismiss quarantined events",
            "form": form,
            "waiting": waiting_events(chosen).count(),
            "chosen": chosen if isinstance(chosen, QuarantineFilter) else None,
            "list_url": reverse(LIST),
        }
        status = 422 if form.is_bound else 200
        return TemplateResponse(request, "admin/metering/quarantine/dismiss.html", context, status=status)

    def _replay(self, request: HttpRequest, chosen: list[int] | QuarantineFilter) -> None:
        result = operations.replay_quarantine(ids=chosen, actor=_actor(request), now=clock.now())
        taken = result.accepted + result.duplicates + result.conflicts
        if taken:
            text = f"{result.accepted} accepted, {result.duplicates} duplicates, {result.conflicts} conflicts."
            self.message_user(request, text, messages.SUCCESS)
        if result.waiting:
            self.message_user(request, f"{result.waiting} still cannot be counted; each says why.", messages.WARNING)


def _actor(request: HttpRequest) -> str:
    return f"user:{request.user.get_username()}"


def _filter_of(request: HttpRequest) -> QuarantineFilter:
    """The cause that the address names; what it leaves out leaves nothing out."""
    limits = {"reason": 32, "event_type": TEXT_LIMITS["type"], "source": TEXT_LIMITS["source"]}
    named = {name: request.GET.get(name, "").replace("\x00", "")[:limit] for name, limit in limits.items()}
    return QuarantineFilter(**named)


def _ids_of(request: HttpRequest) -> list[int] | None:
    """The ticked events that the address names; None where it names none."""
    if "ids" not in request.GET:
        return None
    texts = request.GET["ids"].split(",")[:MAX_TICKED]
    return [int(text) for text in texts if text.isascii() and text.isdecimal() and len(text) <= 18]
