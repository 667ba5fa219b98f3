"""
Refunds that people ask for: one of a payment, or a batch of many by a rule. A second person decides above a limit, and
about every batch.
"""

from django.db import models
from django.db.models import Q

from billing.payments.two_people import AskedFor, DecidedOn, decision_constraints, request_constraints


class RefundReason(models.TextChoices):
    DUPLICATE = "duplicate", "Charged twice"
    NOT_WANTED = "requested_by_customer", "The customer asked"
    OUTAGE = "outage", "We did not deliver"
    WRONG_AMOUNT = "wrong_amount", "We charged too much"
    GOODWILL = "goodwill", "Goodwill"
    FRAUD = "fraudulent", "The card was used by somebody else"


class RefundBatch(models.Model):
    """Charges chosen by a rule and a window, to be refunded together. What was chosen is frozen with the request."""

    name = models.CharField(max_length=200)
    rule = models.JSONField(help_text="Which customers, from when until when, amounts, how much of each (batches.py).")
    reason_code = models.CharField(max_length=40, choices=RefundReason)
    reason = models.CharField(max_length=500)
    currency = models.CharField(max_length=3)
    line_count = models.PositiveIntegerField()
    total_minor = models.BigIntegerField()
    requested_by = models.CharField(max_length=200)
    requested_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=200, unique=True)

    class Meta:
        verbose_name_plural = "refund batches"
        ordering = ("-requested_at", "-id")
        constraints = (
            models.CheckConstraint(
                name="billing_refundbatch_says_what",
                condition=~Q(name="") & ~Q(reason="") & ~Q(requested_by="") & Q(line_count__gt=0, total_minor__gt=0),
            ),
        )

    def __str__(self) -> str:
        return self.name


class RefundRequest(AskedFor):
    """One refund of one payment. What was asked stays; how far it came moves forward, to one end."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waits for a second person"
        AGREED = "agreed", "On its way to Stripe"
        SENT = "sent", "Refunded at Stripe"
        REFUSED = "refused", "Refused by Stripe"
        DROPPED = "dropped", "Not refunded"

    class Way(models.TextChoices):
        REFUND = "refund", "A refund of the payment"
        CREDIT_NOTE = "credit_note", "A credit note on the invoice, refunded"

    payment = models.ForeignKey("billing.Payment", on_delete=models.PROTECT, related_name="refund_requests")
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="refund_requests")
    batch = models.ForeignKey(RefundBatch, on_delete=models.PROTECT, null=True, related_name="lines")
    way = models.CharField(max_length=20, choices=Way)
    reason_code = models.CharField(max_length=40, choices=RefundReason)
    parts = models.JSONField(
        null=True, help_text="Of a credit note: which lines of the invoice give back how much before tax."
    )
    state = models.CharField(max_length=20, choices=State)
    stripe_refund_id = models.CharField(max_length=255, blank=True, help_text="Set once, from Stripe's answer.")
    stripe_credit_note_id = models.CharField(max_length=255, blank=True)
    error = models.CharField(max_length=500, blank=True)
    ended_at = models.DateTimeField(null=True)
    next_attempt_at = models.DateTimeField(null=True, help_text="When the task sends it; empty: not now, or no more.")

    class Meta:
        ordering = ("-requested_at", "-id")
        permissions = (
            ("request_refund", "Can ask for a refund"),
            ("request_refundbatch", "Can ask for many refunds at once"),
            ("approve_refund", "Can approve or reject refunds that somebody else asked for"),
        )
        indexes = (
            models.Index(
                name="billing_refundrequest_due",
                fields=("next_attempt_at",),
                condition=Q(next_attempt_at__isnull=False),
            ),
            models.Index(name="billing_refundrequest_alone", fields=("requested_by", "requested_at")),
        )
        constraints = (
            *request_constraints("billing_refundrequest"),
            models.UniqueConstraint(
                name="billing_refundrequest_once_a_batch", fields=("batch", "payment"), condition=Q(batch__isnull=False)
            ),
            models.CheckConstraint(
                name="billing_refundrequest_batch_takes_two", condition=Q(batch=None) | Q(needs_second_person=True)
            ),
            models.CheckConstraint(
                name="billing_refundrequest_sent", condition=~Q(state="sent") | ~Q(stripe_refund_id="")
            ),
            models.CheckConstraint(
                name="billing_refundrequest_parts",
                condition=Q(way="credit_note", parts__isnull=False) | Q(way="refund", parts__isnull=True),
            ),
        )

    def __str__(self) -> str:
        return f"Refund request {self.pk}"


class RefundDecision(DecidedOn):
    request = models.OneToOneField(RefundRequest, on_delete=models.PROTECT, related_name="decision")

    class Meta:
        constraints = decision_constraints("billing_refunddecision")

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} by {self.decided_by.removeprefix('user:')}"
