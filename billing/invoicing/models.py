"""
Invoices: Stripe's document, our usage lines on it, and how far each close has come.

`Invoice` is a projection of what Stripe says and may be brought up to date; lines and close steps are only added.
"""

from django.db import models
from django.db.models import F, Q


class Invoice(models.Model):
    """Stripe's invoice as last fetched. Amounts in minor units of `currency`, as Stripe states them."""

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        OPEN = "open", "Open"
        PAID = "paid", "Paid"
        VOID = "void", "Void"
        UNCOLLECTIBLE = "uncollectible", "Uncollectible"

    class TakenOver(models.TextChoices):
        OPEN = "open", "Open when the account was taken over"
        SETTLED = "settled", "Settled before the account was taken over"

    stripe_invoice_id = models.CharField(max_length=255, unique=True)
    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="invoices")
    subscription = models.ForeignKey(
        "billing.Subscription", on_delete=models.PROTECT, null=True, blank=True, related_name="invoices"
    )
    number = models.CharField(max_length=100, blank=True)
    billing_reason = models.CharField(max_length=60)
    status = models.CharField(max_length=20, choices=Status)
    currency = models.CharField(max_length=3)
    total_minor = models.BigIntegerField(help_text="Sum of the lines, after discounts and with tax.")
    amount_due_minor = models.BigIntegerField(help_text="What is asked for after the customer balance was applied.")
    amount_paid_minor = models.BigIntegerField()
    amount_remaining_minor = models.BigIntegerField()
    discount_minor = models.BigIntegerField(
        default=0, help_text="Taken off by all discounts; already out of the total."
    )
    tax_minor = models.BigIntegerField(default=0, help_text="All tax in the total, on top of prices or within them.")
    credited_before_payment_minor = models.BigIntegerField(
        default=0, help_text="By credit notes: so much less is asked for."
    )
    credited_after_payment_minor = models.BigIntegerField(
        default=0, help_text="By credit notes: given back as balance, as refunds, or outside Stripe."
    )
    written_off_minor = models.BigIntegerField(
        default=0, help_text="What of it the ledger holds as bad debt now; not Stripe's figure."
    )
    paid_off_stripe_minor = models.BigIntegerField(
        default=0, help_text="What of it was paid elsewhere, as the ledger holds it."
    )
    starting_balance_minor = models.BigIntegerField(help_text="Stripe's customer balance before; above zero is owed.")
    ending_balance_minor = models.BigIntegerField(null=True, help_text="The same after finalisation.")
    attempt_count = models.PositiveIntegerField(default=0)
    next_payment_attempt_at = models.DateTimeField(null=True)
    taken_over = models.CharField(
        max_length=8,
        choices=TakenOver,
        blank=True,
        default="",
        db_default="",
        help_text="Not empty: made before the cut of the takeover. One that was settled by then is history, without an"
        " entry.",
    )
    created_at = models.DateTimeField(help_text="When Stripe made the draft.")
    due_at = models.DateTimeField(null=True, help_text="Stripe's due date; empty: due as soon as it is finalised.")
    finalized_at = models.DateTimeField(null=True)
    paid_at = models.DateTimeField(null=True)
    voided_at = models.DateTimeField(null=True)
    projected_at = models.DateTimeField(help_text="When this row was last brought up to date.")

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = (
            models.Index(name="billing_invoice_made", fields=("-created_at", "-id")),  # the order of the list
            # Of a month: charts, the sample that is verified, reconciliation.
            models.Index(name="billing_invoice_finalized", fields=("finalized_at",)),
            # What somebody still has to pay is little of all there ever was.
            models.Index(name="billing_invoice_open", fields=("id",), condition=Q(status="open")),
            models.Index(name="billing_invoice_number", fields=("number",), condition=~Q(number="")),
        )

    def __str__(self) -> str:
        return self.number or self.stripe_invoice_id


