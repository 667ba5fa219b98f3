"""What each finalised invoice is proved by, and what came of proving it again. Only added."""

from django.db import models
from django.db.models import Q


class InvoiceProof(models.Model):
    """
    What our lines of one invoice rest on, as docs/invoice-proofs.md tells it, made before the invoice is finalised.

    `packed` is the document, canonical JSON, compressed by zlib; `sha256` is of the document itself.
    """

    invoice = models.OneToOneField("billing.Invoice", on_delete=models.PROTECT, related_name="proof")
    format = models.PositiveSmallIntegerField(help_text="Of the document; verifiers name those that they read.")
    sha256 = models.CharField(max_length=64, help_text="Of the canonical JSON, hexadecimal.")
    packed = models.BinaryField()
    size_bytes = models.PositiveIntegerField(help_text="Of the canonical JSON.")
    line_count = models.PositiveIntegerField(help_text="Lines of ours.")
    window_count = models.PositiveIntegerField(help_text="Windows that they are made of.")
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=200)
    is_afterwards = models.BooleanField(
        default=False, help_text="Made when the invoice was finalised already: it held nothing back."
    )

    class Meta:
        ordering = ("-id",)
        permissions = (
            ("export_invoiceproof", "Can download the proof of an invoice with the raw events it rests on"),
            ("verify_invoiceproof", "Can have the proof of an invoice verified"),
        )
        constraints = (
            models.CheckConstraint(name="billing_invoiceproof_sha256", condition=Q(sha256__regex=r"^[0-9a-f]{64}$")),
        )

    def __str__(self) -> str:
        return f"Proof of {self.invoice_id}"


class InvoiceVerification(models.Model):
    """One time that a proof was derived again from raw events, and what differed."""

    proof = models.ForeignKey(InvoiceProof, on_delete=models.PROTECT, related_name="verifications")
    verified_at = models.DateTimeField()
    verified_by = models.CharField(max_length=200, help_text="user:NAME, task:NAME or service:NAME.")
    is_proved = models.BooleanField()
    event_count = models.PositiveBigIntegerField(help_text="Raw events read.")
    differences = models.JSONField(default=list, help_text="The first differences, each a sentence.")
    difference_count = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                name="billing_invoiceverification_says_what",
                condition=Q(is_proved=True, difference_count=0) | Q(is_proved=False, difference_count__gt=0),
            ),
        )

    def __str__(self) -> str:
        return f"Verification {self.pk} of {self.proof_id}"
