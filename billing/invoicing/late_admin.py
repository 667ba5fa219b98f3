"""Late usage to read, and to decide about where the contract leaves it to a person."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html_join
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from billing.admin_links import link, page_link, page_url
from billing.invoicing import late, late_page
from billing.money_text import exact_text
from billing.rating.models import LateUsage
from billing.read_only_admin import ReadOnlyAdmin
from config import clock

DECIDE_PERMISSION = "billing.decide_lateusage"
WAYS = (
    (late.NEXT_INVOICE, "Put it on the next invoice"),
    (late.DOCUMENT, "Make a credit note, or an invoice of its own, at once"),
    (late.ABSORB, "Absorb it: nobody is asked to pay"),
)
STATE_COLOURS = {state.label: late_page.COLOURS[state] for state in LateUsage.State}


class DecideForm(forms.Form):
    way = forms.ChoiceField(choices=WAYS, widget=UnfoldAdminSelectWidget, label="What to do")
    reason = forms.CharField(
        max_length=300,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Why, for whoever asks later. Kept with it.",
    )


@admin.register(LateUsage)
class LateUsageAdmin(ReadOnlyAdmin):
    list_display = ("what", "customer_link", "period_link", "change", "state_label", "outcome", "recorded_at")
    list_select_related = (
        "accrual__period__subscription__customer",
        "accrual__period__plan_version",
    )
    list_filter = ("state", "policy")
    search_fields = ("=accrual__period__subscription__customer__customer_key",)
    search_help_text = "A customer key"
    linked_by = frozenset({"accrual__period__id__exact", "state__exact"})
    change_form_outer_before_template = "admin/billing/lateusage/decide_button.html"
    shown_with: ClassVar[dict[str, str]] = {"entry_link": "ledger.view_journalentry"}
    fields = (
        "customer_link",
        "period_link",
        "policy",
        "what",
        "received",
        "hours",
        "rated",
        "unbilled",
        "state_label",
        "outcome",
        "settled_by",
        "settled_at",
        "documents",
        "entry_link",
    )

    @display(description="What arrived")
    def what(self, row: LateUsage) -> str:
        return late_page.what_arrived(row)

    @display(description="Customer")
    def customer_link(self, row: LateUsage) -> str:
        customer = row.accrual.period.subscription.customer
        return page_link("billing.customer", customer.pk, customer)

    @display(description="Period")
    def period_link(self, row: LateUsage) -> str:
        return page_link("billing.billingperiod", row.accrual.period_id, row.accrual.period)

    @display(description="Change of what is to be invoiced")
    def change(self, row: LateUsage) -> str:
        return exact_text(row.accrual.unbilled, row.accrual.period.plan_version.currency)

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_label(self, row: LateUsage) -> str:
        return row.get_state_display()

    @display(description="Found", ordering="accrual__recorded_at")
    def recorded_at(self, row: LateUsage) -> Any:
        return row.accrual.recorded_at

    @display(description="Received")
    def received(self, row: LateUsage) -> str:
        return self._told(row).received or "–"

    @display(description="Usage of")
    def hours(self, row: LateUsage) -> str:
        told = self._told(row)
        return link(told.hours_url, told.hours) if told.hours_url else "–"

    @display(description="Rated, before → after")
    def rated(self, row: LateUsage) -> str:
        return self._told(row).rated

    @display(description="To invoice, before → after")
    def unbilled(self, row: LateUsage) -> str:
        return self._told(row).unbilled

    @display(description="Where to look")
    def documents(self, row: LateUsage) -> str:
        return format_html_join(", ", "{}", ((link(url, text),) for text, url in late_page.links_of(row)))

    @display(description="Journal entry")
    def entry_link(self, row: LateUsage) -> str:
        entry_id = row.accrual.journal_entry_id
        return page_link("ledger.journalentry", entry_id, f"#{entry_id}")

    def _told(self, row: LateUsage) -> late_page.LateRow:
        return late_page.rows(LateUsage.objects.filter(pk=row.pk))[0]

    def get_urls(self) -> list[URLPattern]:
        decide = path(
            "<int:late_usage_id>/decide/",
            self.admin_site.admin_view(self.decide_view),
            name="billing_lateusage_decide",
        )
        return [decide, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        may_decide = request.user.has_perm(DECIDE_PERMISSION)
        extra_context = {**(extra_context or {}), "may_decide": may_decide, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def decide_view(self, request: HttpRequest, late_usage_id: int) -> HttpResponse:
        """Ask what to do and why (GET, or POST with an error), then do it (POST)."""
        if not request.user.has_perm(DECIDE_PERMISSION):
            raise PermissionDenied
        found = late_page.rows(LateUsage.objects.filter(pk=late_usage_id))
        if not found:
            raise Http404("There is no such late usage.")
        form = DecideForm(request.POST or None)
        if request.method == "POST" and form.is_valid() and self._decide(request, found[0].late, form):
            return HttpResponseRedirect(page_url("billing.lateusage", late_usage_id))
        context = {
            **self.admin_site.each_context(request),
            "title": "Decide about late usage",
            "row": found[0],
            "form": form,
            "cancel_url": page_url("billing.lateusage", late_usage_id),
        }
        status = 422 if request.method == "POST" else 200
        return TemplateResponse(request, "admin/billing/lateusage/decide.html", context, status=status)

    def _decide(self, request: HttpRequest, row: LateUsage, form: DecideForm) -> bool:
        """False when it was refused: the reason is then on the form. Documents are made by the task."""
        way, reason = form.cleaned_data["way"], form.cleaned_data["reason"]
        try:
            with transaction.atomic():
                late.decide_late_usage(
                    late_usage_id=row.pk,
                    way=way,
                    reason=reason,
                    actor=f"user:{request.user.get_username()}",
                    now=clock.now(),
                )
                self.log_change(request, row, f"Decided: {dict(WAYS)[way]} ({reason})")
        except late.DecisionError as refused:
            form.add_error(refused.field, f"Nothing was done: {refused}.")
            return False
        self.message_user(request, f"Decided: {dict(WAYS)[way]}.", messages.SUCCESS)
        return True