class InvoiceLine(models.Model):
    """
    One line of an invoice.

    Ours (usage, coverage) are written before they are pushed; Stripe's own (fee, …) when the invoice is finalised.
    For a usage line `amount_minor` is `exact_amount` rounded once; `rounding` is what that step added, so that
    exact_amount + rounding is the amount charged, at most half an increment apart (DESIGN §3.6).
    Discount and tax are Stripe's, of this line, in minor units with the line's sign; known once it is finalised.
    """

    class Kind(models.TextChoices):
        USAGE = "usage", "Usage"
        COVERAGE = "coverage", "Covered by allowance or credit"
        FEE = "fee", "Subscription fee"
        ONE_OFF = "one_off", "One-off"
        PREPAID = "prepaid", "Prepaid credit"
        BROUGHT_IN = "brought_in", "Billed before the takeover"

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="lines")
    kind = models.CharField(max_length=20, choices=Kind)
    position = models.PositiveIntegerField(help_text="Order on our side, 1 first.")
    period = models.ForeignKey("billing.BillingPeriod", on_delete=models.PROTECT, null=True, related_name="lines")
    rate = models.ForeignKey("billing.Rate", on_delete=models.PROTECT, null=True, related_name="+")
    accrual = models.ForeignKey(
        "billing.UsageAccrual",
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        help_text="The latest accrual of the period when the line was made; later ones are not in it.",
    )
    metered_price = models.ForeignKey(
        "billing.MeteredPrice",
        on_delete=models.PROTECT,
        null=True,
        related_name="lines",
        help_text="Stripe's meter brought it onto the invoice, and no line of ours was pushed.",
    )
    description = models.CharField(max_length=500)
    quantity = models.DecimalField(max_digits=38, decimal_places=12)
    exact_amount = models.DecimalField(max_digits=38, decimal_places=12, help_text="In currency units, unrounded.")
    amount_minor = models.BigIntegerField(help_text="As charged, in minor units, before discount and tax on top.")
    discount_minor = models.BigIntegerField(default=0, help_text="Taken off the amount.")
    exclusive_tax_minor = models.BigIntegerField(default=0, help_text="Tax on top of amount less discount.")
    inclusive_tax_minor = models.BigIntegerField(default=0, help_text="Tax that is part of the amount.")
    rounding = models.DecimalField(max_digits=38, decimal_places=12, help_text="Charged minus exact, currency units.")
    is_exempt = models.BooleanField(
        default=False, db_default=False, help_text="Pushed without the tax rates of its invoice."
    )
    stripe_line_id = models.CharField(
        max_length=255, unique=True, null=True, blank=True, help_text="Set once, when found on the draft."
    )

    class Meta:
        ordering = ("invoice_id", "position")
        constraints = (
            models.UniqueConstraint(name="billing_line_position", fields=("invoice", "position")),
            # A second line for the same price would bill it twice.
            models.UniqueConstraint(
                name="billing_line_usage_once", fields=("invoice", "period", "rate"), condition=Q(kind="usage")
            ),
            models.CheckConstraint(
                name="billing_line_usage_names_its_source",
                condition=~Q(kind="usage") | Q(period__isnull=False, rate__isnull=False, accrual__isnull=False),
            ),
            # Stripe bills a meter below zero as nothing.
            models.CheckConstraint(
                name="billing_line_metered_usage",
                condition=Q(metered_price=None) | Q(kind="usage", amount_minor__gte=0),
            ),
            models.UniqueConstraint(name="billing_line_metered_once", fields=("invoice", "metered_price")),
            models.CheckConstraint(
                name="billing_line_coverage_is_free",
                condition=~Q(kind="coverage") | Q(amount_minor=0, exact_amount=0, rounding=0),
            ),
        )

    def __str__(self) -> str:
        return self.description


class PrepaidPurchase(models.Model):
    """
    What a line of prepaid credit buys: a grant of what is paid, and one of the bonus, once the invoice is paid.

    The terms are those of the line's metadata at Stripe and never change; each grant is named once.
    """

    line = models.OneToOneField(InvoiceLine, on_delete=models.PROTECT, related_name="prepaid")
    name = models.CharField(max_length=200, help_text="Of the credit, as the customer reads it on later invoices.")
    bonus_amount = models.DecimalField(
        max_digits=38, decimal_places=12, default=0, help_text="Given on top, in currency units."
    )
    valid_days = models.PositiveIntegerField(null=True, help_text="Expires so long after the payment; empty: never.")
    grant = models.OneToOneField("promotions.CreditGrant", on_delete=models.PROTECT, null=True, related_name="+")
    bonus_grant = models.OneToOneField("promotions.CreditGrant", on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(name="billing_prepaid_bonus_not_negative", condition=Q(bonus_amount__gte=0)),
        )

    def __str__(self) -> str:
        return self.name


