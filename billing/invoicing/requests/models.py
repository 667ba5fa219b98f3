"""
What people ask to have done about invoices, and what was decided about it: one-off invoices, voids, credit notes.

A request is never changed, and its one decision is a row of its own, as with manual entries (decision 0012). Only how
far it has come is learned (migrations/sql/0019_invoice_orders.sql).
"""

from django.db import models
from django.db.models import F, Q


class InvoiceRequest(models.Model):
    """One request. Above the limit it waits for a second person; then a task carries it out at Stripe."""

    class Kind(models.TextChoices):
        ONE_OFF = "one_off", "One-off invoice"
        VOID = "void", "Void an invoice"
        CREDIT_NOTE = "credit_note", "Credit note"

    class State(models.TextChoices):
        WAITING = "waiting", "Waits for a second person"
        INTENDED = "intended", "Under way"
        DONE = "done", "Done"
        REFUSED = "refused", "Refused by Stripe"
        CALLED_OFF = "called_off", "Called off"

    kind = models.CharField(max_length=12, choices=Kind)
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="invoice_requests")
    invoice = models.ForeignKey(
        "billing.Invoice", on_delete=models.PROTECT, null=True, related_name="requests", help_text="What it changes."
    )
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField(help_text="What it moves, in minor units; its limit is about this.")
    terms = models.JSONField(help_text="What exactly is asked for (invoicing/requests/terms.py).")
    reason = models.CharField(max_length=500)
    requested_by = models.CharField(max_length=200, help_text="Who, such as user:fiona.")
    requested_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=200, unique=True)
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
    state = models.CharField(max_length=12, choices=State)
    stripe_request = models.JSONField(null=True, help_text="What Stripe is asked for; fixed before it is asked.")
    order = models.OneToOneField(
        "billing.InvoiceOrder", on_delete=models.PROTECT, null=True, related_name="asked_by", help_text="What it made."
    )
    credit_note = models.OneToOneField(
        "billing.CreditNote", on_delete=models.PROTECT, null=True, related_name="asked_by", help_text="What it made."
    )
    outcome = models.CharField(max_length=500, blank=True)
    error = models.TextField(blank=True)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        permissions = (
            ("order_one_off_invoice", "Can ask for a one-off invoice"),
            ("credit_invoice", "Can ask for a credit note on an invoice"),
            ("void_invoice", "Can ask for an invoice to be void"),
            ("approve_invoicerequest", "Can approve or reject what somebody else asked for about invoices"),
        )
        constraints = (
            models.CheckConstraint(
                name="billing_invoicerequest_of_invoice",
                condition=Q(kind="one_off", invoice__isnull=True)
                | Q(kind__in=("void", "credit_note"), invoice__isnull=False),
            ),
            models.CheckConstraint(
                name="billing_invoicerequest_says_why", condition=~Q(reason="") & ~Q(requested_by="")
            ),
            models.CheckConstraint(
                name="billing_invoicerequest_state",
                condition=Q(state__in=("waiting", "intended", "done", "refused", "called_off")),
            ),
            models.CheckConstraint(
                name="billing_invoicerequest_finished",
                condition=Q(state__in=("waiting", "intended")) ^ Q(finished_at__isnull=False),
            ),
            models.CheckConstraint(
                name="billing_invoicerequest_limit",
                condition=Q(needs_second_person=True, limit_amount__isnull=True)
                | Q(needs_second_person=True, alone_total__gt=F("limit_amount"))
                # A CHECK lets NULL pass: without a limit nothing is within it.
                | Q(needs_second_person=False, limit_amount__isnull=False, alone_total__lte=F("limit_amount")),
            ),
            # A second void would be refused by Stripe, and both would say what becomes of the usage.
            models.UniqueConstraint(
                name="billing_invoicerequest_one_void",
                fields=("invoice",),
                condition=Q(kind="void", state__in=("waiting", "intended")),
            ),
        )
        indexes = (
            models.Index(name="billing_invoicerequest_due", fields=("next_attempt_at",), condition=Q(state="intended")),
            models.Index(name="billing_invoicerequest_person", fields=("requested_by", "requested_at")),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.pk}"


class InvoiceRequestDecision(models.Model):
    """The one decision about a request. It repeats who asked and whether that took two, for the database to compare."""

    class Outcome(models.TextChoices):
        WITHIN_LIMIT = "within_limit", "Within the limit"
        APPROVED = "approved", "Approved"
        REJECTED = "rejected", "Rejected"
        WITHDRAWN = "withdrawn", "Withdrawn"

    invoice_request = models.OneToOneField(InvoiceRequest, on_delete=models.PROTECT, related_name="decision")
    outcome = models.CharField(max_length=20, choices=Outcome)
    requested_by = models.CharField(max_length=200)
    needs_second_person = models.BooleanField()
    decided_by = models.CharField(max_length=200)
    decided_at = models.DateTimeField()
    words = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                name="billing_invoicerequest_second_person",
                condition=Q(outcome="within_limit", needs_second_person=False, decided_by=F("requested_by"))
                | Q(outcome="withdrawn", needs_second_person=True, decided_by=F("requested_by"))
                | (
                    Q(outcome__in=("approved", "rejected"), needs_second_person=True) & ~Q(decided_by=F("requested_by"))
                ),
            ),
            models.CheckConstraint(
                name="billing_invoicerequest_decided_in_words",
                condition=~Q(decided_by="") & (Q(outcome="within_limit") | ~Q(words="")),
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} by {self.decided_by}"
