"""
Plans, their versions and prices to read, in words that whoever answers a customer understands; and a page on which a
plan's drafts are written. Approval, publication and retirement are done elsewhere.
"""

from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import display

from billing.admin_links import NOTHING, link, list_url, page_link, page_url
from billing.catalog import editing, pages
from billing.catalog.models import Plan, PlanVersion, Rate, RateCard
from billing.catalog.pages import late_policy_text
from billing.catalog.stored import price_of
from billing.catalog.words import fee_text, price_text
from billing.money_text import quantity_text
from billing.read_only_admin import ReadOnlyAdmin
from config import clock

__all__ = ["PlanAdmin", "PlanVersionAdmin", "RateAdmin", "RateCardAdmin", "late_policy_text"]

TEMPLATES = "admin/billing/catalog"
STATUS_COLOURS = {"draft": "warning", "approved": "info", "published": "success"}


class _WithSections(ReadOnlyAdmin):
    """A page of our own for a row, filled by `sections`."""

    def sections(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        raise NotImplementedError

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is not None and self.has_view_permission(request, row):
            extra_context = {**(extra_context or {}), **self.sections(request, row), "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response


@admin.register(Plan)
class PlanAdmin(_WithSections):
    list_display = ("name", "code", "product", "is_add_on", "stripe_product_id")
    list_select_related = ("product",)
    list_filter = ("is_add_on",)
    search_fields = ("code", "name", "=product__code", "product__name")
    list_before_template = f"{TEMPLATES}/before_list.html"
    change_form_template = f"{TEMPLATES}/plan.html"
    fields = ("name", "code")

    def sections(self, request: HttpRequest, row: Plan) -> dict[str, Any]:
        return dict(pages.plan_sections(row, may=request.user.has_perm))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = {**(extra_context or {}), "may_edit": request.user.has_perm(pages.EDIT)}
        response: HttpResponse = super().changelist_view(request, shown)
        return response

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.edit_view)
        return [
            path("new-draft/", view, name="billing_plan_new"),
            path("<int:plan_id>/edit/", view, name="billing_plan_edit"),
            *super().get_urls(),
        ]

    def edit_view(self, request: HttpRequest, plan_id: int | None = None) -> HttpResponse:
        """The document (GET), what it would change (POST), and the writing of the drafts (POST with `apply`)."""
        if not request.user.has_perm(pages.EDIT):
            raise PermissionDenied
        plan = None if plan_id is None else Plan.objects.filter(pk=plan_id).first()
        if plan_id is not None and plan is None:
            raise Http404("There is no such plan.")
        if request.method != "POST":
            form = editing.DocumentForm(initial={"text": editing.text_to_edit(plan, _version_of(request, plan))})
            return self._show(request, plan, form, editing.Outcome())
        form = editing.DocumentForm(request.POST)
        if not form.is_valid():
            return self._show(request, plan, form, editing.Outcome(), status=422)
        text, seen = form.cleaned_data["text"], form.cleaned_data["seen"]
        if "apply" not in request.POST:
            outcome = editing.look(text, now=clock.now())
        else:
            outcome = editing.carry_out(text, seen=seen, now=clock.now())
            if outcome.is_done:
                return self._done(request, plan, text, outcome)
        is_wrong = bool(outcome.problem or (outcome.plan and outcome.plan.refusals))
        return self._show(request, plan, form, outcome, status=422 if is_wrong else 200)

    def _done(self, request: HttpRequest, plan: Plan | None, text: str, outcome: editing.Outcome) -> HttpResponse:
        subjects = "; ".join(f"{one.sign} {one.subject}" for one in outcome.plan.changes) if outcome.plan else ""
        written = [plan] if plan else list(Plan.objects.filter(code__in=editing.plans_in(text)).order_by("pk"))
        for one in written:
            self.log_change(request, one, f"Drafts written: {subjects}"[:2000])
        self.message_user(request, f"Written: {subjects[:500]}", messages.SUCCESS)
        return HttpResponseRedirect(page_url("billing.plan", written[-1].pk) if written else list_url("billing.plan"))

    def _show(
        self,
        request: HttpRequest,
        plan: Plan | None,
        form: editing.DocumentForm,
        outcome: editing.Outcome,
        status: int = 200,
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": None,
            "title": f"Drafts of {plan}" if plan else "A new plan",
            "plan": plan,
            "form": form,
            "outcome": outcome,
            "back_url": page_url("billing.plan", plan.pk) if plan else list_url("billing.plan"),
            "action": reverse("admin:billing_plan_edit", args=[plan.pk]) if plan else reverse("admin:billing_plan_new"),
        }
        return TemplateResponse(request, f"{TEMPLATES}/edit.html", context, status=status)


def _version_of(request: HttpRequest, plan: Plan | None) -> PlanVersion | None:
    """The version that a new draft begins as a copy of, if the address names one of this plan's."""
    named = request.GET.get("from", "")
    if plan is None or not (named.isascii() and named.isdecimal() and len(named) < 19):
        return None
    return plan.versions.filter(pk=int(named)).first()


@admin.register(PlanVersion)
class PlanVersionAdmin(_WithSections):
    list_display = ("__str__", "currency", "status_label", "fee", "included", "rate_card", "published_at")
    list_select_related = ("plan", "rate_card")
    list_filter = ("status",)
    search_fields = ("plan__code", "plan__name", "=currency", "=only_for__customer_key")
    change_form_template = f"{TEMPLATES}/version.html"
    fields = ("version",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[PlanVersion]:
        rows: QuerySet[PlanVersion] = super().get_queryset(request)
        return rows.select_related("plan", "rate_card", "only_for").prefetch_related("allowances")

    def sections(self, request: HttpRequest, row: PlanVersion) -> dict[str, Any]:
        return dict(pages.version_sections(row, may=request.user.has_perm, now=clock.now()))

    @display(description="Status", ordering="status", label=STATUS_COLOURS)
    def status_label(self, version: PlanVersion) -> str:
        return version.status

    @display(description="Fee")
    def fee(self, version: PlanVersion) -> str:
        return fee_text(pages.version_terms(version), version.currency)

    @display(description="Included usage")
    def included(self, version: PlanVersion) -> str:
        return pages.included_text(version) or NOTHING


@admin.register(RateCard)
class RateCardAdmin(_WithSections):
    list_display = ("name", "code", "currency", "base", "source")
    list_select_related = ("base",)
    search_fields = ("code", "name")
    change_form_template = f"{TEMPLATES}/card.html"
    fields = ("name", "code")

    def sections(self, request: HttpRequest, row: RateCard) -> dict[str, Any]:
        return dict(pages.card_sections(row, now=clock.now()))


@admin.register(Rate)
class RateAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "rate_card", "price", "effective_from")
    list_select_related = ("rate_card",)
    list_filter = ("rate_card", "meter_code", "charge_model")
    search_fields = ("dimensions", "meter_code")
    fields = ("card_link", "subject", "meter_code", "charge", "price", "units", "effective_from", "accrued_link")

    @display(description="Price")
    def price(self, rate: Rate) -> str:
        return price_text(price_of(rate), rate.rate_card.currency)

    @display(description="Charge model")
    def charge(self, rate: Rate) -> str:
        return rate.get_charge_model_display()

    @display(description="Units that the price buys")
    def units(self, rate: Rate) -> str:
        return NOTHING if rate.unit_size is None else quantity_text(Decimal(rate.unit_size))

    @display(description="Rate card")
    def card_link(self, rate: Rate) -> str:
        return page_link("billing.ratecard", rate.rate_card_id, rate.rate_card)

    @display(description="Usage at this rate", empty_value=NOTHING)
    def accrued_link(self, rate: Rate) -> str:
        return link(list_url("billing.usageaccrualline", rate__id__exact=rate.pk), "Accrued at this rate")
