"""Trying events again from the admin: which they are is shown first, then a reason is asked for."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html_join
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from billing.admin_links import NOTHING, link, list_url, page_link, page_url
from billing.read_only_admin import ReadOnlyAdmin, ReadOnlyInline
from billing.stripe import replaying
from billing.stripe.inbox_models import InboxFailure, InboxReplay, InboxReplayedEvent
from billing.stripe.models import InboxEvent
from billing.stripe.replaying import REASON_CHARS_MAX, ReplayRefused, ReplayScope
from config import clock

PROCESS_PERMISSION = "billing.process_inboxevent"
EVENTS_CHOSEN_MAX = 1000


class ReplayForm(forms.Form):
    """What to try again, and why."""

    object_id = forms.CharField(
        required=False, max_length=255, label="About the object", widget=UnfoldAdminTextInputWidget
    )
    type = forms.CharField(
        required=False,
        max_length=100,
        label="Of the type",
        help_text="Such as invoice.paid, or its beginning, such as invoice.",
        widget=UnfoldAdminTextInputWidget,
    )
    error = forms.CharField(
        required=False, max_length=500, label="With this in their error", widget=UnfoldAdminTextInputWidget
    )
    done = forms.BooleanField(required=False, label="Also those that are done", widget=UnfoldBooleanWidget)
    reason = forms.CharField(
        required=False,
        max_length=REASON_CHARS_MAX,
        label="Why",
        help_text="What was mended, or what is to be found out.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
    )


def _scope(form: ReplayForm, event_ids: tuple[str, ...]) -> ReplayScope:
    """What the form asks for. Done events are tried again by name, or where their object or type is named."""
    if event_ids:
        return ReplayScope(event_ids=event_ids, states=replaying.REPLAYABLE)
    asked = form.cleaned_data
    with_done = asked["done"] and (asked["object_id"] or asked["type"])
    states = replaying.REPLAYABLE if with_done else ReplayScope.states_of_failures()
    return ReplayScope(
        object_id=asked["object_id"].strip(), type=asked["type"].strip(" ."), error=asked["error"], states=states
    )


def replay_view(model_admin: "admin.ModelAdmin[Any]", request: HttpRequest) -> HttpResponse:
    """Show what would be tried again (GET, or POST with an error), then do it (POST)."""
    if not request.user.has_perm(PROCESS_PERMISSION):
        raise PermissionDenied
    asked = request.POST if request.method == "POST" else request.GET
    event_ids = tuple(dict.fromkeys(asked.getlist("event")[:EVENTS_CHOSEN_MAX]))
    form = ReplayForm(asked)
    is_valid = form.is_valid()
    scope = _scope(form, event_ids) if is_valid else ReplayScope(event_ids=("",))
    if request.method == "POST" and is_valid:
        replay = _replay(model_admin, request, form, scope)
        if replay is not None:
            return HttpResponseRedirect(page_url("billing.inboxreplay", replay.pk))
    preview, labels = replaying.preview(scope), dict(InboxEvent.State.choices)
    fields = [(name, asked.get(name, "")) for name in ("object_id", "type", "error", "done")]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Try events again",
        "form": form,
        "ids": event_ids,
        "hidden": [*(("event", one) for one in event_ids), *((name, value) for name, value in fields if value)],
        "problems": [text for errors in form.errors.values() for text in errors],
        "preview": preview,
        "by_type": [(kind, labels.get(state, state), number) for kind, state, number in preview.by_type],
        "cancel_url": list_url("billing.inboxevent"),
    }
    status = 422 if request.method == "POST" else 200
    return TemplateResponse(request, "admin/billing/inboxevent/replay.html", context, status=status)


def _replay(
    model_admin: "admin.ModelAdmin[Any]", request: HttpRequest, form: ReplayForm, scope: ReplayScope
) -> InboxReplay | None:
    """None when it was refused: why is then on the form. The sweeper takes them up; the page waits for nobody."""
    try:
        with transaction.atomic():
            replay = replaying.replay(
                scope=scope,
                reason=form.cleaned_data["reason"],
                actor=f"user:{request.user.get_username()}",
                now=clock.now(),
            )
            model_admin.log_change(request, replay, f"{replay.chosen} put back into the queue: {replay.reason}")
    except ReplayRefused as refused:
        form.add_error("reason" if refused.field == "reason" else None, str(refused))
        return None
    model_admin.message_user(request, f"{replay.chosen} waiting to be processed again within seconds.")
    return replay


def chosen_url(events: Any) -> str:
    """The page that shows and asks, for events chosen in the list."""
    ids = list(events.values_list("pk", flat=True)[:EVENTS_CHOSEN_MAX])
    return f"{reverse('admin:billing_inboxevent_replay')}?{urlencode([('event', one) for one in ids])}"


class ReplayedEventInline(ReadOnlyInline):
    model = InboxReplayedEvent
    verbose_name_plural = "events"
    fields = ("event_link", "before", "error_before", "now_is", "error_now")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("event").defer("event__payload", "event__detail")

    @display(description="Event")
    def event_link(self, one: InboxReplayedEvent) -> str:
        return page_link("billing.inboxevent", one.event_id, f"{one.event.type} {one.event_id}")

    @display(description="Before")
    def before(self, one: InboxReplayedEvent) -> str:
        return f"{one.get_state_before_display()}, {one.attempts_before} attempts"

    @display(description="Now")
    def now_is(self, one: InboxReplayedEvent) -> str:
        state = one.event.get_state_display()
        return f"{state}: {one.event.get_outcome_display()}" if one.event.outcome else state

    @display(description="Error now")
    def error_now(self, one: InboxReplayedEvent) -> str:
        return one.event.error or NOTHING


@admin.register(InboxReplay)
class InboxReplayAdmin(ReadOnlyAdmin):
    list_display = ("requested_at", "scope", "reason", "requested_by", "chosen", "left_alone")
    nothing_yet = "Nothing yet. Events are tried again from the inbox: chosen in its list, or by Try events again."
    search_fields = ("=requested_by", "reason", "=events__event__event_id")
    search_help_text = "Who asked, as user:NAME, a part of the reason, or an event's id"
    fields = ("requested_at", "requested_by", "scope", "reason", "chosen", "left_alone", "outcome")
    inlines = (ReplayedEventInline,)

    @display(description="What came of it")
    def outcome(self, replay: InboxReplay) -> str:
        return _came_of(replay)


def _came_of(replay: InboxReplay) -> str:
    """How many of its events are in which state by now."""
    counts: dict[str, int] = {}
    for state in replay.events.values_list("event__state", flat=True):
        counts[state] = counts.get(state, 0) + 1
    labels = dict(InboxEvent.State.choices)
    return ", ".join(f"{number} {labels[state].lower()}" for state, number in sorted(counts.items())) or NOTHING


def failures_text(event: InboxEvent) -> str:
    """The failed attempts at an event, oldest first."""
    failures = list(InboxFailure.objects.filter(event=event).order_by("attempt"))
    if not failures:
        return NOTHING
    return format_html_join(
        "",
        '<p><strong>{}.</strong> {} {}</p><pre class="bb-json">{}</pre>',
        [
            (
                one.attempt,
                f"{one.failed_at:%d %b %Y %H:%M:%S} UTC",
                "and was set aside" if one.is_final else "",
                one.error,
            )
            for one in failures
        ],
    )


def replays_text(event: InboxEvent) -> str:
    """The replays an event was in."""
    found = InboxReplayedEvent.objects.filter(event=event).select_related("replay").order_by("replay_id")
    texts = [
        (
            link(page_url("billing.inboxreplay", one.replay_id), f"{one.replay.requested_at:%d %b %Y %H:%M} UTC"),
            one.replay.requested_by,
            one.replay.reason,
        )
        for one in found
    ]
    return format_html_join("", "<p>{}, {}: {}</p>", texts) or NOTHING
