"""Plans and prices to read. They are written by `manage.py load_catalog`, so that a change is reviewed first."""

from decimal import Decimal

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from billing.admin_links import NOTHING, link, list_url, page_link
from billing.catalog.models import Plan, PlanVersion, Rate, RateCard
from billing.money_text import exact_text, minor_text, quantity_text
from billing.read_only_admin import ReadOnlyAdmin, ReadOnlyInline


def _fee(version: PlanVersion) -> str:
    return minor_text(version.fee_minor, version.currency)


def _included(version: PlanVersion) -> str:
    amounts = [exact_text(one.amount, version.currency) for one in version.allowances.all() if one.measure == "money"]
    return ", ".join(amounts) or NOTHING


def _price(rate: Rate) -> str:
    if rate.unit_price is None or rate.unit_size is None:
        return rate.get_charge_model_display()
    return f"{exact_text(rate.unit_price, rate.rate_card.currency)} per {quantity_text(Decimal(rate.unit_size))}"


def late_policy_text(version: PlanVersion) -> str:
    """What becomes of late usage, in words."""
    text = version.get_late_policy_display()
    return f"{text}: {exact_text(version.late_absorb_up_to, version.currency)}" if version.late_absorb_up_to else text


class PlanVersionInline(ReadOnlyInline):
    model = PlanVersion
    fields = ("version_link", "status", "fee", "included", "card_link", "published_at")
    verbose_name_plural = "Versions"

    def get_queryset(self, request: HttpRequest) -> QuerySet[PlanVersion]:
        rows: QuerySet[PlanVersion] = super().get_queryset(request)
        return rows.select_related("rate_card").prefetch_related("allowances")

    @display(description="Version")
    def version_link(self, version: PlanVersion) -> str:
        return page_link("billing.planversion", version.pk, f"v{version.version}")

    @display(description="Fee a month and seat")
    def fee(self, version: PlanVersion) -> str:
        return _fee(version)

    @display(description="Included usage")
    def included(self, version: PlanVersion) -> str:
        return _included(version)

    @display(description="Rate card")
    def card_link(self, version: PlanVersion) -> str:
        return page_link("billing.ratecard", version.rate_card_id, version.rate_card)


@admin.register(Plan)
class PlanAdmin(ReadOnlyAdmin):
    list_display = ("name", "code", "stripe_product_id")
    search_fields = ("code", "name")
    fields = ("name", "code", "stripe_product_id")
    inlines = (PlanVersionInline,)


@admin.register(PlanVersion)
class PlanVersionAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "status_label", "fee", "included", "rate_card", "published_at")
    list_select_related = ("plan", "rate_card")
    list_filter = ("status",)
    fields = (
        "plan_link",
        "version",
        "status",
        "fee",
        "included",
        "late_usage",
        "card_link",
        "stripe_price_id",
        "published_at",
        "subscriptions_link",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[PlanVersion]:
        rows: QuerySet[PlanVersion] = super().get_queryset(request)
        return rows.prefetch_related("allowances")

    @display(description="Late usage")
    def late_usage(self, version: PlanVersion) -> str:
        return late_policy_text(version)

    @display(description="Status", label={"published": "success", "draft": "warning"})
    def status_label(self, version: PlanVersion) -> str:
        return version.status

    @display(description="Fee a month and seat")
    def fee(self, version: PlanVersion) -> str:
        return _fee(version)

    @display(description="Included usage a month and seat")
    def included(self, version: PlanVersion) -> str:
        return _included(version)

    @display(description="Plan")
    def plan_link(self, version: PlanVersion) -> str:
        return page_link("billing.plan", version.plan_id, version.plan)

    @display(description="Rate card")
    def card_link(self, version: PlanVersion) -> str:
        return page_link("billing.ratecard", version.rate_card_id, version.rate_card)

    @display(description="Subscriptions")
    def subscriptions_link(self, version: PlanVersion) -> str:
        return link(
            list_url("billing.subscription", plan_version__id__exact=version.pk), "Subscriptions on these terms"
        )


class RateInline(ReadOnlyInline):
    model = Rate
    fields = ("subject", "meter_code", "price", "effective_from")
    verbose_name_plural = "Rates"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rate]:
        rows: QuerySet[Rate] = super().get_queryset(request)
        return rows.select_related("rate_card")

    @display(description="Price")
    def price(self, rate: Rate) -> str:
        return _price(rate)


@admin.register(RateCard)
class RateCardAdmin(ReadOnlyAdmin):
    list_display = ("name", "code", "currency", "source")
    search_fields = ("code", "name")
    fields = ("name", "code", "currency", "source")
    inlines = (RateInline,)


@admin.register(Rate)
class RateAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "rate_card", "price", "effective_from")
    list_select_related = ("rate_card",)
    list_filter = ("rate_card", "meter_code")
    search_fields = ("dimensions", "meter_code")
    fields = ("card_link", "subject", "meter_code", "price", "effective_from", "accrued_link")

    @display(description="Price")
    def price(self, rate: Rate) -> str:
        return _price(rate)

    @display(description="Rate card")
    def card_link(self, rate: Rate) -> str:
        return page_link("billing.ratecard", rate.rate_card_id, rate.rate_card)

    @display(description="Usage at this rate", empty_value=NOTHING)
    def accrued_link(self, rate: Rate) -> str:
        return link(list_url("billing.usageaccrualline", rate__id__exact=rate.pk), "Accrued at this rate")
