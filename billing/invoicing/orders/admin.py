"""Orders of invoices to read: why each was made, how far it has come, and what it became."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.decorators import display

from billing.admin_links import page_link, page_url
from billing.invoicing.holding import RELEASE
from billing.invoicing.orders.models import InvoiceOrder, InvoiceOrderLine
from billing.invoicing.orders.repeating import CAME_TO_NOTHING, OrderRefused, order_again
from billing.invoicing.requests.forms import WordsForm
from billing.money_text import minor_text
from billing.read_only_admin import ReadOnlyAdmin, ReadOnlyInline
from config import clock

State = InvoiceOrder.State
STATE_COLOURS = {
    State.INTENDED.label: "info",
    State.DRAFTED.label: "success",
    State.DROPPED.label: "warning",
    State.REFUSED.label: "danger",
    State.LOST.label: "danger",
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
    linked_by = frozenset({"customer__id__exact", "period__id__exact", "replaces__id__exact", "state__in"})
    inlines = (InvoiceOrderLineInline,)
    change_form_outer_before_template = "admin/billing/invoiceorder/again_button.html"
    fields = (
        "kind",
        "state_label",
        "customer_link",
        "amount",
        "reason",
        "period_link",
        "replaces_link",
        "repeats_link",
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

    @display(description="Ordered again after")
    def repeats_link(self, order: InvoiceOrder) -> str:
        return page_link("billing.invoiceorder", order.repeats_id, order.repeats)

    @display(description="Invoice")
    def invoice_link(self, order: InvoiceOrder) -> str:
        return page_link("billing.invoice", order.invoice_id, order.invoice)

    def get_urls(self) -> list[URLPattern]:
        again = self.admin_site.admin_view(self.again_view)
        return [path("<int:order_id>/again/", again, name="billing_invoiceorder_again"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        order = self.get_object(request, object_id)
        if order is not None and order.state in CAME_TO_NOTHING:
            extra_context = {
                **(extra_context or {}),
                "came_to_nothing": True,
                "repeated_by": InvoiceOrder.objects.filter(repeats=order).first(),
                "may_repeat": request.user.has_perm(RELEASE),
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def again_view(self, request: HttpRequest, order_id: int) -> HttpResponse:
        """Show what came to nothing and ask what was mended (GET, or POST with an error), then order it (POST)."""
        if not request.user.has_perm(RELEASE):
            raise PermissionDenied
        order = InvoiceOrder.objects.select_related("customer").filter(pk=order_id).first()
        if order is None:
            raise Http404("There is no such order.")
        form = WordsForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            words, actor = form.cleaned_data["words"], f"user:{request.user.get_username()}"
            try:
                with transaction.atomic():
                    repeated = order_again(order_id=order_id, words=words, actor=actor, now=clock.now())
                    self.log_change(request, order, f"Ordered again as {repeated.pk}: {words}")
                self.message_user(request, "It is ordered again, and made within a minute.", messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.invoiceorder", repeated.pk))
            except OrderRefused as refused:
                form.show(refused)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Order again: {order}",
            "order": order,
            "lines": order.lines.order_by("position"),
            "form": form,
            "cancel_url": page_url("billing.invoiceorder", order_id),
        }
        template = "admin/billing/invoiceorder/again.html"
        return TemplateResponse(request, template, context, status=422 if form.errors else 200)
