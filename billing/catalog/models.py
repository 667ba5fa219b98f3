"""
What is sold and at what price. What was approved or published, once written, never changes (triggers in 0002, 0008).

A rate card says what usage costs; a plan version says what a plan's fee is, what usage it includes, and which card
prices the rest. Several rows of one version number sell it in several currencies.
"""

from django.db import models
from django.db.models import F, Q

from billing.rating.charges import ChargeModel


class Product(models.Model):
    """What plans, add-ons and meters of one offer belong to, such as the editor."""

    code = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)

    class Meta:
        ordering = ("code",)

    def __str__(self) -> str:
        return self.name


class RateCard(models.Model):
    """
    The unit prices that belong together, in one currency.

    A card may stand on another: what it does not price itself is priced by its base. So a contract's card holds what
    was agreed otherwise and nothing else.
    """

    code = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    currency = models.CharField(max_length=3)
    base = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="overridden_by")
    source = models.CharField(max_length=300, blank=True, help_text="Where the prices were read, and when.")

    class Meta:
        ordering = ("code",)
        constraints = (models.CheckConstraint(name="billing_ratecard_not_its_own_base", condition=~Q(base=F("id"))),)

    def __str__(self) -> str:
        return self.name


class Rate(models.Model):
    """
    The price of one meter for some values of its dimensions, from an instant on; or a charge that has no meter.

    Rates are added; while only drafts use their card they may be taken away again. Of those whose `dimensions` all
    agree with a window, the one that names most applies, on the card before its base; of its dated ones the one with
    the latest `effective_from` at or before the usage.
    """

    rate_card = models.ForeignKey(RateCard, on_delete=models.PROTECT, related_name="rates")
    meter_code = models.CharField(max_length=64, blank=True, help_text="Empty for a charge that needs no usage.")
    dimensions = models.JSONField(
        default=dict, blank=True, help_text='The values that usage must have, such as {"model": "auto"}; {} is any.'
    )
    charge_model = models.CharField(max_length=24, choices=ChargeModel, default=ChargeModel.PER_UNIT)
    unit_price = models.DecimalField(
        max_digits=38,
        decimal_places=12,
        null=True,
        blank=True,
        help_text="Exact price, in the card's currency, of `unit_size` units; of per_unit alone.",
    )
    unit_size = models.PositiveIntegerField(null=True, blank=True, help_text="Units that unit_price buys.")
    terms = models.JSONField(
        default=dict,
        blank=True,
        help_text="Of every other charge model: what billing.rating.charges reads, amounts as text.",
    )
    effective_from = models.DateTimeField()

    class Meta:
        ordering = ("rate_card_id", "dimensions", "meter_code", "effective_from")
        constraints = (
            models.UniqueConstraint(
                name="billing_rate_one_per_instant",
                fields=("rate_card", "meter_code", "dimensions", "charge_model", "effective_from"),
            ),
            # However a meter is priced, from one instant on it has one price.
            models.UniqueConstraint(
                name="billing_rate_one_price_per_instant",
                fields=("rate_card", "meter_code", "dimensions", "effective_from"),
                condition=~Q(meter_code=""),
            ),
            models.CheckConstraint(name="billing_rate_charge_model", condition=Q(charge_model__in=ChargeModel.values)),
            models.CheckConstraint(
                name="billing_rate_unit_price",
                condition=Q(charge_model="per_unit", unit_price__gte=0, unit_size__gt=0, terms={})
                | (~Q(charge_model="per_unit") & Q(unit_price=None, unit_size=None)),
            ),
            models.CheckConstraint(
                name="billing_rate_meter",
                condition=Q(meter_code="", charge_model__in=ChargeModel.without_meter(), dimensions={})
                | (~Q(meter_code="") & ~Q(charge_model__in=ChargeModel.without_meter())),
            ),
        )

    def __str__(self) -> str:
        return f"{self.subject} {self.meter_code}".strip()

    @property
    def subject(self) -> str:
        """What is priced, in a word: the values of its dimensions, or the charge."""
        return " ".join(str(value) for _, value in sorted(self.dimensions.items())) or (
            "" if self.meter_code else ChargeModel(self.charge_model).label
        )


