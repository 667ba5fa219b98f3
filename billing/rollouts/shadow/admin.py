"""Shadow ratings: read by everybody who reads prices, started and ended by people who may."""

from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from billing.admin_links import NOTHING, link, page_link, page_url
from billing.catalog.models import Plan, PlanVersion
from billing.customers.models import Customer
from billing.money_text import exact_text
from billing.read_only_admin import ReadOnlyAdmin
from billing.rollouts.comparing.cohorts import Cohort
from billing.rollouts.comparing.failures import Failure
from billing.rollouts.models.shadow import ShadowPeriod, ShadowRating
from billing.rollouts.shadow import operations, page
from billing.rollouts.simulator.form import version_text
from billing.rollouts.simulator.page import signed_text
from config import clock

START_TEMPLATE = "admin/billing/shadowrating/start.html"
END_TEMPLATE = "admin/billing/shadowrating/end.html"
_STATES = {page.RUNNING: "success", page.OUTDATED: "danger", page.ENDED: "info"}
_SHARE_REMEDY = "Give a number above 0, at most 100, with at most two places, such as 12.5."


class StartForm(forms.Form):
    """What a shadow is started with. A field that is empty asks for nothing."""

    candidate = forms.ChoiceField(label="Candidate", widget=UnfoldAdminSelectWidget)
    plan = forms.ChoiceField(label="Periods of the plan", required=False, widget=UnfoldAdminSelectWidget)
    customer_kind = forms.ChoiceField(
        label="Customers",
        required=False,
        choices=[("", "of every kind"), *Customer.Kind.choices],
        widget=UnfoldAdminSelectWidget,
    )
    share_percent = forms.CharField(
        label="Share of them, in percent",
        required=False,
        max_length=8,
        help_text="Taken by a hash of the customer's key; empty is all.",
        widget=UnfoldAdminTextInputWidget,
    )
    tolerance_percent = forms.IntegerField(
        label="Count apart who would pay more by more than, in percent",
        min_value=0,
        max_value=operations.TOLERANCE_MAX,
        initial=5,
        widget=UnfoldAdminTextInputWidget,
    )
    reason = forms.CharField(
        label="What is to be learned", max_length=500, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2})
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, choices in (
            ("candidate", [("", "Choose a version"), *_candidates()]),
            ("plan", [("", "any plan"), *Plan.objects.filter(is_add_on=False).values_list("code", "name")]),
        ):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = choices

    def clean_share_percent(self) -> Decimal:
        text = self.cleaned_data["share_percent"].strip() or "100"
        try:
            share = Decimal(text)
        except InvalidOperation:
            raise forms.ValidationError(_SHARE_REMEDY) from None
        if not share.is_finite() or not 0 < share <= 100 or share != share.quantize(Decimal("0.01")):
            raise forms.ValidationError(_SHARE_REMEDY)
        return share

    def cohort(self) -> Cohort:
        plan, kind = self.cleaned_data["plan"], self.cleaned_data["customer_kind"]
        return Cohort(
            plans=(plan,) if plan else (),
            kinds=(kind,) if kind else (),
            share_percent=self.cleaned_data["share_percent"],
        )


class EndForm(forms.Form):
    because = forms.CharField(
        label="Why it ends, or what was learned",
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        error_messages={"required": "Say why it ends, or what was learned."},
    )


def _candidates() -> list[tuple[str, str]]:
    """Versions that could be sold, drafts first, as they are what is to be proved."""
    found = PlanVersion.objects.filter(plan__is_add_on=False).exclude(status=PlanVersion.Status.RETIRED)
    rows = found.select_related("plan").order_by("plan__name", "-version", "currency")
    versions = sorted(rows, key=lambda version: version.status != PlanVersion.Status.DRAFT)
    return [(str(version.pk), f"{version_text(version)}, {version.currency}") for version in versions]


