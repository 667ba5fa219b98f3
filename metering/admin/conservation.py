"""Whether every event was counted: pairs by meter and day, events that no meter takes, and how far windows are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from config import clock
from metering import queries
from metering.instants import EARLIEST, LATEST

VIEW_PERMISSION = "metering.view_aggregationadvance"
DAYS_MAX = 31
UNMETERED_SHOWN = 20


class DaysForm(forms.Form):
    """UTC days, both included, as windows are."""

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        for name, label in (("from", "From"), ("to", "To, included")):
            widget = forms.DateInput(attrs={"class": "bb-input", "type": "date"})
            wrong = "Enter a day such as 2026-10-31."
            self.fields[name] = forms.DateField(
                label=f"{label} (UTC)", widget=widget, error_messages={"invalid": wrong, "required": wrong}
            )

    def clean(self) -> dict[str, Any]:
        asked: dict[str, Any] = self.cleaned_data
        first, last = asked.get("from"), asked.get("to")
        for name, day in (("from", first), ("to", last)):
            if day is not None and not EARLIEST.date() <= day < LATEST.date():
                self.add_error(name, f"Choose a day from {EARLIEST:%Y} to {LATEST.year - 1}.")
        if first is not None and last is not None and not self.errors:
            if first > last:
                self.add_error("to", "The last day lies before the first.")
            elif (last - first).days >= DAYS_MAX:
                self.add_error("to", f"At most {DAYS_MAX} days are recomputed at once. Choose a nearer day.")
        return asked


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What was recomputed, or why it was not."""

    pairs: Sequence[queries.PairsOfMeter] = ()
    unmetered: Sequence[queries.UnmeteredEvents] = ()
    problem: str = ""

    @property
    def lost(self) -> int:
        return sum(row.lost for row in self.pairs)

    @property
    def is_whole(self) -> bool:
        return not self.problem and self.lost == 0


def conservation_view(request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm(VIEW_PERMISSION):
        raise PermissionDenied
    now = clock.now()
    form = DaysForm(_days(request, now))
    recomputed = _recompute(form) if form.is_valid() else Recomputed(problem="These days cannot be read.")
    so_far = queries.conservation_by_meter()
    progress = queries.aggregation_progress()
    through = progress.aggregated_through
    context = {
        **admin.site.each_context(request),
        "title": "Conservation",
        "form": form,
        "recomputed": recomputed,
        "so_far": so_far,
        "lost_so_far": sum(row.lost for row in so_far),
        "total": queries.conservation(),
        "progress": progress,
        "lag": None if through is None else timedelta(seconds=max(0, int((now - through).total_seconds()))),
        "sees_quarantine": request.user.has_perm("metering.view_quarantinedevent"),
    }
    return TemplateResponse(
        request, "admin/metering/conservation.html", context, status=200 if form.is_valid() else 422
    )


def _days(request: HttpRequest, now: datetime) -> dict[str, str]:
    """The days asked for; else the day of the latest usage."""
    asked = {name: request.GET.get(name, "") for name in ("from", "to")}
    if not any(asked.values()):
        latest = queries.latest_usage(None)
        day = (now if latest is None else latest.window_start).astimezone(UTC).date()
        return dict.fromkeys(asked, day.isoformat())
    return asked


def _recompute(form: DaysForm) -> Recomputed:
    start = _midnight(form.cleaned_data["from"])
    end = _midnight(form.cleaned_data["to"] + timedelta(days=1))
    try:
        pairs = queries.conservation_by_day(start, end)
        return Recomputed(pairs, queries.unmetered_events(start, end, limit=UNMETERED_SHOWN))
    except queries.TooManyEvents as error:
        return Recomputed(problem=str(error))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)
