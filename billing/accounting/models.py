"""
What people asked to have entered in the books by hand, and what was decided about it.

A request is never changed: what was asked is what is posted. Its one decision is a row of its own, so that who asked,
who decided, when and why stay beside each other (migrations/sql/0005_manual_entries.sql keeps both as they are).
"""

from django.db import models
from django.db.models import F, Q


class ManualEntry(models.Model):
    """One request: an adjustment with a reason code, or the reversal of a journal entry."""

    class Kind(models.TextChoices):
        ADJUSTMENT = "adjustment", "Adjustment"
        REVERSAL = "reversal", "Reversal"

    kind = models.CharField(max_length=20, choices=Kind)
    reason_code = models.CharField(max_length=40, blank=True, help_text="Of an adjustment (adjustments.py).")
    reason = models.CharField(max_length=500, help_text="Why, in words, for whoever asks later.")
    reference = models.CharField(max_length=200, blank=True, help_text="A ticket, a bank line, an id.")
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, null=True, related_name="manual_entries")
    currency = models.CharField(max_length=3)
    amount = models.DecimalField(
        max_digits=38, decimal_places=12, help_text="What moves, above zero, in currency units: the sum of the debits."
    )
    debit_account = models.CharField(max_length=200, blank=True, help_text="Code of the account an adjustment debits.")
    credit_account = models.CharField(max_length=200, blank=True, help_text="Code of the one it credits.")
    reverses_entry_id = models.BigIntegerField(null=True, help_text="The journal entry that a reversal mirrors.")
    effective_at = models.DateTimeField(help_text="When it happened, in the books.")
    # Together these say why the request waits or not; the limit was that of its day.
    limit_amount = models.DecimalField(
        max_digits=38, decimal_places=12, null=True, help_text="What one person could move alone; null: nothing."
    )
    alone_total = models.DecimalField(
        max_digits=38,
        decimal_places=12,
        help_text="What the requester moved alone for this customer on this day (UTC), with this.",
    )
    needs_second_person = models.BooleanField()
    requested_by = models.CharField(max_length=200, help_text='"user:NAME"')
    requested_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=200, unique=True)

    class Meta:
        verbose_name_plural = "manual entries"
        ordering = ("-requested_at", "-id")
        permissions = (
            ("request_adjustment", "Can ask for any adjustment of the books"),
            ("request_customer_adjustment", "Can ask for adjustments of what customers were promised"),
            ("request_reversal", "Can ask for the reversal of a journal entry"),
            ("approve_manualentry", "Can approve or reject what somebody else asked for"),
        )
        constraints = (
            models.CheckConstraint(name="billing_manualentry_amount", condition=Q(amount__gt=0, amount__lt=10**26)),
            models.CheckConstraint(
                name="billing_manualentry_says_what",
                condition=(
                    Q(kind="adjustment", reverses_entry_id__isnull=True)
                    & ~Q(reason_code="")
                    & ~Q(debit_account="")
                    & ~Q(credit_account="")
                    & ~Q(debit_account=F("credit_account"))
                )
                | Q(
                    kind="reversal",
                    reverses_entry_id__isnull=False,
                    reason_code="",
                    debit_account="",
                    credit_account="",
                ),
            ),
            models.CheckConstraint(name="billing_manualentry_says_why", condition=~Q(reason="") & ~Q(requested_by="")),
            models.CheckConstraint(
                name="billing_manualentry_not_ahead", condition=Q(effective_at__lte=F("requested_at"))
            ),
            models.CheckConstraint(
                name="billing_manualentry_limit",
                condition=Q(alone_total__gte=F("amount"))
                & (
                    Q(needs_second_person=True, limit_amount__isnull=True)
                    | Q(needs_second_person=True, alone_total__gt=F("limit_amount"))
                    # A CHECK lets NULL pass: without a limit nothing is within it.
                    | Q(needs_second_person=False, limit_amount__isnull=False, alone_total__lte=F("limit_amount"))
                ),
            ),
        )
        indexes = (
            # limits.moved_alone.
            models.Index(name="billing_manualentry_requester", fields=["requested_by", "requested_at"]),
            # manual_entries.reversals_asked_of.
            models.Index(
                name="billing_manualentry_reverses",
                fields=["reverses_entry_id"],
                condition=Q(reverses_entry_id__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"Manual entry {self.pk}"


class ManualEntryDecision(models.Model):
    """The one decision about a request. `requested_by` and `needs_second_person` repeat the request's, so that the
    database can compare them with the rest of this row."""

    class Outcome(models.TextChoices):
        WITHIN_LIMIT = "within_limit", "Posted, within the limit"
        APPROVED = "approved", "Approved and posted"
        REJECTED = "rejected", "Rejected"
        WITHDRAWN = "withdrawn", "Withdrawn"

    manual_entry = models.OneToOneField(ManualEntry, on_delete=models.PROTECT, related_name="decision")
    outcome = models.CharField(max_length=20, choices=Outcome)
    requested_by = models.CharField(max_length=200)
    needs_second_person = models.BooleanField()
    decided_by = models.CharField(max_length=200, help_text='"user:NAME"')
    decided_at = models.DateTimeField()
    words = models.CharField(max_length=500, blank=True, help_text="Why it was decided so.")
    journal_entry_id = models.BigIntegerField(unique=True, null=True, help_text="What was posted; null if nothing was.")

    class Meta:
        constraints = (
            models.CheckConstraint(
                name="billing_manualentry_second_person",
                condition=Q(outcome="within_limit", needs_second_person=False, decided_by=F("requested_by"))
                | Q(outcome="withdrawn", needs_second_person=True, decided_by=F("requested_by"))
                | (
                    Q(outcome__in=["approved", "rejected"], needs_second_person=True) & ~Q(decided_by=F("requested_by"))
                ),
            ),
            models.CheckConstraint(
                name="billing_manualentry_decided_in_words",
                condition=~Q(decided_by="") & (Q(outcome="within_limit") | ~Q(words="")),
            ),
            models.CheckConstraint(
                name="billing_manualentry_posted",
                condition=Q(outcome__in=["within_limit", "approved"], journal_entry_id__isnull=False)
                | Q(outcome__in=["rejected", "withdrawn"], journal_entry_id__isnull=True),
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} by {self.decided_by}"
