"""Orders of invoices to read: why each was made, how far it has come, and what it became."""

from django.contrib import admin
from unfold.decorators import display

from billing.admin_links import page_link
from billing.invoicing.orders.models import InvoiceOrder, InvoiceOrderLine
from billing.money_text import minor_text
from billing.read_only_admin import ReadOnlyAdmin, ReadOnlyInline

State = InvoiceOrder.State
STATE_COLOURS = {
    State.INTENDED.label: "info",
    State.DRAFTED.label: "success",
    State.DROPPED.label: "warning",
    State.REFUSED.label: "danger",
}


class InvoiceOrderLineInline(ReadOnlyInline):
    model = InvoiceOrderLine
    fields = ("position", "description", "amount", "is_taxed")
    verbose_name_plural = "Lines that the order says itself"

    @display(description="Amount")
    def amount(self, line: InvoiceOrderLine) -> str:
        return minor_text(line.amount_minor, line.order.currency)


@admin.register(InvoiceOrder)
class InvoiceOrderAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "state_label", "customer_link", "amount", "invoice_link", "reason", "ordered_at")
    list_select_related = ("customer", "invoice")
    list_filter = ("state", "kind")
    search_fields = ("=id", "=customer__customer_key", "=invoice__number", "=invoice__stripe_invoice_id")
    search_help_text = "The number of an order, a customer key, or an invoice"
    linked_by = frozenset({"customer__id__exact", "period__id__exact", "replaces__id__exact"})
    inlines = (InvoiceOrderLineInline,)
    fields = (
        "kind",
        "state_label",
        "customer_link",
        "amount",
        "reason",
        "period_link",
        "replaces_link",
        "invoice_link",
        "outcome",
        "error",
        "attempts",
        "next_attempt_at",
        "ordered_by",
        "ordered_at",
        "finished_at",
    )

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_label(self, order: InvoiceOrder) -> str:
        return order.get_state_display()

    @display(description="Customer", ordering="customer__name")
    def customer_link(self, order: InvoiceOrder) -> str:
        return page_link("billing.customer", order.customer_id, order.customer)

    @display(description="Amount", ordering="amount_minor")
    def amount(self, order: InvoiceOrder) -> str:
        return "–" if order.amount_minor is None else minor_text(order.amount_minor, order.currency)

    @display(description="Period")
    def period_link(self, order: InvoiceOrder) -> str:
        return page_link("billing.billingperiod", order.period_id, order.period)

    @display(description="In place of")
    def replaces_link(self, order: InvoiceOrder) -> str:
        return page_link("billing.invoice", order.replaces_id, order.replaces)

    @display(description="Invoice")
    def invoice_link(self, order: InvoiceOrder) -> str:
        return page_link("billing.invoice", order.invoice_id, order.invoice)