class CreditNote(models.Model):
    """
    Stripe's credit note. Amounts in minor units of `currency`; total = the four ways together.

    What it says never changes, except that it may become void. `unwound_at`: its entry was taken back, because it or
    its invoice is void.
    """

    class Status(models.TextChoices):
        ISSUED = "issued", "Issued"
        VOID = "void", "Void"

    stripe_credit_note_id = models.CharField(max_length=255, unique=True)
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="credit_notes")
    number = models.CharField(max_length=100)
    status = models.CharField(max_length=20, choices=Status)
    reason = models.CharField(max_length=60, blank=True)
    memo = models.TextField(blank=True)
    currency = models.CharField(max_length=3)
    total_minor = models.BigIntegerField(help_text="With tax, after discount.")
    pre_payment_minor = models.BigIntegerField(help_text="So much less is asked for on the invoice.")
    to_balance_minor = models.BigIntegerField(help_text="Given back onto the customer's balance.")
    refunded_minor = models.BigIntegerField(help_text="Given back by refunds.")
    out_of_band_minor = models.BigIntegerField(help_text="Given back outside Stripe, from the bank.")
    issued_at = models.DateTimeField()
    voided_at = models.DateTimeField(null=True)
    unwound_at = models.DateTimeField(null=True)
    journal_entry_id = models.BigIntegerField(
        unique=True, null=True, help_text="Empty for one of before the takeover that took nothing off an open invoice."
    )
    projected_at = models.DateTimeField()

    class Meta:
        ordering = ("-issued_at", "-id")
        constraints = (
            models.CheckConstraint(
                name="billing_creditnote_total_is_given_back",
                condition=Q(
                    total_minor=F("pre_payment_minor")
                    + F("to_balance_minor")
                    + F("refunded_minor")
                    + F("out_of_band_minor")
                ),
            ),
        )

    def __str__(self) -> str:
        return self.number or self.stripe_credit_note_id

    def ways(self) -> list[tuple[str, int]]:
        """In what ways the total is given back, each with its amount in minor units."""
        return [
            ("not asked for", self.pre_payment_minor),
            ("onto the balance", self.to_balance_minor),
            ("refunded", self.refunded_minor),
            ("outside Stripe", self.out_of_band_minor),
        ]


class CreditNoteLine(models.Model):
    """A line of a credit note, in minor units: of a line of the invoice, or of its own making."""

    credit_note = models.ForeignKey(CreditNote, on_delete=models.PROTECT, related_name="lines")
    position = models.PositiveIntegerField()
    invoice_line = models.ForeignKey(InvoiceLine, on_delete=models.PROTECT, null=True, related_name="credit_note_lines")
    description = models.CharField(max_length=500)
    amount_minor = models.BigIntegerField(help_text="Before discount and tax on top.")
    discount_minor = models.BigIntegerField()
    exclusive_tax_minor = models.BigIntegerField()
    inclusive_tax_minor = models.BigIntegerField()
    from_grant = models.DecimalField(
        max_digits=38, decimal_places=12, default=0, help_text="Taken from the line's paid credit, in currency units."
    )
    stripe_line_id = models.CharField(max_length=255, unique=True)

    class Meta:
        ordering = ("credit_note_id", "position")
        constraints = (models.UniqueConstraint(name="billing_cnline_position", fields=("credit_note", "position")),)

    def __str__(self) -> str:
        return self.description


class InvoiceClose(models.Model):
    """How far the close of a draft has come. `step` is the last one that is finished and committed."""

    class Step(models.TextChoices):
        STARTED = "started", "Draft taken over"
        ACCRUED = "accrued", "Usage accrued, lines written"
        ITEMS_PUSHED = "items_pushed", "Lines pushed to Stripe"
        VERIFIED = "verified", "Compared line by line"
        PROVED = "proved", "Proved from its events"
        FINALIZED = "finalized", "Finalised"
        ENDED = "ended", "Ended without an invoice"

    ENDS = (Step.FINALIZED, Step.ENDED)

    invoice = models.OneToOneField(Invoice, on_delete=models.PROTECT, related_name="close")
    period = models.OneToOneField(
        "billing.BillingPeriod", on_delete=models.PROTECT, null=True, related_name="close", help_text="The one it ends."
    )
    step = models.CharField(max_length=20, choices=Step, default=Step.STARTED)
    held_reason = models.CharField(max_length=500, blank=True, help_text="Not empty: a person has to look.")
    held_at = models.DateTimeField(null=True, help_text="Since when it is held.")
    findings = models.JSONField(
        default=list, help_text="What it is held for, where a person may let that pass: code, words, figures compared."
    )
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(help_text="The sweeper takes it up from then on.")
    error = models.TextField(blank=True, help_text="What the last attempt failed on, if it did.")

    class Meta:
        ordering = ("-id",)
        permissions = (("release_invoiceclose", "Can let a held invoice go on"),)
        indexes = (
            # The sweeper looks every few seconds, and only at what is not finished and waits for nobody.
            models.Index(
                name="billing_close_due",
                fields=("next_attempt_at", "id"),
                condition=Q(held_reason="") & ~Q(step__in=("finalized", "ended")),
            ),
            models.Index(name="billing_close_held", fields=("held_at", "id"), condition=~Q(held_reason="")),
        )

    def __str__(self) -> str:
        return f"Close of {self.invoice}"


class InvoiceCloseStep(models.Model):
    """One finished step of a close, for the timeline."""

    close = models.ForeignKey(InvoiceClose, on_delete=models.PROTECT, related_name="steps")
    step = models.CharField(max_length=20, choices=InvoiceClose.Step)
    recorded_at = models.DateTimeField()
    detail = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("close_id", "id")
        constraints = (models.UniqueConstraint(name="billing_closestep_once", fields=("close", "step")),)

    def __str__(self) -> str:
        return f"{self.step} at {self.recorded_at:%F %T}"