@admin.register(ShadowRating)
class ShadowRatingAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "candidate_text", "cohort_text", "state_label", "started_at", "started_by", "ended_at")
    list_select_related = ("candidate__plan",)
    list_before_template = "admin/billing/shadowrating/before_list.html"
    change_form_template = "admin/billing/shadowrating/change_form.html"
    sortable_by = ()
    fields = ("candidate_text", "cohort_text", "started_at", "started_by", "reason")

    @display(description="Candidate")
    def candidate_text(self, shadow: ShadowRating) -> str:
        return version_text(shadow.candidate)

    @display(description="Of")
    def cohort_text(self, shadow: ShadowRating) -> str:
        return page.cohort_text(shadow)

    @display(description="State", label=_STATES)
    def state_label(self, shadow: ShadowRating) -> str:
        return page.state_of(shadow)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        start = path("start/", view(self.start_view), name="billing_shadowrating_start")
        end = path("<int:shadow_id>/end/", view(self.end_view), name="billing_shadowrating_end")
        return [start, end, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        may_start = {"may_start": request.user.has_perm(operations.START)}
        answer: HttpResponse = super().changelist_view(request, {**(extra_context or {}), **may_start})
        return answer

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        shadow = self.get_object(request, object_id)
        if shadow is not None and self.has_view_permission(request, shadow):
            may_end = shadow.ended_at is None and request.user.has_perm(operations.END)
            may_simulate = request.user.has_perm(operations.SIMULATE)
            more = {"may_end": may_end, "may_simulate": may_simulate, "subtitle": None}
            extra_context = {**(extra_context or {}), **page.sections(shadow), **more}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def start_view(self, request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm(operations.START):
            raise PermissionDenied
        if request.method != "POST":
            form = StartForm(initial={"candidate": request.GET.get("candidate", ""), "tolerance_percent": 5})
            return self._show(request, START_TEMPLATE, form, "Start a shadow rating", "billing_shadowrating_changelist")
        form = StartForm(request.POST)
        shadow = self._started(request, form) if form.is_valid() else None
        if shadow is None:
            return self._show(request, START_TEMPLATE, form, "Start a shadow rating", "billing_shadowrating_changelist")
        messages.success(request, "Started. The first figures are there in a minute or two.")
        return HttpResponseRedirect(page_url("billing.shadowrating", shadow.pk))

    def _started(self, request: HttpRequest, form: StartForm) -> ShadowRating | None:
        sent = form.cleaned_data
        try:
            shadow = operations.start_shadow(
                candidate_id=int(sent["candidate"]),
                cohort=form.cohort(),
                tolerance_percent=sent["tolerance_percent"],
                reason=sent["reason"],
                actor=f"user:{request.user.get_username()}",
                now=clock.now(),
            )
        except operations.ShadowRefused as refused:
            form.add_error(refused.field if refused.field in form.fields else None, str(refused))
            return None
        self.log_addition(request, shadow, f"Started on {shadow.candidate}: {shadow.reason}")
        return shadow

    def end_view(self, request: HttpRequest, shadow_id: int) -> HttpResponse:
        if not request.user.has_perm(operations.END):
            raise PermissionDenied
        shadow = ShadowRating.objects.select_related("candidate__plan").filter(pk=shadow_id).first()
        if shadow is None:
            raise Http404("There is no such shadow rating.")
        form = EndForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                operations.end_shadow(
                    shadow_id=shadow.pk,
                    because=form.cleaned_data["because"],
                    actor=f"user:{request.user.get_username()}",
                    now=clock.now(),
                )
            except operations.ShadowError as refused:
                form.add_error(None, str(refused))
            else:
                self.log_change(request, shadow, f"Ended: {form.cleaned_data['because']}")
                messages.success(request, "Ended. Its figures stay as they are.")
                return HttpResponseRedirect(page_url("billing.shadowrating", shadow.pk))
        return self._show(request, END_TEMPLATE, form, f"End {shadow}", "", shadow=shadow)

    def _show(
        self,
        request: HttpRequest,
        template: str,
        form: forms.Form,
        title: str,
        cancel: str,
        shadow: ShadowRating | None = None,
    ) -> HttpResponse:
        back = page_url("billing.shadowrating", shadow.pk) if shadow is not None else reverse(f"admin:{cancel}")
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": None,
            "form": form,
            "shadow": shadow,
            "cancel_url": back,
        }
        return TemplateResponse(request, template, context, status=422 if form.errors else 200)


class OutcomeFilter(admin.SimpleListFilter):
    title = "outcome"
    parameter_name = "outcome"
    _asked = {
        "more": Q(change__gt=0),
        "less": Q(change__lt=0),
        "same": Q(change=0),
        "failed": ~Q(failure=""),
        "due": Q(is_due=True),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("more", "Would pay more"),
            ("less", "Would pay less"),
            ("same", "Would pay the same"),
            ("failed", "Cannot be compared"),
            ("due", "Waits to be worked out"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ShadowPeriod]) -> QuerySet[ShadowPeriod]:
        asked = self._asked.get(self.value() or "")
        return queryset if asked is None else queryset.filter(asked)


@admin.register(ShadowPeriod)
class ShadowPeriodAdmin(ReadOnlyAdmin):
    list_display = ("customer", "period_text", "shadow_text", "now_text", "candidate_text", "change_text", "outcome")
    list_select_related = ("shadow__candidate__plan", "period__subscription__customer")
    list_filter = (OutcomeFilter,)
    linked_by = frozenset({"shadow__id__exact", "failure_kind"})
    search_fields = ("=period__subscription__customer__customer_key",)
    search_help_text = "A customer's key"
    ordering = ("-change", "id")
    sortable_by = ("change_text",)
    fields = (
        "customer_link",
        "period_link",
        "shadow_link",
        "now_text",
        "candidate_text",
        "change_text",
        "outcome",
        "failure",
        "computed_at",
        "simulator_link",
    )

    @display(description="Customer")
    def customer(self, row: ShadowPeriod) -> str:
        return row.period.subscription.customer.name

    @display(description="Period")
    def period_text(self, row: ShadowPeriod) -> str:
        return str(row.period)

    @display(description="Shadow")
    def shadow_text(self, row: ShadowPeriod) -> str:
        return f"{row.shadow} of {version_text(row.shadow.candidate)}"

    @display(description="Paid now")
    def now_text(self, row: ShadowPeriod) -> str:
        return _pays(row, "current")

    @display(description="Under the candidate")
    def candidate_text(self, row: ShadowPeriod) -> str:
        return _pays(row, "candidate")

    @display(description="Change", ordering="change")
    def change_text(self, row: ShadowPeriod) -> str:
        return NOTHING if row.change is None else signed_text(row.change, row.shadow.candidate.currency)

    @display(description="Outcome", label={"More": "danger", "Less": "success", "The same": "info"})
    def outcome(self, row: ShadowPeriod) -> str:
        if row.computed_at is None:
            return "Waits"
        if row.change is None:
            return str(dict(Failure.choices).get(row.failure_kind, row.failure_kind))
        if not row.change:
            return "The same"
        return "More" if row.change > 0 else "Less"

    @display(description="Customer")
    def customer_link(self, row: ShadowPeriod) -> str:
        customer = row.period.subscription.customer
        return page_link("billing.customer", customer.pk, customer)

    @display(description="Period")
    def period_link(self, row: ShadowPeriod) -> str:
        return page_link("billing.billingperiod", row.period_id, row.period)

    @display(description="Shadow")
    def shadow_link(self, row: ShadowPeriod) -> str:
        return page_link("billing.shadowrating", row.shadow_id, self.shadow_text(row))

    @display(description="Why")
    def simulator_link(self, row: ShadowPeriod) -> str:
        return link(page.period_url(row.shadow, row), "The period in the simulator, under the candidate")


def _pays(row: ShadowPeriod, side: str) -> str:
    if getattr(row, f"{side}_fee") is None:
        return NOTHING
    return exact_text(page.pays_of(row, side), row.shadow.candidate.currency)
