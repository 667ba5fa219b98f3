"""Subscriptions and their billing periods to read, with links down to what a period's figures are made of."""

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from unfold.decorators import display

from billing.accounting.manual_entry_page import person
from billing.admin_links import NOTHING, link, list_url, page_link, windows_url
from billing.catalog.admin import late_policy_text
from billing.invoicing import late_page
from billing.money_text import exact_text, quantity_text
from billing.rating.explanation.links import period_url
from billing.rating.queries import conservation
from billing.read_only_admin import ReadOnlyAdmin, ReadOnlyInline
from billing.stripe.dashboard import object_text
from billing.subscriptions import pages, scheduling, timeline
from billing.subscriptions.action_pages import CHANGE, SubscriptionActions, offered
from billing.subscriptions.following import collection_text
from billing.subscriptions.models import BillingPeriod, PeriodAllowance, Subscription
from config import clock

STATUS_COLOURS = {
    Subscription.Status.ACTIVE.label: "success",
    Subscription.Status.TRIALING.label: "info",
    Subscription.Status.PAST_DUE.label: "danger",
    Subscription.Status.UNPAID.label: "danger",
    Subscription.Status.INCOMPLETE.label: "warning",
}
KIND_COLOURS = {
    BillingPeriod.Kind.REGULAR.label: "success",
    BillingPeriod.Kind.TRIAL.label: "info",
    BillingPeriod.Kind.PAUSED.label: "warning",
}
PERIOD_STATE_COLOURS = {BillingPeriod.State.OPEN.label: "info", BillingPeriod.State.CLOSED.label: "success"}


def allowances_text(period: BillingPeriod) -> str:
    """What the period includes, pool by pool."""
    return ", ".join(_allowance_text(one, period.plan_version.currency) for one in period.allowances.all()) or NOTHING


def _allowance_text(allowance: PeriodAllowance, currency: str) -> str:
    if allowance.amount is None:
        return allowance.name
    if allowance.measure == PeriodAllowance.Measure.CAP:
        return f"billed at most {exact_text(allowance.amount, currency)}"
    each = f" for each {allowance.each_dimension}" if allowance.each_dimension else ""
    return f"{allowance.name}: {_amount_text(allowance, allowance.amount, currency)}{each}"


def _amount_text(allowance: PeriodAllowance, amount: Decimal, currency: str) -> str:
    if allowance.measure == PeriodAllowance.Measure.UNITS:
        return f"{quantity_text(amount)} units"
    return exact_text(amount, currency)


class BillingPeriodInline(ReadOnlyInline):
    model = BillingPeriod
    fields = ("period_link", "kind_label", "state", "seats", "allowance_text", "closed_at")
    ordering = ("-starts_at",)
    verbose_name_plural = "Billing periods"

    def get_queryset(self, request: HttpRequest) -> QuerySet[BillingPeriod]:
        rows: QuerySet[BillingPeriod] = super().get_queryset(request)
        return rows.select_related("plan_version").prefetch_related("allowances")

    @display(description="Period")
    def period_link(self, period: BillingPeriod) -> str:
        return page_link("billing.billingperiod", period.pk, period)

    @display(description="Kind", label=KIND_COLOURS)
    def kind_label(self, period: BillingPeriod) -> str:
        return period.get_kind_display()

    @display(description="Allowance")
    def allowance_text(self, period: BillingPeriod) -> str:
        return allowances_text(period)


@admin.register(Subscription)
class SubscriptionAdmin(SubscriptionActions, ReadOnlyAdmin):
    list_display = ("__str__", "customer_link", "plan_version", "seats", "status_label", "started_at", "notes")
    list_select_related = ("customer", "plan_version__plan")
    list_filter = ("status", "plan_version__plan", "plan_version__interval")
    search_fields = ("customer__customer_key", "customer__name", "=stripe_subscription_id")
    search_help_text = "A customer's key or name, or an id of Stripe's"
    linked_by = frozenset({"plan_version__id__exact"})
    change_form_outer_before_template = "admin/billing/subscription/before.html"
    fields = (
        "customer_link",
        "terms_link",
        "seats",
        "status_label",
        "started_at",
        "anchor_at",
        "trial_ends_at",
        "collection",
        "stripe_object",
    )
    inlines = (BillingPeriodInline,)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is not None and self.has_view_permission(request, row):
            may = request.user.has_perm
            shown = pages.subscription_sections(row, now=clock.now()) | {
                "actions": offered(row, may),
                "scheduled": [
                    (one, timeline.scheduled_text(one), person(one.requested_by)) for one in scheduling.waiting_for(row)
                ],
                "may_change": may(CHANGE),
                "bar": timeline.bar(row),
                "previews": timeline.shown_previews(row),
                "timeline": timeline.timeline(row, may=may),
            }
            extra_context = {**(extra_context or {}), "sections": shown}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    @display(description="Customer", ordering="customer__name")
    def customer_link(self, subscription: Subscription) -> str:
        return page_link("billing.customer", subscription.customer_id, subscription.customer)

    @display(description="Terms")
    def terms_link(self, subscription: Subscription) -> str:
        return page_link("billing.planversion", subscription.plan_version_id, subscription.plan_version)

    @display(description="Status", ordering="status", label=STATUS_COLOURS)
    def status_label(self, subscription: Subscription) -> str:
        return subscription.get_status_display()

    def get_urls(self) -> list[URLPattern]:
        return [*self.action_urls(), *super().get_urls()]

    @display(description="Invoices are")
    def collection(self, subscription: Subscription) -> str:
        return collection_text(subscription)

    @display(description="Notes")
    def notes(self, subscription: Subscription) -> str:
        said = ["Held: not as at Stripe"] if subscription.held_reason else []
        if subscription.cancel_at is not None and subscription.ended_at is None:
            said.append(f"ends {subscription.cancel_at:%d %b %Y}")
        said += [f"paused since {subscription.paused_from:%d %b %Y}"] if subscription.paused_from else []
        return ", ".join(said) or NOTHING

    @display(description="At Stripe")
    def stripe_object(self, subscription: Subscription) -> str:
        return object_text("subscriptions", subscription.stripe_subscription_id)


