"""
What a Stripe account held when it was taken over, and what became of it here. Facts: only added.

There is one takeover, because the database belongs to one Stripe account, and its cut is one whole second: what Stripe
made at or before it belongs to the opening, what it made later to the ordinary projections.
"""

from django.db import models
from django.db.models import Q

ONLY_ONE = 1


class Takeover(models.Model):
    """The cut: the second up to which everything belongs to the opening. Said once, and never moved."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY_ONE)
    as_of = models.DateTimeField(help_text="The last second that belongs to the opening.")
    started_at = models.DateTimeField()
    started_by = models.CharField(max_length=200)

    class Meta:
        constraints = (
            models.CheckConstraint(name="billing_takeover_one", condition=Q(id=ONLY_ONE)),
            models.CheckConstraint(name="billing_takeover_says_who", condition=~Q(started_by="")),
        )

    def __str__(self) -> str:
        return f"Takeover at {self.as_of:%d %b %Y %H:%M:%S} UTC"


class TakeoverRun(models.Model):
    """One run over the account that came to its end: with which map, and what was found at Stripe."""

    takeover = models.ForeignKey(Takeover, on_delete=models.PROTECT, related_name="runs")
    map = models.JSONField(default=dict, help_text="The decisions that people wrote down, as they were read.")
    found = models.JSONField(default=dict, help_text="How many of each kind Stripe had.")
    brought_in = models.JSONField(default=dict, help_text="How many of each kind were new in this run.")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    actor = models.CharField(max_length=200)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"Run of {self.finished_at:%d %b %Y %H:%M} UTC"


class TakenOver(models.Model):
    """One object at Stripe and what became of it. One that was left out can be brought in by a later run."""

    class Kind(models.TextChoices):
        CUSTOMER = "customer", "Customer"
        SUBSCRIPTION = "subscription", "Subscription"
        INVOICE = "invoice", "Invoice"
        PAYMENT = "payment", "Payment"
        DISPUTE = "dispute", "Dispute"
        PAYOUT = "payout", "Payout"

    class Outcome(models.TextChoices):
        BROUGHT_IN = "brought_in", "Brought in"
        HISTORY = "history", "Kept as history"
        LEFT_OUT = "left_out", "Left out"

    takeover = models.ForeignKey(Takeover, on_delete=models.PROTECT, related_name="objects_taken")
    kind = models.CharField(max_length=12, choices=Kind)
    stripe_id = models.CharField(max_length=255)
    outcome = models.CharField(max_length=10, choices=Outcome)
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, null=True, related_name="+")
    currency = models.CharField(max_length=3, blank=True)
    amount_minor = models.BigIntegerField(null=True, help_text="In minor units: the invoice's total, what was paid …")
    reason = models.CharField(max_length=500, blank=True, help_text="Why it was left out.")
    recorded_at = models.DateTimeField()
    recorded_by = models.CharField(max_length=200)

    class Meta:
        ordering = ("kind", "id")
        verbose_name = "object taken over"
        verbose_name_plural = "objects taken over"
        constraints = (
            models.UniqueConstraint(name="billing_takenover_once", fields=("kind", "stripe_id", "outcome")),
            models.CheckConstraint(
                name="billing_takenover_left_out_says_why", condition=~Q(outcome="left_out") | ~Q(reason="")
            ),
        )

    def __str__(self) -> str:
        return self.stripe_id


class OpeningEntry(models.Model):
    """An entry of the opening: what one account held at the cut, against the account `opening`."""

    takeover = models.ForeignKey(Takeover, on_delete=models.PROTECT, related_name="entries")
    account_kind = models.CharField(max_length=40, help_text="Such as stripe:clearing or balance.")
    stripe_id = models.CharField(max_length=255, blank=True, help_text="What it is about, where that is one object.")
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, null=True, related_name="+")
    currency = models.CharField(max_length=3)
    debit_minor = models.BigIntegerField(help_text="Debited to the account, in minor units; below zero: credited.")
    journal_entry_id = models.BigIntegerField(unique=True)
    recorded_at = models.DateTimeField()

    class Meta:
        ordering = ("id",)
        verbose_name_plural = "opening entries"
        constraints = (
            models.UniqueConstraint(name="billing_openingentry_once", fields=("account_kind", "stripe_id", "currency")),
            models.CheckConstraint(name="billing_openingentry_moves", condition=~Q(debit_minor=0)),
        )

    def __str__(self) -> str:
        return f"{self.account_kind} {self.stripe_id}".strip()


class TakeoverCheck(models.Model):
    """One comparison of the account with the books: how much was compared, and every difference by name."""

    takeover = models.ForeignKey(Takeover, on_delete=models.PROTECT, related_name="checks")
    compared = models.PositiveIntegerField()
    differences = models.JSONField(default=list, help_text="Each: what, at Stripe, here, and what it means.")
    difference_count = models.PositiveIntegerField()
    checked_at = models.DateTimeField()
    actor = models.CharField(max_length=200)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"Check of {self.checked_at:%d %b %Y %H:%M} UTC"
