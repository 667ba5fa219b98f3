"""Held closes that a person let go on: rows are only added."""

from django.db import models
from django.db.models import Q


class InvoiceCloseRelease(models.Model):
    """A person looked at a held close and let it go on: what it was held for, and why it may pass."""

    close = models.ForeignKey("billing.InvoiceClose", on_delete=models.PROTECT, related_name="releases")
    step = models.CharField(max_length=20, help_text="The last finished step when it was held.")
    held_reason = models.CharField(max_length=500)
    held_at = models.DateTimeField(null=True)
    findings = models.JSONField(default=list, help_text="As the close held them: these, and no others, may pass.")
    words = models.CharField(max_length=500)
    released_by = models.CharField(max_length=200)
    released_at = models.DateTimeField()

    class Meta:
        ordering = ("close_id", "id")
        constraints = (
            models.CheckConstraint(
                name="billing_invoicecloserelease_says_why",
                condition=~Q(words="") & ~Q(released_by="") & ~Q(held_reason=""),
            ),
        )

    def __str__(self) -> str:
        return f"Released by {self.released_by}"