@admin.register(BillingPeriod)
class BillingPeriodAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "customer_link", "plan_version", "kind_label", "seats", "allowance_text", "state_label")
    list_select_related = ("subscription__customer", "plan_version__plan")
    list_filter = ("state", "kind")
    search_fields = ("subscription__customer__customer_key", "subscription__customer__name")
    search_help_text = "A customer's key or name"
    linked_by = frozenset({"subscription__id__exact", "subscription__customer__id__exact", "ends_at__lte"})
    ordering = ("-starts_at", "-id")
    change_form_outer_before_template = "admin/billing/billingperiod/terms.html"
    fields = (
        "customer_link",
        "starts_at",
        "ends_at",
        "terms_link",
        "late_policy_text",
        "state_label",
        "closed_at",
        "funding_text",
        "explanation_link",
        "accruals_link",
        "lines_link",
        "windows_link",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[BillingPeriod]:
        rows: QuerySet[BillingPeriod] = super().get_queryset(request)
        return rows.prefetch_related("allowances")

    @display(description="Customer")
    def customer_link(self, period: BillingPeriod) -> str:
        customer = period.subscription.customer
        return page_link("billing.customer", customer.pk, customer)

    @display(description="Terms")
    def terms_link(self, period: BillingPeriod) -> str:
        return page_link("billing.planversion", period.plan_version_id, period.plan_version)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        period = self.get_object(request, object_id)
        if period is not None and self.has_view_permission(request, period):
            extra_context = {**(extra_context or {}), "sections": pages.period_sections(period)}
        if period is not None and request.user.has_perm("billing.view_lateusage"):
            extra_context = {**(extra_context or {}), "late_usage": late_page.of_period(period)}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    @display(description="Late usage")
    def late_policy_text(self, period: BillingPeriod) -> str:
        return late_policy_text(period.plan_version)

    @display(description="Allowance")
    def allowance_text(self, period: BillingPeriod) -> str:
        return allowances_text(period)

    @display(description="Kind", ordering="kind", label=KIND_COLOURS)
    def kind_label(self, period: BillingPeriod) -> str:
        return period.get_kind_display()

    @display(description="State", ordering="state", label=PERIOD_STATE_COLOURS)
    def state_label(self, period: BillingPeriod) -> str:
        return period.get_state_display()

    @display(description="Rated usage")
    def funding_text(self, period: BillingPeriod) -> str:
        currency, went = period.plan_version.currency, conservation(period.pk)
        parts = [(name, getattr(went, name)) for name in ("included", "credited", "billed", "absorbed")]
        parts += [("not invoiced yet", went.open)] if went.open else []
        told = " + ".join(f"{exact_text(amount, currency)} {name}" for name, amount in parts)
        return f"{exact_text(went.rated, currency)} = {told}"

    @display(description="Explanation")
    def explanation_link(self, period: BillingPeriod) -> str:
        return link(period_url(period.pk), "Why this amount, with its windows, payers and postings")

    @display(description="Accruals")
    def accruals_link(self, period: BillingPeriod) -> str:
        return link(list_url("billing.usageaccrual", period__id__exact=period.pk), "Each run of rating")

    @display(description="By price")
    def lines_link(self, period: BillingPeriod) -> str:
        return link(
            list_url("billing.usageaccrualline", accrual__period__id__exact=period.pk), "Accrued, price by price"
        )

    @display(description="Usage")
    def windows_link(self, period: BillingPeriod) -> str:
        url = windows_url(
            customer_key=period.subscription.customer.customer_key, start=period.starts_at, end=period.ends_at
        )
        return link(url, "Hourly windows of this period")
