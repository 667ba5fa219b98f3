"""Invoices and their closes to read: every line with what it is exactly, what was charged, and where it comes from."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.decorators import display

from billing.admin_links import NOTHING, page_link, page_url
from billing.invoicing import page
from billing.invoicing.holding import RELEASE, ReleaseRefused, release_close
from billing.invoicing.late_models import AbsorbedUsage
from billing.invoicing.models import (
    CreditNote,
    CreditNoteLine,
    Invoice,
    InvoiceClose,
    InvoiceCloseStep,
)
from billing.invoicing.release_models import InvoiceCloseRelease
from billing.invoicing.requests.forms import WordsForm
from billing.money_text import exact_text, minor_text
from billing.read_only_admin import ReadOnlyAdmin, ReadOnlyInline
from billing.stripe.dashboard import object_text
from config import clock

PAST_DUE = "Past due"
INVOICE_COLOURS = {
    Invoice.Status.DRAFT.label: "info",
    Invoice.Status.OPEN.label: "warning",
    PAST_DUE: "danger",
    Invoice.Status.PAID.label: "success",
    Invoice.Status.UNCOLLECTIBLE.label: "danger",
}
STEP_COLOURS = {InvoiceClose.Step.FINALIZED.label: "success", InvoiceClose.Step.ENDED.label: "warning"}


class PastDueFilter(admin.SimpleListFilter):
    title = "payment"
    parameter_name = "past_due"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", PAST_DUE)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Invoice]) -> QuerySet[Invoice]:
        return queryset.filter(page.PAST_DUE) if self.value() == "yes" else queryset


@admin.register(Invoice)
class InvoiceAdmin(ReadOnlyAdmin):
    list_display = (
        "__str__",
        "customer_link",
        "total",
        "remaining",
        "status_label",
        "recovery_link",
        "created_at",
        "finalized_at",
    )
    list_select_related = ("customer", "recovery_case")
    shown_with: ClassVar[dict[str, str]] = {"recovery_link": "billing.view_recoverycase"}
    list_filter = ("status", PastDueFilter)
    search_fields = ("=number", "=stripe_invoice_id", "customer__customer_key", "customer__name")
    search_help_text = "A number, an id of Stripe's, or a customer's key or name"
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

    @display(description="Recovery")
    def recovery_link(self, invoice: Invoice) -> str:
        case = getattr(invoice, "recovery_case", None)
        return NOTHING if case is None else page_link("billing.recoverycase", case.pk, case.get_state_display())

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        invoice = self.get_object(request, object_id)
        if invoice is not None and self.has_view_permission(request, invoice):
            shown = page.sections(invoice=invoice, may=request.user.has_perm, now=clock.now())
            extra_context = {**(extra_context or {}), **shown, "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response


class HeldFilter(admin.SimpleListFilter):
    title = "held"
    parameter_name = "held"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Held for a person"), ("unfinished", "Not finished")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[InvoiceClose]) -> QuerySet[InvoiceClose]:
        conditions = {"yes": ~Q(held_reason=""), "unfinished": ~Q(step__in=InvoiceClose.ENDS)}
        condition = conditions.get(self.value() or "")
        return queryset.filter(condition) if condition is not None else queryset


class InvoiceCloseStepInline(ReadOnlyInline):
    model = InvoiceCloseStep
    fields = ("step", "recorded_at", "detail")
    verbose_name_plural = "Steps"


class InvoiceCloseReleaseInline(ReadOnlyInline):
    model = InvoiceCloseRelease
    fields = ("released_at", "released_by", "words", "held_reason", "held_at")
    verbose_name_plural = "Let go on by a person"


@admin.register(InvoiceClose)
class InvoiceCloseAdmin(ReadOnlyAdmin):
    list_display = (
        "__str__",
        "invoice_link",
        "customer_link",
        "step_label",
        "held_reason",
        "held_at",
        "attempts",
        "next_attempt_at",
    )
    list_select_related = ("invoice__customer",)
    list_filter = (HeldFilter, "step")
    search_fields = ("=invoice__number", "=invoice__stripe_invoice_id", "invoice__customer__customer_key")
    search_help_text = "An invoice's number or id at Stripe, or a customer's key"
    fields = (
        "invoice_link",
        "customer_link",
        "period_link",
        "step_label",
        "held_reason",
        "held_at",
        "attempts",
        "next_attempt_at",
        "error",
    )
    inlines = (InvoiceCloseStepInline, InvoiceCloseReleaseInline)
    change_form_outer_before_template = "admin/billing/invoiceclose/release_button.html"

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

    def get_urls(self) -> list[URLPattern]:
        release = self.admin_site.admin_view(self.release_view)
        return [path("<int:close_id>/release/", release, name="billing_invoiceclose_release"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        extra_context = {**(extra_context or {}), "may_release": request.user.has_perm(RELEASE), "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    def release_view(self, request: HttpRequest, close_id: int) -> HttpResponse:
        """Show what it is held for and ask why it may go on (GET, or POST with an error), then let it (POST)."""
        if not request.user.has_perm(RELEASE):
            raise PermissionDenied
        close = InvoiceClose.objects.select_related("invoice__customer").filter(pk=close_id).first()
        if close is None:
            raise Http404("There is no such close.")
        form = WordsForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            words, actor = form.cleaned_data["words"], f"user:{request.user.get_username()}"
            try:
                with transaction.atomic():
                    release_close(close_id=close_id, words=words, actor=actor, now=clock.now())
                    self.log_change(request, close, f"Let go on: {words}")
                self.message_user(request, "It goes on from its last finished step.", messages.SUCCESS)
                return HttpResponseRedirect(page_url("billing.invoiceclose", close_id))
            except ReleaseRefused as refused:
                form.show(refused)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Let the invoice of {close.invoice.customer.name} go on",
            "close": close,
            "form": form,
            "cancel_url": page_url("billing.invoiceclose", close_id),
        }
        template = "admin/billing/invoiceclose/release.html"
        return TemplateResponse(request, template, context, status=422 if form.errors else 200)


class CreditNoteLineInline(ReadOnlyInline):
    model = CreditNoteLine
    fields = ("description", "amount", "discount", "tax", "kind", "from_paid_credit")
    verbose_name_plural = "What is given back, line by line"

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditNoteLine]:
        found: QuerySet[CreditNoteLine] = super().get_queryset(request)
        return found.select_related("credit_note", "invoice_line")

    @display(description="Amount")
    def amount(self, line: CreditNoteLine) -> str:
        return minor_text(line.amount_minor, line.credit_note.currency)

    @display(description="Less discount")
    def discount(self, line: CreditNoteLine) -> str:
        return minor_text(line.discount_minor, line.credit_note.currency)

    @display(description="Tax")
    def tax(self, line: CreditNoteLine) -> str:
        currency = line.credit_note.currency
        if line.inclusive_tax_minor:
            return f"{minor_text(line.inclusive_tax_minor, currency)} within"
        return minor_text(line.exclusive_tax_minor, currency)

    @display(description="Of the invoice's line")
    def kind(self, line: CreditNoteLine) -> str:
        return line.invoice_line.get_kind_display() if line.invoice_line is not None else "None: an amount of its own"

    @display(description="Out of paid credit")
    def from_paid_credit(self, line: CreditNoteLine) -> str:
        return exact_text(line.from_grant, line.credit_note.currency) if line.from_grant else "–"


@admin.register(CreditNote)
class CreditNoteAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "customer_link", "invoice_link", "total", "ways", "status_label", "issued_at")
    list_select_related = ("invoice__customer",)
    list_filter = ("status",)
    search_fields = ("=number", "=stripe_credit_note_id", "=invoice__number", "invoice__customer__customer_key")
    search_help_text = "A number, an id at Stripe, or a customer key"
    linked_by = frozenset({"invoice__id__exact", "invoice__customer__id__exact"})
    shown_with: ClassVar[dict[str, str]] = {"entry_link": "ledger.view_journalentry"}
    fields = (
        "customer_link",
        "invoice_link",
        "status_label",
        "total",
        "before_payment",
        "onto_balance",
        "refunded",
        "outside_stripe",
        "reason",
        "memo",
        "stripe_object",
        "issued_at",
        "voided_at",
        "unwound_at",
        "entry_link",
        "projected_at",
    )
    inlines = (CreditNoteLineInline,)

    @display(description="Customer", ordering="invoice__customer__name")
    def customer_link(self, note: CreditNote) -> str:
        return page_link("billing.customer", note.invoice.customer_id, note.invoice.customer)

    @display(description="Invoice", ordering="invoice__number")
    def invoice_link(self, note: CreditNote) -> str:
        return page_link("billing.invoice", note.invoice_id, note.invoice)

    @display(description="Total", ordering="total_minor")
    def total(self, note: CreditNote) -> str:
        return minor_text(note.total_minor, note.currency)

    @display(description="Given back")
    def ways(self, note: CreditNote) -> str:
        return ", ".join(name for name, amount in note.ways() if amount)

    @display(description="Not asked for any more")
    def before_payment(self, note: CreditNote) -> str:
        return minor_text(note.pre_payment_minor, note.currency)

    @display(description="Onto the customer's balance")
    def onto_balance(self, note: CreditNote) -> str:
        return minor_text(note.to_balance_minor, note.currency)

    @display(description="By refunds")
    def refunded(self, note: CreditNote) -> str:
        return minor_text(note.refunded_minor, note.currency)

    @display(description="Outside Stripe")
    def outside_stripe(self, note: CreditNote) -> str:
        return minor_text(note.out_of_band_minor, note.currency)

    @display(
        description="Status",
        ordering="status",
        label={CreditNote.Status.ISSUED.label: "success", CreditNote.Status.VOID.label: "danger"},
    )
    def status_label(self, note: CreditNote) -> str:
        return note.get_status_display()

    @display(description="At Stripe")
    def stripe_object(self, note: CreditNote) -> str:
        return object_text("credit_notes", note.stripe_credit_note_id)

    @display(description="Journal entry")
    def entry_link(self, note: CreditNote) -> str:
        return page_link("ledger.journalentry", note.journal_entry_id, f"#{note.journal_entry_id}")


@admin.register(AbsorbedUsage)
class AbsorbedUsageAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "customer_link", "period_link", "amount_text", "reason", "absorbed_by", "recorded_at")
    list_select_related = ("period__subscription__customer", "rate")
    search_fields = ("reason", "period__subscription__customer__customer_key")
    shown_with: ClassVar[dict[str, str]] = {"entry_link": "ledger.view_journalentry"}
    fields = (
        "customer_link",
        "period_link",
        "rate",
        "quantity",
        "amount_text",
        "reason",
        "absorbed_by",
        "recorded_at",
        "entry_link",
    )

    @display(description="Customer")
    def customer_link(self, absorbed: AbsorbedUsage) -> str:
        customer = absorbed.period.subscription.customer
        return page_link("billing.customer", customer.pk, customer)

    @display(description="Period")
    def period_link(self, absorbed: AbsorbedUsage) -> str:
        return page_link("billing.billingperiod", absorbed.period_id, absorbed.period)

    @display(description="Amount, exact", ordering="amount")
    def amount_text(self, absorbed: AbsorbedUsage) -> str:
        return exact_text(absorbed.amount, absorbed.period.subscription.customer.currency)

    @display(description="Journal entry")
    def entry_link(self, absorbed: AbsorbedUsage) -> str:
        entry_id = absorbed.journal_entry_id
        return page_link("ledger.journalentry", entry_id, f"#{entry_id}") if entry_id else "–"
