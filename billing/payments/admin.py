"""Payments and movements at Stripe to read."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.decorators import display

from billing.admin_links import NOTHING, link, list_url, page_link
from billing.money_text import minor_text
from billing.payments.bank.filters import AtBankFilter
from billing.payments.bank.matches import MATCH
from billing.payments.bank.showing import payout_sections
from billing.payments.models import BalanceTransaction, CustomerBalanceTransaction, Dispute, Payment, Payout, Refund
from billing.payments.refunding.left import left_of
from billing.payments.refunding.operations import REQUEST
from billing.read_only_admin import ReadOnlyAdmin
from billing.stripe.dashboard import object_text

_ENTRY_SHOWN_WITH = {"entry_link": "ledger.view_journalentry"}


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    list_display = (
        "__str__",
        "customer_link",
        "amount",
        "status_label",
        "failure_message",
        "invoice_link",
        "occurred_at",
    )
    list_select_related = ("customer", "invoice")
    list_filter = ("status",)
    search_fields = ("=stripe_payment_intent_id", "=stripe_charge_id", "customer__customer_key", "customer__name")
    search_help_text = "An id of the payment or its charge at Stripe, or a customer's key or name"
    linked_by = frozenset({"customer__id__exact", "invoice__id__exact"})
    change_form_outer_before_template = "admin/billing/refunding/ask_button.html"
    fields = (
        "customer_link",
        "invoice_link",
        "amount",
        "status_label",
        "failure_code",
        "failure_message",
        "stripe_object",
        "stripe_charge_id",
        "refunds_link",
        "disputes_link",
        "occurred_at",
        "projected_at",
    )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        payment = self.get_object(request, object_id)
        shown: dict[str, Any] = {}
        if payment is not None and payment.status == Payment.Status.SUCCEEDED and request.user.has_perm(REQUEST):
            left = left_of(payment)
            shown = {"may_refund": left > 0, "left_text": minor_text(left, payment.currency)}
        response: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})
        return response

    @display(description="Refunds")
    def refunds_link(self, payment: Payment) -> str:
        return _how_many("billing.refund", payment, payment.refunds.count())

    @display(description="Disputes")
    def disputes_link(self, payment: Payment) -> str:
        return _how_many("billing.dispute", payment, payment.disputes.count())

    @display(description="Customer", ordering="customer__name")
    def customer_link(self, payment: Payment) -> str:
        return page_link("billing.customer", payment.customer_id, payment.customer)

    @display(description="Invoice")
    def invoice_link(self, payment: Payment) -> str:
        return page_link("billing.invoice", payment.invoice_id, payment.invoice)

    @display(description="Amount", ordering="amount_minor")
    def amount(self, payment: Payment) -> str:
        return minor_text(payment.amount_minor, payment.currency)

    @display(
        description="Status",
        ordering="status",
        label={
            Payment.Status.SUCCEEDED.label: "success",
            Payment.Status.FAILED.label: "danger",
            Payment.Status.PROCESSING.label: "info",
            Payment.Status.REQUIRES_ACTION.label: "warning",
        },
    )
    def status_label(self, payment: Payment) -> str:
        return payment.get_status_display()

    @display(description="At Stripe")
    def stripe_object(self, payment: Payment) -> str:
        return object_text("payments", payment.stripe_payment_intent_id)


def _how_many(model: str, payment: Payment, count: int) -> str:
    return link(list_url(model, payment__id__exact=payment.pk), count) if count else NOTHING


def in_words(code: str) -> str:
    """A code of Stripe's as a person writes it."""
    return code.replace("_", " ").capitalize() or NOTHING


class OfPaymentAdmin(ReadOnlyAdmin):
    """What refunds and disputes show alike: whose payment it is of, and how much."""

    list_select_related = ("payment__customer",)
    list_filter = ("status",)
    linked_by = frozenset({"payment__id__exact", "payment__customer__id__exact"})

    @display(description="Customer", ordering="payment__customer__name")
    def customer_link(self, row: Refund | Dispute) -> str:
        return page_link("billing.customer", row.payment.customer_id, row.payment.customer)

    @display(description="Payment")
    def payment_link(self, row: Refund | Dispute) -> str:
        return page_link("billing.payment", row.payment_id, row.payment)

    @display(description="Amount", ordering="amount_minor")
    def amount(self, row: Refund | Dispute) -> str:
        return minor_text(row.amount_minor, row.currency)

    @display(description="Reason", ordering="reason")
    def why(self, row: Refund | Dispute) -> str:
        return in_words(row.reason)


@admin.register(Refund)
class RefundAdmin(OfPaymentAdmin):
    list_display = (
        "__str__",
        "customer_link",
        "amount",
        "status_label",
        "why_it_failed",
        "payment_link",
        "occurred_at",
    )
    search_fields = ("=stripe_refund_id", "=stripe_charge_id", "payment__customer__customer_key")
    search_help_text = "An id at Stripe of a refund or charge, or a customer key"
    fields = (
        "customer_link",
        "payment_link",
        "amount",
        "status_label",
        "why",
        "why_it_failed",
        "stripe_object",
        "occurred_at",
        "sent_at",
        "returned_at",
        "projected_at",
    )

    @display(
        description="Status",
        ordering="status",
        label={
            Refund.Status.SUCCEEDED.label: "success",
            Refund.Status.FAILED.label: "danger",
            Refund.Status.PENDING.label: "info",
            Refund.Status.REQUIRES_ACTION.label: "warning",
        },
    )
    def status_label(self, refund: Refund) -> str:
        return refund.get_status_display()

    @display(description="Failed because", ordering="failure_reason")
    def why_it_failed(self, refund: Refund) -> str:
        return in_words(refund.failure_reason)

    @display(description="At Stripe")
    def stripe_object(self, refund: Refund) -> str:
        return object_text("refunds", refund.stripe_refund_id)


