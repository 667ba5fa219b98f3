"""
Value given away: credit grants.

What is left of a grant is the balance of its ledger account and nowhere else; the row holds the terms, which never
change, and whether it was ended early.
"""

from django.db import models
from django.db.models import F, Q


class CreditGrant(models.Model):
    """An amount that usage may burn, in burn-down order, within [effective_at, expires_at)."""

    class Kind(models.TextChoices):
        PROMOTIONAL = "promotional", "Promotional"
        GOODWILL = "goodwill", "Goodwill"
        PAID = "paid", "Paid"

    customer_key = models.CharField(max_length=64, db_index=True)
    kind = models.CharField(max_length=20, choices=Kind)
    name = models.CharField(max_length=200, help_text="As the customer reads it on the invoice.")
    amount = models.DecimalField(max_digits=38, decimal_places=12, help_text="Granted, in currency units.")
    currency = models.CharField(max_length=3)
    priority = models.PositiveSmallIntegerField(default=50, help_text="Lower is burned first.")
    effective_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Not usable from then on; empty: never ends.")
    reason = models.CharField(max_length=500)
    issued_by = models.CharField(max_length=200, help_text="Who: user:NAME or service:NAME.")
    idempotency_key = models.CharField(max_length=200, unique=True)
    recorded_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When the rest was voided or expired.")

    class Meta:
        ordering = ("customer_key", "priority", "expires_at", "id")
        # Named after the two operations: value is given away only by who holds them (config/roles.py).
        permissions = (
            ("issue_creditgrant", "Can issue credit to a customer"),
            ("void_creditgrant", "Can void what is left of a credit grant"),
        )
        constraints = (
            models.CheckConstraint(name="promotions_grant_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(
                name="promotions_grant_not_empty",
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("effective_at")),
            ),
        )

    def __str__(self) -> str:
        return self.name


class GrantWithdrawal(models.Model):
    """Paid credit that was given back to the customer before it was used: it can no longer be burned. Only added."""

    grant = models.ForeignKey(CreditGrant, on_delete=models.PROTECT, related_name="withdrawals")
    amount = models.DecimalField(max_digits=38, decimal_places=12, help_text="In currency units.")
    reason = models.CharField(max_length=500)
    idempotency_key = models.CharField(max_length=200, unique=True)
    recorded_at = models.DateTimeField()

    class Meta:
        ordering = ("grant", "id")
        constraints = (models.CheckConstraint(name="promotions_withdrawal_positive", condition=Q(amount__gt=0)),)

    def __str__(self) -> str:
        return f"{self.amount:f} of {self.grant}"
