"""Accounting periods: what is closed, who decided it and why; and closing and reopening, each with a look before."""

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.widgets import UnfoldAdminTextareaWidget

from config import clock
from ledger import periods, queries
from ledger.admin.read_only import ReadOnlyAdmin
from ledger.errors import PeriodOrder, PostingsUnderWay
from ledger.instants import Day, midnight, month_of
from ledger.models import PeriodClosing
from ledger.period_checks import waiting_before

CLOSE_PERMISSION, REOPEN_PERMISSION = "ledger.close_period", "ledger.reopen_period"
LIST_TEMPLATE = "admin/ledger/periodclosing/change_list.html"
DECIDE_TEMPLATE = "admin/ledger/periodclosing/decide.html"


class DecisionForm(forms.Form):
    """The instant is a midnight in UTC: books are closed by days."""

    day = forms.DateField(widget=Day)
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Why, for whoever asks later. It stays on record, with your name.",
    )

    def instant(self) -> datetime:
        return midnight(self.cleaned_data["day"])


class CloseForm(DecisionForm):
    def __init__(self, data: Any, *, closed_before: datetime | None, now: datetime) -> None:
        first_of_month = month_of(now.astimezone(UTC).date())[0]
        super().__init__(data, initial={"day": first_of_month})
        self._closed_before, self._now = closed_before, now
        self.fields["day"].label = "Close everything before (UTC)"
        self.fields["day"].help_text = "That day itself stays open. The first of a month closes the month before."

    def clean_day(self) -> Any:
        day = self.cleaned_data["day"]
        if midnight(day) > self._now:
            raise forms.ValidationError("This day has not come yet: what happens today has to be recorded.")
        if self._closed_before is not None and midnight(day) <= self._closed_before:
            raise forms.ValidationError(f"The books are closed before {self._closed_before:%Y-%m-%d} already.")
        return day


class ReopenForm(DecisionForm):
    def __init__(self, data: Any, *, closed_before: datetime | None, now: datetime) -> None:
        super().__init__(data)
        self._closed_before = closed_before
        self.fields["day"].label = "Open again from (UTC)"
        self.fields["day"].help_text = "This day and all after it. What lies before stays closed."

    def clean_day(self) -> Any:
        day = self.cleaned_data["day"]
        if self._closed_before is None or midnight(day) >= self._closed_before:
            until = "nothing is closed" if self._closed_before is None else f"closed is {self._closed_before:%Y-%m-%d}"
            raise forms.ValidationError(f"There is nothing to open from this day on: {until}.")
        return day


@admin.register(PeriodClosing)
class PeriodClosingAdmin(ReadOnlyAdmin):
    fields = ["closed_before", "reopens", "decided_at", "actor", "reason"]

    def get_urls(self) -> list[URLPattern]:
        close = path("close/", self.admin_site.admin_view(self.close_view), name="ledger_periodclosing_close")
        reopen = path("reopen/", self.admin_site.admin_view(self.reopen_view), name="ledger_periodclosing_reopen")
        return [close, reopen, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        history = queries.closings()
        context = {
            **self.admin_site.each_context(request),
            "title": "Accounting periods",
            "closing": history[0] if history else None,
            "history": history,
            "may_close": request.user.has_perm(CLOSE_PERMISSION),
            "may_reopen": request.user.has_perm(REOPEN_PERMISSION) and bool(history),
        }
        return TemplateResponse(request, LIST_TEMPLATE, context)

    def close_view(self, request: HttpRequest) -> HttpResponse:
        """Fill in (GET, or POST with an error), look at what would be closed (POST), close (POST with `confirmed`)."""
        return self._decide(request, CloseForm, permission=CLOSE_PERMISSION, reopens=False)

    def reopen_view(self, request: HttpRequest) -> HttpResponse:
        """The same for opening a closed period again."""
        return self._decide(request, ReopenForm, permission=REOPEN_PERMISSION, reopens=True)

    def _decide(
        self, request: HttpRequest, form_class: type[CloseForm | ReopenForm], *, permission: str, reopens: bool
    ) -> HttpResponse:
        if not request.user.has_perm(permission):
            raise PermissionDenied
        now, closed_before = clock.now(), periods.closed_before()
        form = form_class(request.POST or None, closed_before=closed_before, now=now)
        if not form.is_valid() or "edit" in request.POST:
            return self._show(request, form, closed_before, reopens=reopens)
        if "confirmed" not in request.POST:
            return self._show(request, form, closed_before, reopens=reopens, confirming=True)
        try:
            decide = periods.reopen_periods if reopens else periods.close_periods
            bound = {"since" if reopens else "before": form.instant()}
            actor = f"user:{request.user.get_username()}"
            decide(**bound, decided_at=now, actor=actor, reason=form.cleaned_data["reason"])
        except (PeriodOrder, PostingsUnderWay) as refusal:
            form.add_error(None, f"Nothing was done: {refusal}")
            return self._show(request, form, periods.closed_before(), reopens=reopens)
        said = "open again from" if reopens else "closed before"
        self.message_user(request, f"The books are {said} {form.instant():%Y-%m-%d}.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:ledger_periodclosing_changelist"))

    def _show(
        self,
        request: HttpRequest,
        form: CloseForm | ReopenForm,
        closed_before: datetime | None,
        *,
        reopens: bool,
        confirming: bool = False,
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Reopen a period" if reopens else "Close a period",
            "form": form,
            "closed_before": closed_before,
            "reopens": reopens,
            "confirming": confirming,
            "list_url": reverse("admin:ledger_periodclosing_changelist"),
        }
        if confirming:
            instant = form.instant()
            start, end = (instant, closed_before) if reopens else (closed_before, instant)
            context["instant"] = instant
            context["enclosed"] = queries.enclosed(effective_from=start, effective_before=end or instant)
            context["waiting"] = [] if reopens else waiting_before(instant, may=request.user.has_perm)
        return TemplateResponse(request, DECIDE_TEMPLATE, context, status=422 if form.is_bound and form.errors else 200)
