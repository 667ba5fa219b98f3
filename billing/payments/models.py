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

    class Meta:
        ordering = ("-occurred_at", "-id")

    def __str__(self) -> str:
        return self.stripe_payment_intent_id


class BalanceTransaction(models.Model):
    """A movement on our balance at Stripe; entered into the ledger once, by its id. Only added."""

    stripe_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=60)
    currency = models.CharField(max_length=3)
    amount_minor = models.BigIntegerField()
    fee_minor = models.BigIntegerField()
    net_minor = models.BigIntegerField()
    stripe_source_id = models.CharField(max_length=255, blank=True)
    occurred_at = models.DateTimeField()
    journal_entry_id = models.BigIntegerField(unique=True)

    class Meta:
        ordering = ("-occurred_at", "-id")

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
