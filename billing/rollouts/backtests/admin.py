"""Backtests: read by everybody who reads prices, asked for and stopped by people who may."""

import uuid
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from billing.admin_links import page_url
from billing.read_only_admin import ReadOnlyAdmin
from billing.rollouts.backtests import documents as backtest_documents
from billing.rollouts.backtests import operations as backtests
from billing.rollouts.backtests import page as backtest_page
from billing.rollouts.backtests import text as backtest_text
from billing.rollouts.backtests.form import FIELD_OF, BacktestForm, last_months
from billing.rollouts.backtests.operations import BacktestConflict, BacktestEnded, BacktestRefused
from billing.rollouts.backtests.page import REQUEST
from billing.rollouts.backtests.tasks import task_work_on_backtests
from billing.rollouts.comparing.cohorts import read_cohort
from billing.rollouts.models.backtests import Backtest
from config import clock
from ledger.downloads.answers import download

_STATES = {"Waits to begin": "warning", "Under way": "info", "Done": "success", "Stopped": "danger"}


class StopForm(forms.Form):
    because = forms.CharField(
        label="Why it is stopped",
        max_length=400,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        error_messages={"required": "Say why it is stopped."},
    )


@admin.register(Backtest)
class BacktestAdmin(ReadOnlyAdmin):
    list_display = (
        "__str__", "candidate", "range_text", "cohort_text", "customers", "change_text", "state_label", "requested_at",
        "requested_by",
    )  # fmt: skip
    list_select_related = ("candidate__plan",)
    list_filter = ("state",)
    list_before_template = "admin/billing/backtest/before_list.html"
    change_form_template = "admin/billing/backtest/change_form.html"
    linked_by = frozenset({"candidate__id__exact"})
    sortable_by = ()
    fields = ("candidate", "range_text", "cohort_text", "state_label")

    @display(description="Over")
    def range_text(self, backtest: Backtest) -> str:
        return f"{backtest.starts_at:%d %b %Y} – {backtest.ends_at:%d %b %Y}"

    @display(description="Of")
    def cohort_text(self, backtest: Backtest) -> str:
        return str(read_cohort(backtest.cohort))

    @display(description="Revenue")
    def change_text(self, backtest: Backtest) -> str:
        if not backtest.report:
            return ""
        totals = backtest.report["totals"]
        return backtest_text.change_percent(totals["current"]["pays"], totals["candidate"]["pays"])

    @display(description="State", label=_STATES)
    def state_label(self, backtest: Backtest) -> str:
        return backtest.get_state_display()

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("new/", view(self.new_view), name="billing_backtest_new"),
            path("<int:backtest_id>/stop/", view(self.stop_view), name="billing_backtest_stop"),
            path("<int:backtest_id>/<slug:rows>.<slug:suffix>", view(self.file_view), name="billing_backtest_file"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_request = {"may_request": request.user.has_perm(REQUEST)}
        answer: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **may_request})
        return answer

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        backtest = self.get_object(request, object_id)
        if backtest is not None and self.has_view_permission(request, backtest):
            shown = backtest_page.sections(backtest, may=request.user.has_perm)
            extra_context = {**(extra_context or {}), **shown, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def new_view(self, request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm(REQUEST):
            raise PermissionDenied
        if request.method == "POST":
            form = BacktestForm(request.POST)
            backtest = self._requested(request, form) if form.is_valid() else None
            if backtest is not None:
                messages.success(
                    request, "It is being worked on. This page shows how far it is when you load it again."
                )
                return HttpResponseRedirect(page_url("billing.backtest", backtest.pk))
        else:
            begin = {"candidate": request.GET.get("candidate", ""), "idempotency_key": uuid.uuid4().hex}
            form = BacktestForm(initial={**last_months(clock.now()), **begin})
        return self._show(request, "new", form, title="New backtest", back="")

    def _requested(self, request: HttpRequest, form: BacktestForm) -> Backtest | None:
        try:
            with transaction.atomic():
                backtest = backtests.request_backtest(**form.terms(), actor=_actor(request), now=clock.now())
                transaction.on_commit(task_work_on_backtests.delay)
        except BacktestRefused as refused:
            field = FIELD_OF.get(refused.field, refused.field)
            form.add_error(field if field in form.fields else None, str(refused))
            return None
        except BacktestConflict as conflict:
            form.add_error(None, f"{conflict}. Load this page again to ask for another one.")
            return None
        self.log_addition(request, backtest, "Asked for")
        return backtest

    def stop_view(self, request: HttpRequest, backtest_id: int) -> HttpResponse:
        if not request.user.has_perm(REQUEST):
            raise PermissionDenied
        backtest = _backtest(backtest_id)
        form = StopForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            because = form.cleaned_data["because"]
            try:
                backtests.stop_backtest(
                    backtest_id=backtest_id, because=because, actor=_actor(request), now=clock.now()
                )
            except (BacktestEnded, BacktestRefused) as refused:
                form.add_error(None, str(refused))
            else:
                self.log_change(request, backtest, f"Stopped: {because}")
                messages.success(request, "Stopped. It has no report, and cannot be gone on with.")
                return HttpResponseRedirect(page_url("billing.backtest", backtest_id))
        back = page_url("billing.backtest", backtest_id)
        return self._show(request, "stop", form, title=f"Stop {backtest}", back=back, backtest=backtest)

    def file_view(self, request: HttpRequest, backtest_id: int, rows: str, suffix: str) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        backtest = _backtest(backtest_id)
        if rows not in ("customers", "periods"):
            raise Http404("There are files of customers and of periods.")
        return download(
            suffix,
            name=f"backtest-{backtest_id}_{rows}",
            make=lambda: backtest_documents.document(backtest, of_periods=rows == "periods", made_at=clock.now()),
        )

    def _show(self, request: HttpRequest, template: str, form: forms.Form, *, back: str, **shown: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": None,
            "form": form,
            "back_url": back or reverse("admin:billing_backtest_changelist"),
            **shown,
        }
        status = 422 if form.errors else 200
        return TemplateResponse(request, f"admin/billing/backtest/{template}.html", context, status=status)


def _backtest(backtest_id: int) -> Backtest:
    backtest = Backtest.objects.select_related("candidate__plan", "baseline__plan").filter(pk=backtest_id).first()
    if backtest is None:
        raise Http404("There is no such backtest.")
    return backtest


def _actor(request: HttpRequest) -> str:
    return f"user:{request.user.get_username()}"
