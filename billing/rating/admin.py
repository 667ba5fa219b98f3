"""Accruals to read: what each run of rating added, for which price, and which grants it burned."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.decorators import display

from billing.admin_links import NOTHING, link, page_link, windows_url
from billing.money_text import exact_text, quantity_text
from billing.rating.explanation.links import accrual_line_url, accrual_url
from billing.rating.models import AllowanceDrawdown, GrantDrawdown, UsageAccrual, UsageAccrualLine
from billing.read_only_admin import ReadOnlyAdmin, ReadOnlyInline

_FUNDING = ("rated", "included", "credited", "unbilled")


class FundingColumns:
    """The four figures of an accrual or of one of its lines: what usage cost, and who paid for it."""

    # Where a row's currency is found: a mixin cannot know.
    _currency: Callable[[Any], str]

    @display(description="Rated", ordering="rated")
    def rated_text(self, row: Any) -> str:
        return exact_text(row.rated, self._currency(row))

    @display(description="Included", ordering="included")
    def included_text(self, row: Any) -> str:
        return exact_text(row.included, self._currency(row))

    @display(description="Credited", ordering="credited")
    def credited_text(self, row: Any) -> str:
        return exact_text(row.credited, self._currency(row))

    @display(description="Unbilled", ordering="unbilled")
    def unbilled_text(self, row: Any) -> str:
        return exact_text(row.unbilled, self._currency(row))


_FUNDING_COLUMNS = ("rated_text", "included_text", "credited_text", "unbilled_text")


class SummedList(ReadOnlyAdmin):
    """A list that says what its rows come to, as soon as it is narrowed to less than everything."""

    summed: tuple[str, ...] = ()
    list_before_template = "admin/billing/sums.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            rows = response.context_data.get("cl")
            if rows is not None and rows.params and rows.result_count:
                response.context_data["sums"] = self._sums(rows.queryset)
        return response

    def _sums(self, queryset: QuerySet[Any]) -> list[tuple[str, str]]:
        totals = queryset.order_by().aggregate(**{f"sum_{name}": Sum(name) for name in self.summed})
        return [(name.capitalize(), quantity_text(totals[f"sum_{name}"])) for name in self.summed]


class UsageAccrualLineInline(FundingColumns, ReadOnlyInline):
    model = UsageAccrualLine
    fields = ("rate_link", "quantity_text", *_FUNDING_COLUMNS)
    verbose_name_plural = "By price"

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageAccrualLine]:
        rows: QuerySet[UsageAccrualLine] = super().get_queryset(request)
        return rows.select_related("rate__rate_card")

    @staticmethod
    def _currency(row: UsageAccrualLine) -> str:
        return row.rate.rate_card.currency

    @display(description="Price")
    def rate_link(self, line: UsageAccrualLine) -> str:
        return page_link("billing.rate", line.rate_id, line.rate)

    @display(description="Quantity")
    def quantity_text(self, line: UsageAccrualLine) -> str:
        return quantity_text(line.quantity)


class AllowanceDrawdownInline(ReadOnlyInline):
    model = AllowanceDrawdown
    fields = ("allowance", "rate_link", "amount_text", "quantity_text")
    verbose_name_plural = "Allowances used"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # What of an accrual was included, price by price: no secret to whoever sees the accrual.
        return request.user.has_perm("billing.view_usageaccrual")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AllowanceDrawdown]:
        rows: QuerySet[AllowanceDrawdown] = super().get_queryset(request)
        return rows.select_related("allowance", "rate__rate_card")

    @display(description="For")
    def rate_link(self, drawdown: AllowanceDrawdown) -> str:
        return page_link("billing.rate", drawdown.rate_id, drawdown.rate)

    @display(description="Included")
    def amount_text(self, drawdown: AllowanceDrawdown) -> str:
        return exact_text(drawdown.amount, drawdown.rate.rate_card.currency)

    @display(description="Units")
    def quantity_text(self, drawdown: AllowanceDrawdown) -> str:
        return quantity_text(drawdown.quantity) if drawdown.quantity else NOTHING


class GrantDrawdownInline(ReadOnlyInline):
    model = GrantDrawdown
    shown_with = {"grant_link": "promotions.view_creditgrant"}
    fields = ("grant_link", "rate_link", "amount_text")
    verbose_name_plural = "Grants burned"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("billing.view_grantdrawdown")

    def get_queryset(self, request: HttpRequest) -> QuerySet[GrantDrawdown]:
        rows: QuerySet[GrantDrawdown] = super().get_queryset(request)
        return rows.select_related("grant", "rate__rate_card")

    @display(description="Grant")
    def grant_link(self, drawdown: GrantDrawdown) -> str:
        return page_link("promotions.creditgrant", drawdown.grant_id, drawdown.grant)

    @display(description="For")
    def rate_link(self, drawdown: GrantDrawdown) -> str:
        return page_link("billing.rate", drawdown.rate_id, drawdown.rate)

    @display(description="Burned")
    def amount_text(self, drawdown: GrantDrawdown) -> str:
        return exact_text(drawdown.amount, drawdown.rate.rate_card.currency)


@admin.register(UsageAccrual)
class UsageAccrualAdmin(FundingColumns, SummedList):
    list_display = ("__str__", "customer_link", "period_link", *_FUNDING_COLUMNS, "recorded_at")
    list_select_related = ("period__subscription__customer", "period__plan_version")
    search_fields = ("=period__subscription__customer__customer_key",)
    ordering = ("-id",)
    linked_by = frozenset({"period__id__exact", "period__state__exact", "period__subscription__customer__id__exact"})
    summed = _FUNDING
    shown_with = {"entry_link": "ledger.view_journalentry"}
    fields = (
        "customer_link",
        "period_link",
        "revision",
        *_FUNDING_COLUMNS,
        "explanation_link",
        "entry_link",
        "aggregated_through",
        "recorded_at",
    )
    inlines = (UsageAccrualLineInline, AllowanceDrawdownInline, GrantDrawdownInline)

    @staticmethod
    def _currency(row: UsageAccrual) -> str:
        return row.period.plan_version.currency

    @display(description="Customer")
    def customer_link(self, accrual: UsageAccrual) -> str:
        customer = accrual.period.subscription.customer
        return page_link("billing.customer", customer.pk, customer)

    @display(description="Period")
    def period_link(self, accrual: UsageAccrual) -> str:
        return page_link("billing.billingperiod", accrual.period_id, accrual.period)

    @display(description="Explanation")
    def explanation_link(self, accrual: UsageAccrual) -> str:
        return link(accrual_url(accrual.pk), "Why this amount")

    @display(description="Journal entry")
    def entry_link(self, accrual: UsageAccrual) -> str:
        return page_link("ledger.journalentry", accrual.journal_entry_id, f"#{accrual.journal_entry_id}")


@admin.register(UsageAccrualLine)
class UsageAccrualLineAdmin(FundingColumns, SummedList):
    list_display = (
        "accrual_link",
        "customer_link",
        "rate_link",
        "quantity_text",
        *_FUNDING_COLUMNS,
        "explanation_link",
        "windows_link",
    )
    list_display_links = None
    list_select_related = ("accrual__period__subscription__customer", "rate__rate_card")
    search_fields = ("=accrual__period__subscription__customer__customer_key",)
    ordering = ("-id",)
    linked_by = frozenset({"accrual__period__id__exact", "accrual__id__gt", "accrual__id__lte", "rate__id__exact"})
    summed = ("quantity", *_FUNDING)
    fields = ("accrual_link", "customer_link", "rate_link", "quantity_text", *_FUNDING_COLUMNS, "windows_link")

    @staticmethod
    def _currency(row: UsageAccrualLine) -> str:
        return row.rate.rate_card.currency

    @display(description="Accrual")
    def accrual_link(self, line: UsageAccrualLine) -> str:
        return page_link("billing.usageaccrual", line.accrual_id, line.accrual)

    @display(description="Customer")
    def customer_link(self, line: UsageAccrualLine) -> str:
        customer = line.accrual.period.subscription.customer
        return page_link("billing.customer", customer.pk, customer)

    @display(description="Price")
    def rate_link(self, line: UsageAccrualLine) -> str:
        return page_link("billing.rate", line.rate_id, line.rate)

    @display(description="Quantity", ordering="quantity")
    def quantity_text(self, line: UsageAccrualLine) -> str:
        return quantity_text(line.quantity)

    @display(description="Explanation")
    def explanation_link(self, line: UsageAccrualLine) -> str:
        return link(accrual_line_url(line.pk), "Why?")

    @display(description="Usage")
    def windows_link(self, line: UsageAccrualLine) -> str:
        period = line.accrual.period
        url = windows_url(
            customer_key=period.subscription.customer.customer_key,
            start=period.starts_at,
            end=period.ends_at,
            meter_code=line.rate.meter_code,
            dimension_model=line.rate.dimensions.get("model", ""),
        )
        return link(url, "Windows")


@admin.register(GrantDrawdown)
class GrantDrawdownAdmin(SummedList):
    list_display = ("accrual_link", "grant_link", "rate_link", "amount_text")
    list_display_links = None
    list_select_related = ("accrual", "grant", "rate__rate_card")
    ordering = ("-id",)
    linked_by = frozenset({"grant__id__exact", "accrual__period__id__exact"})
    summed = ("amount",)
    shown_with = {"grant_link": "promotions.view_creditgrant"}
    fields = ("accrual_link", "grant_link", "rate_link", "amount_text")

    @display(description="Accrual")
    def accrual_link(self, drawdown: GrantDrawdown) -> str:
        return page_link("billing.usageaccrual", drawdown.accrual_id, drawdown.accrual)

    @display(description="Grant")
    def grant_link(self, drawdown: GrantDrawdown) -> str:
        return page_link("promotions.creditgrant", drawdown.grant_id, drawdown.grant)

    @display(description="For")
    def rate_link(self, drawdown: GrantDrawdown) -> str:
        return page_link("billing.rate", drawdown.rate_id, drawdown.rate)

    @display(description="Burned", ordering="amount")
    def amount_text(self, drawdown: GrantDrawdown) -> str:
        return exact_text(drawdown.amount, drawdown.rate.rate_card.currency)
