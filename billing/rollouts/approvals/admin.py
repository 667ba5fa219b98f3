"""Approvals: asking on the report of a backtest, and deciding about what somebody else asked for."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Case, QuerySet, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.decorators import display

from billing.accounting.manual_entry_page import Step, person
from billing.admin_links import NOTHING, list_url, page_link, page_url
from billing.catalog.fingerprint import terms_fingerprint
from billing.catalog.models import PlanVersion
from billing.read_only_admin import ReadOnlyAdmin
from billing.rollouts.approvals import operations as approvals
from billing.rollouts.approvals import reports
from billing.rollouts.backtests import page as backtest_page
from billing.rollouts.forms import ReasonForm
from billing.rollouts.models.backtests import Backtest
from billing.rollouts.models.rollouts import ApprovalDecision, ApprovalRequest
from billing.rollouts.refusals import RolloutError
from config import clock

TEMPLATES = "admin/billing/approvalrequest"
WAITING, WAITING_LABEL = "waiting", "Waits for a second person"
Outcome = ApprovalDecision.Outcome
STATE_COLOURS = {
    WAITING_LABEL: "warning",
    Outcome.APPROVED.label: "success",
    Outcome.REJECTED.label: "danger",
    Outcome.WITHDRAWN.label: "info",
}
Decide = Callable[..., ApprovalRequest]
DECISIONS: dict[str, tuple[Decide, str, str]] = {
    "approve": (approvals.approve, "Approve", "Approved. It can be rolled out now, or published."),
    "reject": (approvals.reject, "Reject", "Rejected: the version stays a draft."),
    "withdraw": (approvals.withdraw, "Withdraw", "Withdrawn: the version stays a draft."),
}
_TONES = {Outcome.APPROVED: "good", Outcome.REJECTED: "bad"}


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(WAITING, WAITING_LABEL), *Outcome.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApprovalRequest]) -> QuerySet[ApprovalRequest]:
        if self.value() == WAITING:
            return queryset.filter(decision=None)
        return queryset.filter(decision__outcome=self.value()) if self.value() else queryset


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(ReadOnlyAdmin):
    list_display = ("version_link", "state", "asked_by", "requested_at", "decided_by", "reason")
    list_display_links = ("state",)
    list_select_related = ("plan_version__plan", "decision")
    list_filter = (StateFilter, "plan_version__plan")
    search_fields = ("=id", "reason", "=plan_version__plan__code")
    linked_by = frozenset({"plan_version__id__exact"})
    fields = ("reason",)

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        return (Case(When(decision=None, then=0), default=1), "-requested_at", "-id")

    @display(description="Version")
    def version_link(self, asked: ApprovalRequest) -> str:
        return page_link("billing.planversion", asked.plan_version_id, asked.plan_version)

    @display(description="State", label=STATE_COLOURS)
    def state(self, asked: ApprovalRequest) -> str:
        decision = approvals.decision_of(asked)
        return WAITING_LABEL if decision is None else decision.get_outcome_display()

    @display(description="Asked by", ordering="requested_by")
    def asked_by(self, asked: ApprovalRequest) -> str:
        return person(asked.requested_by)

    @display(description="Decided by")
    def decided_by(self, asked: ApprovalRequest) -> str:
        decision = approvals.decision_of(asked)
        return NOTHING if decision is None else person(decision.decided_by)

    def get_urls(self) -> list[URLPattern]:
        def view(route: str, function: Callable[..., HttpResponse], name: str, **extra: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(function), extra, name=f"billing_approvalrequest_{name}")

        return [
            view("ask/<int:backtest_id>/", self.ask_view, "ask"),
            view("<int:request_id>/publish/", self.publish_view, "publish"),
            *(view(f"<int:request_id>/{verb}/", self.decide_view, verb, verb=verb) for verb in DECISIONS),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        asked = self.get_object(request, object_id)
        if asked is not None and self.has_view_permission(request, asked):
            extra_context = {**(extra_context or {}), **_sections(asked, request), "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def ask_view(self, request: HttpRequest, backtest_id: int) -> HttpResponse:
        """Show what was tested and ask why (GET, or POST with an error), then ask (POST)."""
        if not request.user.has_perm(approvals.REQUEST):
            raise PermissionDenied
        backtest = Backtest.objects.select_related("candidate__plan").filter(pk=backtest_id).first()
        if backtest is None:
            raise Http404("There is no such backtest.")
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                with transaction.atomic():
                    asked = approvals.request_approval(
                        backtest_id=backtest_id, actor=_actor(request), now=clock.now(), **form.cleaned_data
                    )
                    self.log_change(request, asked, f"Asked for the approval of {backtest.candidate}")
                self.message_user(request, "Asked. Somebody else decides now.", messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.approvalrequest", asked.pk))
            except RolloutError as refusal:
                form.show(refusal)
        context = {
            "title": f"Ask for the approval of {backtest.candidate}",
            "backtest": backtest,
            "version": backtest.candidate,
            "is_same_terms": terms_fingerprint(backtest.candidate) == backtest.fingerprint,
            "figures": _found(backtest, request),
            "tested": reports.tested(backtest.candidate, backtest, now=clock.now()),
            "form": form,
        }
        return self._page(request, "ask.html", context, status=422 if form.is_bound else 200)

    def decide_view(self, request: HttpRequest, request_id: int, verb: str) -> HttpResponse:
        """Show what is decided about and ask why (GET, or POST with an error), then decide (POST)."""
        asked = self._found(request, request_id)
        is_own = asked.requested_by == _actor(request)
        may = is_own if verb == "withdraw" else request.user.has_perm(approvals.DECIDE) and not is_own
        if not may:
            raise PermissionDenied
        decide, title, said = DECISIONS[verb]
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                with transaction.atomic():
                    decide(request_id=asked.pk, actor=_actor(request), now=clock.now(), **form.cleaned_data)
                    self.log_change(request, asked, f"{title}: {form.cleaned_data['reason']}")
                self.message_user(request, said, messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.approvalrequest", asked.pk))
            except RolloutError as refusal:
                form.show(refusal)
        context = {
            **_sections(asked, request),
            "title": f"{title}: {asked.plan_version}",
            "verb": verb,
            "button": title,
            "form": form,
        }
        return self._page(request, "decide.html", context, status=422 if form.is_bound else 200)

    def publish_view(self, request: HttpRequest, request_id: int) -> HttpResponse:
        """Publish an approved version without a rollout (POST)."""
        asked = self._found(request, request_id)
        if not request.user.has_perm(approvals.DECIDE):
            raise PermissionDenied
        if request.method == "POST":
            try:
                with transaction.atomic():
                    approvals.publish_approved(request_id=request_id, actor=_actor(request), now=clock.now())
                    self.log_change(request, asked, f"Published {asked.plan_version}")
                self.message_user(request, "Published: new customers are offered it.", messages.SUCCESS)
            except RolloutError as refusal:
                self.message_user(request, str(refusal), messages.ERROR)
        return HttpResponseRedirect(page_url("billing.approvalrequest", asked.pk))

    def _found(self, request: HttpRequest, request_id: int) -> ApprovalRequest:
        found = self.get_queryset(request).select_related("plan_version__plan", "decision")
        asked: ApprovalRequest | None = found.filter(pk=request_id).first()
        if asked is None or not self.has_view_permission(request, asked):
            raise PermissionDenied
        return asked

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
        shared = {
            **self.admin_site.each_context(request),
            "opts": None,
            "list_url": list_url("billing.approvalrequest"),
        }
        return TemplateResponse(request, f"{TEMPLATES}/{template}", {**shared, **context}, status=status)


def _sections(asked: ApprovalRequest, request: HttpRequest) -> dict[str, Any]:
    """Everything the page of one request shows, and what its reader may do."""
    decision = approvals.decision_of(asked)
    version, actor = asked.plan_version, _actor(request)
    is_approved = version.status == PlanVersion.Status.APPROVED
    may_decide = request.user.has_perm(approvals.DECIDE)
    return {
        "asked": asked,
        "version": version,
        "state": WAITING if decision is None else decision.outcome,
        "state_label": WAITING_LABEL if decision is None else decision.get_outcome_display(),
        "person": person(asked.requested_by),
        "steps": _steps(asked, decision),
        "is_same_terms": version.status != PlanVersion.Status.DRAFT or terms_fingerprint(version) == asked.fingerprint,
        "figures": _found(asked.backtest, request),
        "tested": reports.tested(version, asked.backtest, now=clock.now() if decision is None else None),
        "sees_backtests": request.user.has_perm("billing.view_backtest"),
        "may_decide": decision is None and may_decide and actor != asked.requested_by,
        "may_withdraw": decision is None and actor == asked.requested_by,
        "may_publish": is_approved and may_decide and decision is not None and decision.outcome == Outcome.APPROVED,
        "may_plan": is_approved and request.user.has_perm("billing.plan_rollout"),
        "rollouts": list(version.rollouts_to.order_by("-id")) if request.user.has_perm("billing.view_rollout") else [],
    }


def _found(backtest: Backtest, request: HttpRequest) -> list[Any]:
    """The head of the report; nothing while there is none."""
    return list(backtest_page.sections(backtest, may=request.user.has_perm).get("figures", []))


def _steps(asked: ApprovalRequest, decision: ApprovalDecision | None) -> list[Step]:
    steps = [Step(asked.requested_at, "Asked", person(asked.requested_by), asked.reason, "plain")]
    if decision is not None:
        tone = _TONES.get(Outcome(decision.outcome), "waiting")
        steps.append(
            Step(
                decision.decided_at, decision.get_outcome_display(), person(decision.decided_by), decision.reason, tone
            )
        )
    return steps


def _actor(request: HttpRequest) -> str:
    return f"user:{request.user.get_username()}"
