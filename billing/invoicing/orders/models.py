"""
Orders of invoices that Stripe's calendar does not make by itself.

What is ordered never changes; how far it has come is learned (migrations/sql/0019_invoice_orders.sql).
"""

from django.db import models
from django.db.models import Q


class InvoiceOrder(models.Model):
    """One invoice of our making: why, for whom, and what became of it. Committed before Stripe is asked."""

    class Kind(models.TextChoices):
        THRESHOLD = "threshold", "Usage that reached an amount"
        CLOSING = "closing", "End of a subscription"
        ONE_OFF = "one_off", "One-off"
        REISSUE = "reissue", "In place of a void invoice"

    class State(models.TextChoices):
        INTENDED = "intended", "Under way"
        DRAFTED = "drafted", "Drafted"
        DROPPED = "dropped", "Nothing left to invoice"
        REFUSED = "refused", "Refused by Stripe"
        LOST = "lost", "Its draft was lost at Stripe"

    kind = models.CharField(max_length=10, choices=Kind)
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="invoice_orders")
    subscription = models.ForeignKey(
        "billing.Subscription", on_delete=models.PROTECT, null=True, related_name="invoice_orders"
    )
    period = models.ForeignKey(
        "billing.BillingPeriod",
        on_delete=models.PROTECT,
        null=True,
        related_name="invoice_orders",
        help_text="Whose usage it asks for; of a re-issue none, as the void invoice says whose.",
    )
    replaces = models.ForeignKey(
        "billing.Invoice",
        on_delete=models.PROTECT,
        null=True,
        related_name="reissues",
        help_text="The void invoice in whose place it comes.",
    )
    repeats = models.OneToOneField(
        "self",
        on_delete=models.PROTECT,
        null=True,
        related_name="repeated_by",
        help_text="The order that came to nothing, and that a person had made once more by this one.",
    )
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField(
        null=True, help_text="In minor units: the usage that reached the threshold, or the sum of the one-off lines."
    )
    reason = models.CharField(max_length=500)
    ordered_by = models.CharField(max_length=200, help_text="Who, such as user:fiona.")
    ordered_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=200, unique=True)
    state = models.CharField(max_length=10, choices=State, default=State.INTENDED)
    request = models.JSONField(null=True, help_text="The draft Stripe is asked for; fixed before it is asked.")
    invoice = models.OneToOneField(
        "billing.Invoice", on_delete=models.PROTECT, null=True, related_name="order", help_text="What it became."
    )
    outcome = models.CharField(max_length=500, blank=True)
    error = models.TextField(blank=True, help_text="What the last attempt failed on or waits for.")
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(help_text="The sweeper takes it up from then on.")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                name="billing_invoiceorder_kind", condition=Q(kind__in=("threshold", "closing", "one_off", "reissue"))
            ),
            models.CheckConstraint(
                name="billing_invoiceorder_says_whose",
                condition=Q(
                    kind__in=("threshold", "closing"),
                    subscription__isnull=False,
                    period__isnull=False,
                    replaces__isnull=True,
                )
                | Q(kind="reissue", period__isnull=True, replaces__isnull=False)
                | Q(kind="one_off", period__isnull=True, replaces__isnull=True),
            ),
            models.CheckConstraint(name="billing_invoiceorder_says_why", condition=~Q(reason="") & ~Q(ordered_by="")),
            models.CheckConstraint(
                name="billing_invoiceorder_finished", condition=Q(state="intended") ^ Q(finished_at__isnull=False)
            ),
            models.CheckConstraint(
                name="billing_invoiceorder_drafted",
                # A draft may be lost before its row was written, and after.
                condition=Q(state="lost") | (Q(state="drafted") ^ Q(invoice__isnull=True)),
            ),
            # A second closing invoice would ask for the last period twice. One that came to nothing asks for nothing.
            models.UniqueConstraint(
                name="billing_invoiceorder_one_closing",
                fields=("period",),
                condition=Q(kind="closing", state__in=("intended", "drafted", "dropped")),
            ),
            models.UniqueConstraint(
                name="billing_invoiceorder_one_threshold",
                fields=("period",),
                condition=Q(kind="threshold", state="intended"),
            ),
            models.UniqueConstraint(
                name="billing_invoiceorder_one_reissue",
                fields=("replaces",),
                condition=Q(kind="reissue", state__in=("intended", "drafted")),
            ),
        )
        indexes = (
            models.Index(name="billing_invoiceorder_due", fields=("next_attempt_at",), condition=Q(state="intended")),
        )

    def __str__(self) -> str:
        return f"Order {self.pk}: {self.get_kind_display()}"


class InvoiceOrderLine(models.Model):
    """A line that an order says itself: of a one-off, or a fee of the void invoice that a re-issue asks for again."""

    order = models.ForeignKey(InvoiceOrder, on_delete=models.PROTECT, related_name="lines")
    position = models.PositiveIntegerField()
    description = models.CharField(max_length=500)
    amount_minor = models.BigIntegerField(help_text="In minor units, before discount and tax on top.")
    is_taxed = models.BooleanField(default=True, help_text="As the customer's other invoices are; otherwise exempt.")

    class Meta:
        ordering = ("order_id", "position")
        constraints = (
            models.UniqueConstraint(name="billing_invoiceorderline_position", fields=("order", "position")),
            models.CheckConstraint(
                name="billing_invoiceorderline_says_what", condition=~Q(description="") & ~Q(amount_minor=0)
            ),
        )

    def __str__(self) -> str:
        return self.description
