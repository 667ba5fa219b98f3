"""
What usage cost and who paid for it, kept as additions.

An accrual is one run of rating over one billing period. Its figures are the *change* against all earlier runs, so the
sum over a period's accruals is what the period has come to, and nothing is ever rewritten (triggers in 0002).
"""

from django.db import models
from django.db.models import F, Q

_RATED_IS_FUNDED = Q(rated=F("included") + F("credited") + F("unbilled"))


class UsageAccrual(models.Model):
    """One run over one period: the change of its rated amount and of each funding source, in currency units, exact."""

    period = models.ForeignKey("billing.BillingPeriod", on_delete=models.PROTECT, related_name="accruals")
    revision = models.PositiveIntegerField(help_text="1, 2, 3 … within the period.")
    rated = models.DecimalField(max_digits=38, decimal_places=12, help_text="Change of the price of all usage.")
    included = models.DecimalField(max_digits=38, decimal_places=12, help_text="Change of what the allowance covers.")
    credited = models.DecimalField(max_digits=38, decimal_places=12, help_text="Change of what grants cover.")
    unbilled = models.DecimalField(max_digits=38, decimal_places=12, help_text="Change of what is left to invoice.")
    journal_entry_id = models.BigIntegerField(
        unique=True, null=True, help_text="The ledger's entry of this change; null where only quantities changed."
    )
    aggregated_through = models.DateTimeField(help_text="Every event received before this instant is counted.")
    recorded_at = models.DateTimeField()

    class Meta:
        ordering = ("period_id", "revision")
        constraints = (
            models.UniqueConstraint(name="billing_accrual_revision", fields=("period", "revision")),
            models.CheckConstraint(name="billing_accrual_rated_is_funded", condition=_RATED_IS_FUNDED),
        )

    def __str__(self) -> str:
        return f"Accrual {self.revision} of period {self.period_id}"


class UsageAccrualLine(models.Model):
    """The part of an accrual that belongs to one rate."""

    accrual = models.ForeignKey(UsageAccrual, on_delete=models.PROTECT, related_name="lines")
    rate = models.ForeignKey("billing.Rate", on_delete=models.PROTECT, related_name="+")
    quantity = models.DecimalField(max_digits=38, decimal_places=12, help_text="Change of the units used.")
    rated = models.DecimalField(max_digits=38, decimal_places=12)
    included = models.DecimalField(max_digits=38, decimal_places=12)
    credited = models.DecimalField(max_digits=38, decimal_places=12)
    unbilled = models.DecimalField(max_digits=38, decimal_places=12)

    class Meta:
        ordering = ("accrual_id", "rate_id")
        constraints = (
            models.UniqueConstraint(name="billing_accrualline_rate", fields=("accrual", "rate")),
            models.CheckConstraint(name="billing_accrualline_rated_is_funded", condition=_RATED_IS_FUNDED),
        )

    def __str__(self) -> str:
        return f"Line {self.pk} of accrual {self.accrual_id}"


class GrantDrawdown(models.Model):
    """What one accrual took from (or, below zero, gave back to) one grant for one rate."""

    accrual = models.ForeignKey(UsageAccrual, on_delete=models.PROTECT, related_name="drawdowns")
    rate = models.ForeignKey("billing.Rate", on_delete=models.PROTECT, related_name="+")
    grant = models.ForeignKey("promotions.CreditGrant", on_delete=models.PROTECT, related_name="+")
    amount = models.DecimalField(max_digits=38, decimal_places=12, help_text="In currency units, exact.")

    class Meta:
        ordering = ("accrual_id", "rate_id", "grant_id")
        constraints = (
            models.UniqueConstraint(name="billing_drawdown_once", fields=("accrual", "rate", "grant")),
            models.CheckConstraint(name="billing_drawdown_not_zero", condition=~Q(amount=0)),
        )

    def __str__(self) -> str:
        return f"Drawdown {self.pk} on grant {self.grant_id}"
