"""Answers to disputes: evidence that is drafted and then sent once, or a dispute that is accepted with a reason."""

from django.db import models
from django.db.models import Q

from billing.payments.two_people import AskedFor, DecidedOn, decision_constraints, request_constraints


class DisputeEvidence(models.Model):
    """A draft of the evidence; a later one replaces it. Texts never change; the draft that was sent says when."""

    dispute = models.ForeignKey("billing.Dispute", on_delete=models.PROTECT, related_name="evidence")
    texts = models.JSONField(help_text="By Stripe's names of the fields of evidence.")
    written_by = models.CharField(max_length=200)
    written_at = models.DateTimeField()
    sent_by = models.CharField(max_length=200, blank=True, help_text="Who had it sent to the bank.")
    sent_at = models.DateTimeField(null=True, help_text="When Stripe took it.")

    class Meta:
        verbose_name_plural = "dispute evidence"
        ordering = ("-id",)
        permissions = (("answer_dispute", "Can send evidence in a dispute, or ask to accept it"),)
        constraints = (
            models.UniqueConstraint(
                name="billing_disputeevidence_sent_once", fields=("dispute",), condition=~Q(sent_by="")
            ),
            models.CheckConstraint(name="billing_disputeevidence_sent", condition=Q(sent_at=None) | ~Q(sent_by="")),
        )

    def __str__(self) -> str:
        return f"Evidence {self.pk}"


class DisputeAcceptance(AskedFor):
    """A person asks to accept a dispute: the money stays with the customer's bank."""

    dispute = models.ForeignKey("billing.Dispute", on_delete=models.PROTECT, related_name="acceptances")
    done_at = models.DateTimeField(null=True, help_text="When Stripe was told.")
    error = models.CharField(max_length=500, blank=True, help_text="Why Stripe refused.")

    class Meta:
        ordering = ("-requested_at", "-id")
        constraints = request_constraints("billing_disputeacceptance")

    def __str__(self) -> str:
        return f"Acceptance of {self.dispute}"


class DisputeAcceptanceDecision(DecidedOn):
    request = models.OneToOneField(DisputeAcceptance, on_delete=models.PROTECT, related_name="decision")

    class Meta:
        constraints = decision_constraints("billing_disputeacceptancedecision")

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} by {self.decided_by.removeprefix('user:')}"