class Plan(models.Model):
    """What a customer subscribes to; its terms are in its versions. An add-on is subscribed to beside a plan."""

    code = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    product = models.ForeignKey(Product, on_delete=models.PROTECT, null=True, blank=True, related_name="plans")
    is_add_on = models.BooleanField(default=False)
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


class Interval(models.TextChoices):
    """How long a billing period is, times `interval_count`."""

    DAY = "day", "Day"
    WEEK = "week", "Week"
    MONTH = "month", "Month"
    YEAR = "year", "Year"


class Alignment(models.TextChoices):
    """Where periods begin: where the subscription began, or with the calendar's day, week, month or year."""

    ANCHOR = "anchor", "The day it began"
    CALENDAR = "calendar", "The calendar"


class UsageDelivery(models.TextChoices):
    """How the usage of a period gets onto Stripe's invoice."""

    INVOICE_LINES = "invoice_lines", "Lines of ours on the draft"
    METER_EVENTS = "meter_events", "Stripe's meters, through the period"


class PlanVersion(models.Model):
    """
    The terms of a plan, in one currency. Draft terms may change; approved and published ones never do.

    One with `only_for` is a contract: nobody else may subscribe to it.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        APPROVED = "approved", "Approved"
        PUBLISHED = "published", "Published"
        RETIRED = "retired", "Retired"

    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="versions")
    version = models.PositiveIntegerField()
    status = models.CharField(max_length=20, choices=Status, default=Status.DRAFT)
    currency = models.CharField(max_length=3)
    only_for = models.ForeignKey(
        "billing.Customer", on_delete=models.PROTECT, null=True, blank=True, related_name="contracts"
    )
    interval = models.CharField(max_length=8, choices=Interval, default=Interval.MONTH)
    interval_count = models.PositiveSmallIntegerField(default=1)
    alignment = models.CharField(max_length=10, choices=Alignment, default=Alignment.ANCHOR)
    time_zone = models.CharField(max_length=64, default="UTC", help_text="Of the calendar; an anchor counts in UTC.")
    trial_days = models.PositiveSmallIntegerField(default=0)
    min_seats = models.PositiveIntegerField(default=1)
    max_seats = models.PositiveIntegerField(null=True, blank=True)
    fee_minor = models.BigIntegerField(
        help_text="Recurring fee a period and seat, in minor units, billed in advance; 0 where fee_tiers says it."
    )
    fee_tiers = models.JSONField(
        default=list,
        blank=True,
        help_text='By seats: [{"up_to": 10, "unit_minor": 2000, "flat_minor": 0}, …], graduated, the last up_to null.',
    )
    bundled = models.ManyToManyField(
        "self",
        symmetrical=False,
        blank=True,
        related_name="bundled_in",
        help_text="Versions of add-ons that the fee covers.",
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
    usage_delivery = models.CharField(
        max_length=16,
        choices=UsageDelivery,
        default=UsageDelivery.INVOICE_LINES,
        db_default=UsageDelivery.INVOICE_LINES,
        help_text="How usage gets onto Stripe's invoice; what is charged is the same.",
    )
    stripe_price_id = models.CharField(max_length=255, unique=True, null=True, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("plan__code", "version", "currency")
        permissions = (("edit_catalogue", "Can write drafts of plans and prices"),)
        constraints = (
            models.UniqueConstraint(name="billing_planversion_number", fields=("plan", "version", "currency")),
            models.CheckConstraint(name="billing_planversion_fee_not_negative", condition=Q(fee_minor__gte=0)),
            models.CheckConstraint(
                name="billing_planversion_fee_said_once", condition=Q(fee_minor=0) | Q(fee_tiers=[])
            ),
            models.CheckConstraint(
                name="billing_planversion_interval",
                condition=Q(interval__in=Interval.values, alignment__in=Alignment.values, interval_count__gte=1),
            ),
            models.CheckConstraint(
                name="billing_planversion_seats",
                condition=Q(min_seats__gte=1) & (Q(max_seats=None) | Q(max_seats__gte=F("min_seats"))),
            ),
            models.CheckConstraint(
                name="billing_planversion_published_has_time",
                condition=~Q(status="published") | Q(published_at__isnull=False),
            ),
            models.CheckConstraint(
                name="billing_planversion_approved_has_time",
                condition=~Q(status="approved") | Q(approved_at__isnull=False),
            ),
            # An instant tells what was: no draft was ever sold, nothing unapproved was approved.
            models.CheckConstraint(
                name="billing_planversion_time_published",
                condition=Q(published_at=None) | Q(status__in=("published", "retired")),
            ),
            models.CheckConstraint(
                name="billing_planversion_time_approved", condition=Q(approved_at=None) | ~Q(status="draft")
            ),
            models.CheckConstraint(
                name="billing_planversion_late_policy", condition=Q(late_policy__in=LatePolicy.values)
            ),
            models.CheckConstraint(
                name="billing_planversion_usage_delivery", condition=Q(usage_delivery__in=UsageDelivery.values)
            ),
            models.CheckConstraint(
                name="billing_planversion_late_absorb",
                condition=Q(late_policy="absorb", late_absorb_up_to__gt=0)
                | (~Q(late_policy="absorb") & Q(late_absorb_up_to=0)),
            ),
        )

    def __str__(self) -> str:
        return f"{self.plan_id and self.plan.name} v{self.version}"


class Measure(models.TextChoices):
    """What an allowance is an amount of."""

    MONEY = "money", "Money"
    UNITS = "units", "Units"


class AtPlanChange(models.TextChoices):
    """What becomes of an allowance when the plan changes within a period."""

    PRORATE = "prorate", "Each plan's part of the period"
    RESTART = "restart", "The new plan's whole allowance"
    KEEP = "keep", "The old one until the period ends"


class Allowance(models.Model):
    """
    Usage that a plan version includes, a pool of its own beside the version's others, used in order of `position`.

    `covers` lists what it pays for, each entry {"meter_code": …, "dimensions": {name: [values]}} with either part
    optional; [] is all usage. With `each_dimension` every value of that dimension, such as a member, has a pool of
    its own and none takes from another's.
    """

    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="allowances")
    position = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=64)
    name = models.CharField(max_length=200)
    measure = models.CharField(max_length=8, choices=Measure, default=Measure.MONEY)
    amount = models.DecimalField(
        max_digits=38, decimal_places=12, help_text="A period (and seat): currency units, or units of usage."
    )
    is_per_seat = models.BooleanField(default=True, help_text="Times the seats, which share it.")
    each_dimension = models.CharField(
        max_length=64, blank=True, help_text="Instead of shared: for each value of this dimension, such as member."
    )
    covers = models.JSONField(default=list, blank=True)
    at_plan_change = models.CharField(max_length=8, choices=AtPlanChange, default=AtPlanChange.PRORATE)

    class Meta:
        ordering = ("plan_version_id", "position")
        constraints = (
            models.UniqueConstraint(name="billing_allowance_code", fields=("plan_version", "code")),
            models.UniqueConstraint(name="billing_allowance_position", fields=("plan_version", "position")),
            models.CheckConstraint(name="billing_allowance_not_negative", condition=Q(amount__gte=0)),
            models.CheckConstraint(
                name="billing_allowance_words",
                condition=Q(measure__in=Measure.values, at_plan_change__in=AtPlanChange.values),
            ),
            models.CheckConstraint(
                name="billing_allowance_shared_one_way", condition=Q(each_dimension="") | Q(is_per_seat=False)
            ),
        )

    def __str__(self) -> str:
        return self.name
