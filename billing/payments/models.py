"""Money that moved at Stripe, as last fetched. Amounts in minor units of `currency`, as Stripe states them."""

from django.db import models


class Payment(models.Model):
    """One payment intent and its latest charge."""

    class Status(models.TextChoices):
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"
        PROCESSING = "processing", "Processing"
        REQUIRES_ACTION = "requires_action", "Requires action"
        CANCELED = "canceled", "Canceled"

    stripe_payment_intent_id = models.CharField(max_length=255, unique=True)
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="payments")
    invoice = models.ForeignKey("billing.Invoice", on_delete=models.PROTECT, null=True, related_name="payments")
    stripe_charge_id = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=20, choices=Status)
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    failure_code = models.CharField(max_length=100, blank=True)
    failure_message = models.CharField(max_length=500, blank=True)
    occurred_at = models.DateTimeField(help_text="When Stripe made the latest charge.")
    projected_at = models.DateTimeField()
    promised_minor = models.BigIntegerField(
        default=0, help_text="Owed back for refunds that nothing else promises, as entered so far."
    )
    promise_count = models.PositiveIntegerField(default=0, help_text="How many entries made it so.")
    is_taken_over = models.BooleanField(
        default=False, db_default=False, help_text="It paid for something of before the takeover's cut."
    )

    class Meta:
        ordering = ("-occurred_at", "-id")
        indexes = (
            models.Index(name="billing_payment_made", fields=("-occurred_at", "-id")),  # the order of the list
            models.Index(name="billing_payment_charge", fields=("stripe_charge_id",)),  # what a payout is made of
        )

    def __str__(self) -> str:
        return self.stripe_payment_intent_id


class Refund(models.Model):
    """
    Money given back of a payment.

    `sent_at`: it left our balance at Stripe. `returned_at`: it came back there, because it failed or was canceled; what
    was owed to the customer is owed again.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        REQUIRES_ACTION = "requires_action", "Requires action"
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"
        CANCELED = "canceled", "Canceled"

    stripe_refund_id = models.CharField(max_length=255, unique=True)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refunds")
    stripe_charge_id = models.CharField(max_length=255)
    status = models.CharField(max_length=20, choices=Status)
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    reason = models.CharField(max_length=100, blank=True)
    failure_reason = models.CharField(max_length=100, blank=True)
    occurred_at = models.DateTimeField(help_text="When it was asked for.")
    sent_at = models.DateTimeField(null=True)
    returned_at = models.DateTimeField(null=True)
    projected_at = models.DateTimeField()

    class Meta:
        ordering = ("-occurred_at", "-id")

    def __str__(self) -> str:
        return self.stripe_refund_id


class CreditNoteRefund(models.Model):
    """What of a refund a credit note stands for, by Stripe's ids: either may be heard of first. Only added."""

    stripe_credit_note_id = models.CharField(max_length=255)
    stripe_refund_id = models.CharField(max_length=255, db_index=True)
    amount_minor = models.BigIntegerField()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                name="billing_creditnoterefund_once", fields=("stripe_credit_note_id", "stripe_refund_id")
            ),
        )

    def __str__(self) -> str:
        return f"{self.stripe_refund_id} by {self.stripe_credit_note_id}"


class Dispute(models.Model):
    """A charge, or part of it, that the customer's bank asks back. An inquiry moves no money unless it escalates."""

    class Status(models.TextChoices):
        WARNING_NEEDS_RESPONSE = "warning_needs_response", "Inquiry: needs response"
        WARNING_UNDER_REVIEW = "warning_under_review", "Inquiry: under review"
        WARNING_CLOSED = "warning_closed", "Inquiry: closed"
        NEEDS_RESPONSE = "needs_response", "Needs response"
        UNDER_REVIEW = "under_review", "Under review"
        WON = "won", "Won"
        LOST = "lost", "Lost"
        PREVENTED = "prevented", "Prevented"

    stripe_dispute_id = models.CharField(max_length=255, unique=True)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="disputes")
    stripe_charge_id = models.CharField(max_length=255)
    status = models.CharField(max_length=30, choices=Status)
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    reason = models.CharField(max_length=100, blank=True)
    respond_by = models.DateTimeField(null=True, help_text="Evidence is taken until then.")
    occurred_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, help_text="When Stripe told that it was decided.")
    lost_minor = models.BigIntegerField(default=0, help_text="Entered as bad debt so far.")
    loss_count = models.PositiveIntegerField(default=0, help_text="How many entries made it so.")
    projected_at = models.DateTimeField()

    class Meta:
        ordering = ("-occurred_at", "-id")

    def __str__(self) -> str:
        return self.stripe_dispute_id


