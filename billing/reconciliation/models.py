"""What was compared, and every place where two sides parted."""

from django.db import models


class ReconciliationRun(models.Model):
    """One comparison of events = windows = rated = ledger = Stripe over [range_start, range_end)."""

    range_start = models.DateTimeField()
    range_end = models.DateTimeField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    checked = models.PositiveIntegerField(default=0, help_text="Pairs of figures compared.")
    discrepancy_count = models.PositiveIntegerField(default=0)
    checks = models.JSONField(default=dict, help_text="Per check: pairs compared and discrepancies.")
    actor = models.CharField(max_length=200)

    class Meta:
        ordering = ("-started_at",)

    def __str__(self) -> str:
        return f"Reconciliation {self.pk}"


class Discrepancy(models.Model):
    """Two figures that should be equal and are not, named at the first place where they part. Only added."""

    run = models.ForeignKey(ReconciliationRun, on_delete=models.PROTECT, related_name="discrepancies")
    check_code = models.CharField(max_length=60, help_text="Such as events_windows or ledger_stripe_invoice.")
    subject = models.CharField(max_length=300, help_text="What the figures are of: a window, a line, an event id.")
    customer_key = models.CharField(max_length=64, blank=True)
    left_name = models.CharField(max_length=100)
    left_value = models.CharField(max_length=200)
    right_name = models.CharField(max_length=100)
    right_value = models.CharField(max_length=200)
    explanation = models.CharField(max_length=500, help_text="What it means and where to look.")

    class Meta:
        ordering = ("run_id", "id")
        verbose_name_plural = "discrepancies"

    def __str__(self) -> str:
        return f"{self.check_code}: {self.subject}"
