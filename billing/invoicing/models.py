"""
Invoices: Stripe's document, our usage lines on it, and how far each close has come.

`Invoice` is a projection of what Stripe says and may be brought up to date; lines and close steps are only added.
"""

from django.db import models
from django.db.models import Q


class Invoice(models.Model):
    """Stripe's invoice as last fetched. Amounts in minor units of `currency`, as Stripe states them."""

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        OPEN = "open", "Open"
        PAID = "paid", "Paid"
        VOID = "void", "Void"
        UNCOLLECTIBLE = "uncollectible", "Uncollectible"

    stripe_invoice_id = models.CharField(max_length=255, unique=True)
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="invoices")
    subscription = models.ForeignKey(
        "billing.Subscription", on_delete=models.PROTECT, null=True, blank=True, related_name="invoices"
    )
    number = models.CharField(max_length=100, blank=True)
    billing_reason = models.CharField(max_length=60)
    status = models.CharField(max_length=20, choices=Status)
    currency = models.CharField(max_length=3)
    total_minor = models.BigIntegerField(help_text="Sum of the lines, after discounts and with tax.")
    amount_due_minor = models.BigIntegerField(help_text="What is asked for after the customer balance was applied.")
    amount_paid_minor = models.BigIntegerField()
    amount_remaining_minor = models.BigIntegerField()
    starting_balance_minor = models.BigIntegerField(help_text="Stripe's customer balance before; above zero is owed.")
    ending_balance_minor = models.BigIntegerField(null=True, help_text="The same after finalisation.")
    attempt_count = models.PositiveIntegerField(default=0)
    next_payment_attempt_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(help_text="When Stripe made the draft.")
    finalized_at = models.DateTimeField(null=True)
    paid_at = models.DateTimeField(null=True)
    projected_at = models.DateTimeField(help_text="When this row was last brought up to date.")

    class Meta:
        ordering = ("-created_at", "-id")

    def __str__(self) -> str:
        return self.number or self.stripe_invoice_id


class InvoiceLine(models.Model):
    """
    One line of an invoice.

    Ours (usage, coverage) are written before they are pushed; Stripe's own (fee, …) when the invoice is finalised.
    For a usage line `amount_minor` is `exact_amount` rounded once; `rounding` is what that step added, so that
    exact_amount + rounding is the amount charged, at most half an increment apart (DESIGN §3.6).
    """

    class Kind(models.TextChoices):
        USAGE = "usage", "Usage"
        COVERAGE = "coverage", "Covered by allowance or credit"
        FEE = "fee", "Subscription fee"
        ONE_OFF = "one_off", "One-off"

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="lines")
    kind = models.CharField(max_length=20, choices=Kind)
    position = models.PositiveIntegerField(help_text="Order on our side, 1 first.")
    period = models.ForeignKey("billing.BillingPeriod", on_delete=models.PROTECT, null=True, related_name="lines")
    rate = models.ForeignKey("billing.Rate", on_delete=models.PROTECT, null=True, related_name="+")
    accrual = models.ForeignKey(
        "billing.UsageAccrual",
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="The latest accrual of the period when the line was made; later ones are not in it.",
    )
    description = models.CharField(max_length=500)
    quantity = models.DecimalField(max_digits=38, decimal_places=12)
    exact_amount = models.DecimalField(max_digits=38, decimal_places=12, help_text="In currency units, unrounded.")
    amount_minor = models.BigIntegerField(help_text="As charged, in minor units.")
    rounding = models.DecimalField(max_digits=38, decimal_places=12, help_text="Charged minus exact, currency units.")
    stripe_line_id = models.CharField(
        max_length=255, unique=True, null=True, blank=True, help_text="Set once, when found on the draft."
    )

    class Meta:
        ordering = ("invoice_id", "position")
        constraints = (
            models.UniqueConstraint(name="billing_line_position", fields=("invoice", "position")),
            # A second line for the same price would bill it twice.
            models.UniqueConstraint(
                name="billing_line_usage_once", fields=("invoice", "period", "rate"), condition=Q(kind="usage")
            ),
            models.CheckConstraint(
                name="billing_line_usage_names_its_source",
                condition=~Q(kind="usage") | Q(period__isnull=False, rate__isnull=False, accrual__isnull=False),
            ),
            models.CheckConstraint(
                name="billing_line_coverage_is_free",
                condition=~Q(kind="coverage") | Q(amount_minor=0, exact_amount=0, rounding=0),
            ),
        )

    def __str__(self) -> str:
        return self.description


class InvoiceClose(models.Model):
    """How far the close of a draft has come. `step` is the last one that is finished and committed."""

    class Step(models.TextChoices):
        STARTED = "started", "Draft taken over"
        ACCRUED = "accrued", "Usage accrued, lines written"
        ITEMS_PUSHED = "items_pushed", "Lines pushed to Stripe"
        VERIFIED = "verified", "Compared line by line"
        FINALIZED = "finalized", "Finalised"

    invoice = models.OneToOneField(Invoice, on_delete=models.PROTECT, related_name="close")
    period = models.OneToOneField(
        "billing.BillingPeriod", on_delete=models.PROTECT, null=True, related_name="close", help_text="The one it ends."
    )
    step = models.CharField(max_length=20, choices=Step, default=Step.STARTED)
    held_reason = models.CharField(max_length=500, blank=True, help_text="Not empty: a person has to look.")
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(help_text="The sweeper takes it up from then on.")
    error = models.TextField(blank=True, help_text="What the last attempt failed on, if it did.")

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"Close of {self.invoice_id}"


class InvoiceCloseStep(models.Model):
    """One finished step of a close, for the timeline."""

    close = models.ForeignKey(InvoiceClose, on_delete=models.PROTECT, related_name="steps")
    step = models.CharField(max_length=20, choices=InvoiceClose.Step)
    recorded_at = models.DateTimeField()
    detail = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("close_id", "id")
        constraints = (models.UniqueConstraint(name="billing_closestep_once", fields=("close", "step")),)

    def __str__(self) -> str:
        return f"{self.step} at {self.recorded_at:%F %T}"