class Payout(models.Model):
    """Money sent from our balance at Stripe to the bank; below zero it was fetched from there."""

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        IN_TRANSIT = "in_transit", "In transit"
        PAID = "paid", "Paid"
        FAILED = "failed", "Failed"
        CANCELED = "canceled", "Canceled"

    stripe_payout_id = models.CharField(max_length=255, unique=True)
    status = models.CharField(max_length=20, choices=Status)
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    is_automatic = models.BooleanField()
    failure_code = models.CharField(max_length=100, blank=True)
    failure_message = models.CharField(max_length=500, blank=True)
    trace_id = models.CharField(max_length=200, blank=True, help_text="By which the bank can find it; known once paid.")
    statement_descriptor = models.CharField(max_length=100, blank=True, help_text="What the bank's statement shows.")
    occurred_at = models.DateTimeField(help_text="When Stripe made it.")
    expected_at = models.DateTimeField(help_text="When Stripe expects it at the bank.")
    arrived_at = models.DateTimeField(null=True, help_text="The day it counted as arrived, as entered.")
    returned_at = models.DateTimeField(null=True, help_text="When it came back to our balance at Stripe.")
    projected_at = models.DateTimeField()

    class Meta:
        ordering = ("-occurred_at", "-id")

    def __str__(self) -> str:
        return self.stripe_payout_id


class BalanceTransaction(models.Model):
    """
    A movement on our balance at Stripe; entered into the ledger once, by its id. Only added.

    Where Stripe converted, `source_amount_minor` of `source_currency` is what the source (a charge, a refund …) moved,
    with the sign of the amount. Both amounts are Stripe's integers; the rate is shown and never multiplied.
    """

    stripe_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=60)
    reporting_category = models.CharField(max_length=100, blank=True)
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField()
    fee_minor = models.BigIntegerField()
    net_minor = models.BigIntegerField()
    stripe_source_id = models.CharField(max_length=255, blank=True, db_index=True)
    source_currency = models.CharField(max_length=3, blank=True)
    source_amount_minor = models.BigIntegerField(null=True)
    exchange_rate = models.CharField(max_length=40, blank=True, help_text="As Stripe states it.")
    occurred_at = models.DateTimeField()
    journal_entry_id = models.BigIntegerField(unique=True)

    class Meta:
        ordering = ("-occurred_at", "-id")
        indexes = (models.Index(name="billing_movement_made", fields=("-occurred_at", "-id")),)  # the order of the list

    def __str__(self) -> str:
        return self.stripe_id


class CustomerBalanceTransaction(models.Model):
    """A movement on a customer's balance at Stripe; entered into the ledger once, by its id. Only added."""

    stripe_id = models.CharField(max_length=255, unique=True)
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="balance_transactions")
    type = models.CharField(max_length=60)
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField(help_text="Above zero: the customer owes more; below: less (Stripe's sign).")
    ending_balance_minor = models.BigIntegerField()
    stripe_invoice_id = models.CharField(max_length=255, blank=True)
    occurred_at = models.DateTimeField()
    journal_entry_id = models.BigIntegerField(unique=True)

    class Meta:
        ordering = ("-occurred_at", "-id")

    def __str__(self) -> str:
        return self.stripe_id
