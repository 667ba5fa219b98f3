"""Alarms: what was expected, what was seen, and who looks after it."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import Truncator
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from config import clock
from metering import operations
from metering.admin.lists import ReadOnlyAdmin
from metering.alarms import TITLES
from metering.models import Alarm

ACKNOWLEDGE = "metering.acknowledge_alarm"
OPEN, SEEN_TO, OVER = "Open", "Seen to", "Over"
# Where a person goes on from an alarm of each kind: the list of a model, and the query whose value is the subject.
PAGES: dict[str, tuple[str, str]] = {
    "source_silent": ("usageevent", ""),
    "source_new": ("usageevent", ""),
    "meter_zero": ("aggregationwindow", "meter__code"),
    "meter_surge": ("aggregationwindow", "meter__code"),
    "meter_slump": ("aggregationwindow", "meter__code"),
    "value_new": ("aggregationwindow", ""),
    "conflicts": ("eventconflict", ""),
    "quarantine": ("quarantinedevent", ""),
    "events_without_meter": ("aggregationadvance", ""),
    "aggregation_held": ("freshnesscount", ""),
    "partitions_missing": ("eventarchive", ""),
    "archive_overdue": ("eventarchive", ""),
}


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("over", "Over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alarm]) -> QuerySet[Alarm]:
        if self.value() not in {"open", "over"}:
            return queryset
        return queryset.filter(closed_at__isnull=self.value() == "open")


class KindFilter(admin.SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(kind), title) for kind, title in TITLES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alarm]) -> QuerySet[Alarm]:
        return queryset.filter(kind=self.value()) if self.value() in TITLES else queryset


class NoteForm(forms.Form):
    note = forms.CharField(
        max_length=500,
        label="What you found or do about it",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        error_messages={"required": "Say in the note what was found or done."},
    )


@admin.register(Alarm)
class AlarmAdmin(ReadOnlyAdmin):
    list_display = ("what", "about", "state", "opened_at", "expected_text", "seen_text", "closed_at", "acknowledged_by")
    list_filter = (StateFilter, KindFilter)
    search_fields = ("subject",)
    search_help_text = "A source, a meter, a value"
    ordering = ("closed_at", "-opened_at", "-id")
    sortable_by = ()

    @display(description="Alarm")
    def what(self, alarm: Alarm) -> str:
        return title_of(alarm)

    @display(description="About")
    def about(self, alarm: Alarm) -> str:
        return Truncator(alarm.subject).chars(60)

    @display(description="Expected")
    def expected_text(self, alarm: Alarm) -> str:
        return Truncator(alarm.expected).chars(90)

    @display(description="Seen")
    def seen_text(self, alarm: Alarm) -> str:
        return Truncator(alarm.seen).chars(90)

    @display(description="State", label={OPEN: "danger", SEEN_TO: "warning", OVER: "success"})
    def state(self, alarm: Alarm) -> str:
        return state_of(alarm)

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        return (F("closed_at").desc(nulls_first=True), "-opened_at", "-id")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One alarm; a POST acknowledges it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        alarm = self.get_object(request, object_id)
        if alarm is None:
            raise Http404
        form = NoteForm(request.POST or None)
        if request.method == "POST":
            if not request.user.has_perm(ACKNOWLEDGE):
                raise PermissionDenied
            if form.is_valid() and self._acknowledged(request, alarm, form):
                return HttpResponseRedirect(request.path)
        return TemplateResponse(
            request,
            "admin/metering/alarm.html",
            {
                **self.admin_site.each_context(request),
                "title": title_of(alarm),
                "opts": self.opts,
                "alarm": alarm,
                "state": state_of(alarm),
                "form": form,
                "further": further_of(alarm, may=request.user.has_perm),
                "may_acknowledge": request.user.has_perm(ACKNOWLEDGE)
                and alarm.closed_at is None
                and alarm.acknowledged_at is None,
            },
            status=422 if form.errors else 200,
        )

    def _acknowledged(self, request: HttpRequest, alarm: Alarm, form: NoteForm) -> bool:
        try:
            operations.acknowledge_alarm(
                alarm.pk,
                note=form.cleaned_data["note"],
                actor=f"user:{request.user.get_username()}",
                now=clock.now(),
            )
        except (operations.AlarmNotOpen, operations.NoteMissing) as error:
            form.add_error(None, str(error))
            return False
        messages.success(request, "Acknowledged. The alarm closes by itself when it is over.")
        return True


def title_of(alarm: Alarm) -> str:
    return TITLES.get(alarm.kind, alarm.kind)  # type: ignore[call-overload, no-any-return]  # a kind of before


def state_of(alarm: Alarm) -> str:
    if alarm.closed_at is not None:
        return OVER
    return OPEN if alarm.acknowledged_at is None else SEEN_TO


def further_of(alarm: Alarm, *, may: Callable[[str], bool]) -> str:
    """Address of the list of what the alarm is about; "" where the reader may not open it, or the kind is of before."""
    model, query = PAGES.get(alarm.kind, ("", ""))
    if not model or not may(f"metering.view_{model}"):
        return ""
    return reverse(f"admin:metering_{model}_changelist") + (f"?{urlencode({query: alarm.subject})}" if query else "")
