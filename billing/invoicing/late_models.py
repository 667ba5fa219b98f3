"""Usage that came late or was given up: what nobody is asked for, and the documents that settle the rest."""

from django.db import models
from django.db.models import Q


class AbsorbedUsage(models.Model):
    """Usage of a closed period that nobody is asked to pay: what of one rate was on no invoice, given up."""

    idempotency_key = models.CharField(max_length=200)
    period = models.ForeignKey("billing.BillingPeriod", on_delete=models.PROTECT, related_name="absorbed")
    rate = models.ForeignKey("billing.Rate", on_delete=models.PROTECT, related_name="+")
    accrual = models.ForeignKey("billing.UsageAccrual", on_delete=models.PROTECT, related_name="+")
    quantity = models.DecimalField(max_digits=38, decimal_places=12)
    amount = models.DecimalField(max_digits=38, decimal_places=12, help_text="In currency units, exact.")
    reason = models.CharField(max_length=500)
    absorbed_by = models.CharField(max_length=200, help_text="Who: user:NAME or service:NAME.")
    recorded_at = models.DateTimeField()
    journal_entry_id = models.BigIntegerField(null=True, help_text="Empty where the amounts sum to nothing.")

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "Absorbed usage"
        constraints = (
            models.UniqueConstraint(name="billing_absorbed_once", fields=("idempotency_key", "rate")),
            models.CheckConstraint(name="billing_absorbed_reason", condition=~Q(reason="")),
        )

    def __str__(self) -> str:
        return f"{self.amount:f} of {self.period}"


class LateCorrection(models.Model):
    """
    A document that settles late usage apart from the next invoice: a credit note on the invoice that billed it, or an
    invoice of its own. Intended and committed first, then carried out at Stripe.
    """

    class Kind(models.TextChoices):
        CREDIT_NOTE = "credit_note", "Credit note"
        DEBIT_NOTE = "debit_note", "Invoice of its own"

    class State(models.TextChoices):
        INTENDED = "intended", "Under way"
        DONE = "done", "Done"
        REFUSED = "refused", "Refused by Stripe"

    kind = models.CharField(max_length=12, choices=Kind)
    period = models.ForeignKey("billing.BillingPeriod", on_delete=models.PROTECT, related_name="late_corrections")
    accrual = models.ForeignKey(
        "billing.UsageAccrual", on_delete=models.PROTECT, related_name="+", help_text="The latest that is in it."
    )
    invoice = models.ForeignKey(
        "billing.Invoice",
        on_delete=models.PROTECT,
        null=True,
        related_name="late_corrections",
        help_text="Credited, or made.",
    )
    credit_note = models.OneToOneField(
        "billing.CreditNote", on_delete=models.PROTECT, null=True, related_name="late_correction"
    )
    state = models.CharField(max_length=12, choices=State, default=State.INTENDED)
    request = models.JSONField(null=True, help_text="What Stripe is asked for; fixed before it is asked.")
    error = models.TextField(blank=True)
    intended_by = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                name="billing_latecorrection_credits_an_invoice",
                condition=~Q(kind="credit_note") | Q(invoice__isnull=False),
            ),
            models.CheckConstraint(
                name="billing_latecorrection_finished", condition=Q(state="intended") ^ Q(finished_at__isnull=False)
            ),
        )
        indexes = (models.Index(name="billing_latecorrection_due", fields=("id",), condition=Q(state="intended")),)

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.pk}"


class LateCreditLine(models.Model):
    """What of one usage line a credit note for late usage gives back. All below zero: exact + rounding = charged."""

    correction = models.ForeignKey(LateCorrection, on_delete=models.PROTECT, related_name="lines")
    invoice_line = models.ForeignKey("billing.InvoiceLine", on_delete=models.PROTECT, related_name="late_credits")
    quantity = models.DecimalField(max_digits=38, decimal_places=12)
    exact_amount = models.DecimalField(max_digits=38, decimal_places=12, help_text="In currency units, unrounded.")
    amount_minor = models.BigIntegerField()
    rounding = models.DecimalField(max_digits=38, decimal_places=12)

    class Meta:
        ordering = ("correction_id", "id")
        constraints = (
            models.UniqueConstraint(name="billing_latecreditline_once", fields=("correction", "invoice_line")),
            models.CheckConstraint(name="billing_latecreditline_gives_back", condition=Q(amount_minor__lt=0)),
        )

    def __str__(self) -> str:
        return f"{self.exact_amount:f} of {self.invoice_line}"