@admin.register(Payout)
class PayoutAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "amount", "status_label", "occurred_at", "expected_at", "arrived_at", "failure_message")
    list_filter = ("status", AtBankFilter)
    search_fields = ("=stripe_payout_id", "=trace_id")
    search_help_text = "An id at Stripe, po_…, or its trace id"
    change_form_outer_before_template = "admin/billing/bank/payout.html"
    fields = (
        "amount",
        "status_label",
        "is_automatic",
        "failure_code",
        "failure_message",
        "stripe_object",
        "trace_id",
        "statement_descriptor",
        "occurred_at",
        "expected_at",
        "arrived_at",
        "returned_at",
        "projected_at",
    )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        payout = self.get_object(request, object_id)
        shown: dict[str, Any] = {}
        if payout is not None and self.has_view_permission(request, payout):
            shown = payout_sections(payout) | {"may_match": request.user.has_perm(MATCH)}
        response: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})
        return response

    @display(description="Amount", ordering="amount_minor")
    def amount(self, payout: Payout) -> str:
        return minor_text(payout.amount_minor, payout.currency)

    @display(
        description="Status",
        ordering="status",
        label={
            Payout.Status.PAID.label: "success",
            Payout.Status.FAILED.label: "danger",
            Payout.Status.PENDING.label: "info",
            Payout.Status.IN_TRANSIT.label: "info",
        },
    )
    def status_label(self, payout: Payout) -> str:
        return payout.get_status_display()

    @display(description="At Stripe")
    def stripe_object(self, payout: Payout) -> str:
        return object_text("payouts", payout.stripe_payout_id)


@admin.register(BalanceTransaction)
class BalanceTransactionAdmin(ReadOnlyAdmin):
    list_display = ("stripe_id", "type", "amount", "fee", "net", "occurred_at", "entry_link")
    search_fields = ("=stripe_id", "=stripe_source_id", "=type")
    search_help_text = "An id at Stripe, or a type such as charge"
    shown_with = _ENTRY_SHOWN_WITH
    fields = (
        "stripe_id",
        "type",
        "reporting_category",
        "amount",
        "fee",
        "net",
        "stripe_source_id",
        "converted_from",
        "exchange_rate",
        "occurred_at",
        "entry_link",
    )

    @display(description="Converted from")
    def converted_from(self, movement: BalanceTransaction) -> str:
        if movement.source_amount_minor is None:
            return NOTHING
        return minor_text(movement.source_amount_minor, movement.source_currency)

    @display(description="Amount", ordering="amount_minor")
    def amount(self, movement: BalanceTransaction) -> str:
        return minor_text(movement.amount_minor, movement.currency)

    @display(description="Fee", ordering="fee_minor")
    def fee(self, movement: BalanceTransaction) -> str:
        return minor_text(movement.fee_minor, movement.currency)

    @display(description="Net", ordering="net_minor")
    def net(self, movement: BalanceTransaction) -> str:
        return minor_text(movement.net_minor, movement.currency)

    @display(description="Journal entry")
    def entry_link(self, movement: BalanceTransaction) -> str:
        return page_link("ledger.journalentry", movement.journal_entry_id, f"#{movement.journal_entry_id}")


@admin.register(CustomerBalanceTransaction)
class CustomerBalanceTransactionAdmin(ReadOnlyAdmin):
    list_display = ("stripe_id", "customer_link", "type", "amount", "ending_balance", "occurred_at", "entry_link")
    list_select_related = ("customer",)
    search_fields = ("=stripe_id", "=stripe_invoice_id", "=type", "customer__customer_key")
    search_help_text = "An id at Stripe, a type, or a customer key"
    linked_by = frozenset({"customer__id__exact"})
    shown_with = _ENTRY_SHOWN_WITH
    fields = (
        "stripe_id",
        "customer_link",
        "type",
        "amount",
        "ending_balance",
        "stripe_invoice_id",
        "occurred_at",
        "entry_link",
    )

    @display(description="Customer", ordering="customer__name")
    def customer_link(self, movement: CustomerBalanceTransaction) -> str:
        return page_link("billing.customer", movement.customer_id, movement.customer)

    @display(description="Amount", ordering="amount_minor")
    def amount(self, movement: CustomerBalanceTransaction) -> str:
        return minor_text(movement.amount_minor, movement.currency)

    @display(description="Balance after (above zero: owed)")
    def ending_balance(self, movement: CustomerBalanceTransaction) -> str:
        return minor_text(movement.ending_balance_minor, movement.currency)

    @display(description="Journal entry")
    def entry_link(self, movement: CustomerBalanceTransaction) -> str:
        return page_link("ledger.journalentry", movement.journal_entry_id, f"#{movement.journal_entry_id}")
