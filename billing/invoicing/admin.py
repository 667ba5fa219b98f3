"""Invoices and their closes to read: every line with what it is exactly, what was charged, and where it comes from."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import display

from billing.admin_links import page_link
from billing.invoicing import page
from billing.invoicing.models import Invoice, InvoiceClose, InvoiceCloseStep
from billing.money_text import minor_text
from billing.read_only_admin import ReadOnlyAdmin, ReadOnlyInline

PAST_DUE = "Past due"
INVOICE_COLOURS = {
    Invoice.Status.DRAFT.label: "info",
    Invoice.Status.OPEN.label: "warning",
    PAST_DUE: "danger",
    Invoice.Status.PAID.label: "success",
    Invoice.Status.UNCOLLECTIBLE.label: "danger",
}
STEP_COLOURS = {InvoiceClose.Step.FINALIZED.label: "success"}


class PastDueFilter(admin.SimpleListFilter):
    title = "payment"
    parameter_name = "past_due"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", PAST_DUE)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> QuerySet[Invoice]:
        return queryset.filter(page.PAST_DUE) if self.value() == "yes" else queryset


@admin.register(Invoice)
class InvoiceAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "customer_link", "total", "remaining", "status_label", "created_at", "finalized_at")
    list_select_related = ("customer",)
    list_filter = ("status", PastDueFilter)
    search_fields = ("=number", "=stripe_invoice_id", "customer__customer_key", "customer__name")
    linked_by = frozenset({"customer__id__exact", "created_at__gte", "created_at__lt"})
    fields = ("stripe_invoice_id",)

    @display(description="Customer", ordering="customer__name")
    def customer_link(self, invoice: Invoice) -> str:
        return page_link("billing.customer", invoice.customer_id, invoice.customer)

    @display(description="Total", ordering="total_minor")
    def total(self, invoice: Invoice) -> str:
        return minor_text(invoice.total_minor, invoice.currency)

    @display(description="Still open", ordering="amount_remaining_minor")
    def remaining(self, invoice: Invoice) -> str:
        return minor_text(invoice.amount_remaining_minor, invoice.currency)

    @display(description="Status", ordering="status", label=INVOICE_COLOURS)
    def status_label(self, invoice: Invoice) -> str:
        return PAST_DUE if page.is_past_due(invoice) else invoice.get_status_display()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        invoice = self.get_object(request, object_id)
        if invoice is not None and self.has_view_permission(request, invoice):
            shown = page.sections(invoice=invoice, may=request.user.has_perm)
            extra_context = {**(extra_context or {}), **shown, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response


class HeldFilter(admin.SimpleListFilter):
    title = "held"
    parameter_name = "held"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Held for a person"), ("unfinished", "Not finished")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[InvoiceClose]) -> QuerySet[InvoiceClose]:
        conditions = {"yes": ~Q(held_reason=""), "unfinished": ~Q(step=InvoiceClose.Step.FINALIZED)}
        condition = conditions.get(self.value() or "")
        return queryset.filter(condition) if condition is not None else queryset


class InvoiceCloseStepInline(ReadOnlyInline):
    model = InvoiceCloseStep
    fields = ("step", "recorded_at", "detail")
    verbose_name_plural = "Steps"


@admin.register(InvoiceClose)
class InvoiceCloseAdmin(ReadOnlyAdmin):
    list_display = (
        "__str__",
        "invoice_link",
        "customer_link",
        "step_label",
        "held_reason",
        "attempts",
        "next_attempt_at",
    )
    list_select_related = ("invoice__customer",)
    list_filter = (HeldFilter, "step")
    search_fields = ("=invoice__number", "=invoice__stripe_invoice_id", "invoice__customer__customer_key")
    fields = (
        "invoice_link",
        "customer_link",
        "period_link",
        "step_label",
        "held_reason",
        "attempts",
        "next_attempt_at",
        "error",
    )
    inlines = (InvoiceCloseStepInline,)

    @display(description="Invoice")
    def invoice_link(self, close: InvoiceClose) -> str:
        return page_link("billing.invoice", close.invoice_id, close.invoice)

    @display(description="Customer")
    def customer_link(self, close: InvoiceClose) -> str:
        return page_link("billing.customer", close.invoice.customer_id, close.invoice.customer)

    @display(description="Period")
    def period_link(self, close: InvoiceClose) -> str:
        return page_link("billing.billingperiod", close.period_id, close.period)

    @display(description="Step", ordering="step", label=STEP_COLOURS)
    def step_label(self, close: InvoiceClose) -> str:
        return close.get_step_display()
