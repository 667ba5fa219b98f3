"""Payments and movements at Stripe to read."""

from django.contrib import admin
from unfold.decorators import display

from billing.admin_links import page_link
from billing.money_text import minor_text
from billing.payments.models import BalanceTransaction, CustomerBalanceTransaction, Payment
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
    linked_by = frozenset({"customer__id__exact", "invoice__id__exact"})
    fields = (
        "customer_link",
        "invoice_link",
        "amount",
        "status_label",
        "failure_code",
        "failure_message",
        "stripe_object",
        "stripe_charge_id",
        "occurred_at",
        "projected_at",
    )

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


@admin.register(BalanceTransaction)
class BalanceTransactionAdmin(ReadOnlyAdmin):
    list_display = ("stripe_id", "type", "amount", "fee", "net", "occurred_at", "entry_link")
    search_fields = ("=stripe_id", "=stripe_source_id", "=type")
    search_help_text = "An id at Stripe, or a type such as charge"
    shown_with = _ENTRY_SHOWN_WITH
    fields = ("stripe_id", "type", "amount", "fee", "net", "stripe_source_id", "occurred_at", "entry_link")

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
