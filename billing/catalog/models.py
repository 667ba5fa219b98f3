"""What is sold and at what price. A published version and a rate, once written, never change (triggers in 0002)."""

from django.db import models
from django.db.models import Q


class RateCard(models.Model):
    """The unit prices that belong together, in one currency."""

    code = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    currency = models.CharField(max_length=3)
    source = models.CharField(max_length=300, blank=True, help_text="Where the prices were read, and when.")

    class Meta:
        ordering = ("code",)

    def __str__(self) -> str:
        return self.name


class Rate(models.Model):
    """
    The price of one meter for one model, from an instant on.

    Rates are only added: the one with the latest `effective_from` at or before the start of a window applies to it.
    """

    rate_card = models.ForeignKey(RateCard, on_delete=models.PROTECT, related_name="rates")
    meter_code = models.CharField(max_length=64)
    model = models.CharField(max_length=100, help_text="The value of the dimension `model`.")
    unit_price = models.DecimalField(
        max_digits=38, decimal_places=12, help_text="Exact price, in the card's currency, of `unit_size` units."
    )
    unit_size = models.PositiveIntegerField(default=1_000_000, help_text="Units that unit_price buys.")
    effective_from = models.DateTimeField()

    class Meta:
        ordering = ("rate_card_id", "model", "meter_code", "effective_from")
        constraints = (
            models.UniqueConstraint(
                name="billing_rate_one_per_instant", fields=("rate_card", "meter_code", "model", "effective_from")
            ),
            models.CheckConstraint(name="billing_rate_price_not_negative", condition=Q(unit_price__gte=0)),
            models.CheckConstraint(name="billing_rate_unit_size_positive", condition=Q(unit_size__gt=0)),
        )

    def __str__(self) -> str:
        return f"{self.model} {self.meter_code}"


class Plan(models.Model):
    """A product a customer subscribes to; its terms are in its versions."""

    code = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    stripe_product_id = models.CharField(max_length=255, unique=True, null=True, blank=True)

    class Meta:
        ordering = ("code",)

    def __str__(self) -> str:
        return self.name


class LatePolicy(models.TextChoices):
    """What becomes of usage that is known only after its period was closed (DESIGN §9)."""

    NEXT_INVOICE = "next_invoice", "On the next invoice"
    CREDIT_OR_DEBIT_NOTE = "credit_or_debit_note", "By a document of its own"
    ABSORB = "absorb", "Absorbed up to an amount"


class PlanVersion(models.Model):
    """The terms of a plan. Draft terms may change; published terms never do."""

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        PUBLISHED = "published", "Published"
        RETIRED = "retired", "Retired"

    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="versions")
    version = models.PositiveIntegerField()
    status = models.CharField(max_length=20, choices=Status, default=Status.DRAFT)
    currency = models.CharField(max_length=3)
    fee_minor = models.BigIntegerField(help_text="Recurring fee a month and seat, in minor units, billed in advance.")
    included_amount = models.DecimalField(
        max_digits=38,
        decimal_places=12,
        help_text="Usage a month and seat that the fee includes, in currency units; seats of one subscription pool it.",
    )
    rate_card = models.ForeignKey(RateCard, on_delete=models.PROTECT, related_name="plan_versions")
    late_policy = models.CharField(
        max_length=30,
        choices=LatePolicy,
        default=LatePolicy.NEXT_INVOICE,
        help_text="What becomes of usage that is known only after its period was closed.",
    )
    late_absorb_up_to = models.DecimalField(
        max_digits=38,
        decimal_places=12,
        default=0,
        help_text="So much late usage of a period is given up without asking, in currency units.",
    )
    stripe_price_id = models.CharField(max_length=255, unique=True, null=True, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("plan__code", "version")
        constraints = (
            models.UniqueConstraint(name="billing_planversion_number", fields=("plan", "version")),
            models.CheckConstraint(name="billing_planversion_fee_not_negative", condition=Q(fee_minor__gte=0)),
            models.CheckConstraint(
                name="billing_planversion_included_not_negative", condition=Q(included_amount__gte=0)
            ),
            models.CheckConstraint(
                name="billing_planversion_published_has_time",
                condition=Q(status="draft") | Q(published_at__isnull=False),
            ),
            models.CheckConstraint(
                name="billing_planversion_late_policy", condition=Q(late_policy__in=LatePolicy.values)
            ),
            models.CheckConstraint(
                name="billing_planversion_late_absorb",
                condition=Q(late_policy="absorb", late_absorb_up_to__gt=0)
                | (~Q(late_policy="absorb") & Q(late_absorb_up_to=0)),
            ),
        )

    def __str__(self) -> str:
        return f"{self.plan_id and self.plan.name} v{self.version}"
