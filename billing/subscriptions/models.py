"""What a customer has agreed to pay for, and the periods in which usage is gathered."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.db import models
from django.db.models import F, Func, Q


class Subscription(models.Model):
    """One Stripe subscription of a customer. `status` is Stripe's word, brought by the projection."""

    class Status(models.TextChoices):
        PENDING = "pending", "Not yet at Stripe"
        INCOMPLETE = "incomplete", "Incomplete"
        INCOMPLETE_EXPIRED = "incomplete_expired", "Incomplete, expired"
        TRIALING = "trialing", "Trialing"
        ACTIVE = "active", "Active"
        PAST_DUE = "past_due", "Past due"
        UNPAID = "unpaid", "Unpaid"
        PAUSED = "paused", "Paused"
        CANCELED = "canceled", "Canceled"

    class CollectionMethod(models.TextChoices):
        CHARGE_AUTOMATICALLY = "charge_automatically", "Charged automatically"
        SEND_INVOICE = "send_invoice", "Sent to be paid"

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="subscriptions")
    plan_version = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="subscriptions")
    seats = models.PositiveIntegerField(default=1)
    status = models.CharField(max_length=20, choices=Status, default=Status.PENDING)
    started_at = models.DateTimeField(help_text="Start of the first period.")
    anchor_at = models.DateTimeField(help_text="Periods begin on this day of the month and at this time (UTC).")
    trial_ends_at = models.DateTimeField(null=True, blank=True, help_text="Until then the whole usage is included.")
    pinned_at = models.DateTimeField(null=True, blank=True, help_text="Since then no rollout moves it to other terms.")
    pinned_because = models.CharField(max_length=500, blank=True)
    collection_method = models.CharField(
        max_length=24,
        choices=CollectionMethod,
        default=CollectionMethod.CHARGE_AUTOMATICALLY,
        help_text="How its invoices are paid; Stripe is told at the start and followed afterwards.",
    )
    days_until_due = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Days a sent invoice may be paid in; none where a card is charged."
    )
    cancel_at = models.DateTimeField(null=True, blank=True, help_text="When it will end, if nobody takes that back.")
    canceled_at = models.DateTimeField(null=True, blank=True, help_text="When its end was asked for.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When it ended; its last period ends there.")
    paused_from = models.DateTimeField(
        null=True, blank=True, help_text="Since then nothing is collected, and nothing is billed."
    )
    held_reason = models.CharField(
        max_length=500, blank=True, help_text="What somebody did at Stripe that cannot be followed."
    )
    stripe_schedule_id = models.CharField(
        max_length=255, blank=True, help_text="Stripe's own schedule that changes it, if somebody made one there."
    )
    last_reading = models.BigIntegerField(
        default=0, help_text="The newest look at Stripe that this row is from: an older one changes nothing."
    )
    stripe_subscription_id = models.CharField(max_length=255, unique=True, null=True, blank=True)

    class Meta:
        ordering = ("id",)
        permissions = (
            ("create_subscription", "Can start and reactivate subscriptions"),
            ("edit_subscription_terms", "Can change plan, seats and add-ons of subscriptions, now or later"),
            ("pause_subscription", "Can pause and resume subscriptions"),
            ("cancel_subscription", "Can cancel subscriptions, and take a planned end back"),
        )
        constraints = (
            models.CheckConstraint(name="billing_subscription_seats_positive", condition=Q(seats__gt=0)),
            models.CheckConstraint(
                name="billing_subscription_trial_not_empty",
                condition=Q(trial_ends_at=None) | Q(trial_ends_at__gt=F("started_at")),
            ),
            models.CheckConstraint(
                name="billing_subscription_pinned_says_why", condition=Q(pinned_at=None) ^ ~Q(pinned_because="")
            ),
            models.CheckConstraint(
                name="billing_subscription_due_when_sent",
                condition=Q(collection_method="charge_automatically", days_until_due=None)
                | Q(collection_method="send_invoice", days_until_due__isnull=False, days_until_due__lte=365),
            ),
            models.CheckConstraint(
                name="billing_subscription_ended_says_so",
                condition=Q(ended_at=None) | Q(status__in=("canceled", "incomplete_expired")),
            ),
            # Usage is attributed by customer key: two live subscriptions would bill the same usage twice.
            models.UniqueConstraint(
                name="billing_subscription_one_live_per_customer",
                fields=("customer",),
                condition=~Q(status__in=("canceled", "incomplete_expired")),
            ),
        )
        # Twice a minute it is asked which trials go on behind their period.
        indexes = (models.Index(name="billing_subscription_trial", fields=("id",), condition=Q(status="trialing")),)

    def __str__(self) -> str:
        return f"Subscription {self.pk}"


class SubscriptionAddOn(models.Model):
    """An add-on that a subscription has beside its plan, from `added_at` until `removed_at`."""

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="add_ons")
    plan_version = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="+")
    seats = models.PositiveIntegerField(default=1)
    added_at = models.DateTimeField()
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("subscription_id", "id")
        constraints = (
            models.CheckConstraint(name="billing_subscriptionaddon_seats_positive", condition=Q(seats__gt=0)),
            models.CheckConstraint(
                name="billing_subscriptionaddon_not_empty",
                condition=Q(removed_at=None) | Q(removed_at__gte=F("added_at")),
            ),
            models.UniqueConstraint(
                name="billing_subscriptionaddon_once",
                fields=("subscription", "plan_version"),
                condition=Q(removed_at=None),
            ),
        )

    def __str__(self) -> str:
        return f"Add-on {self.pk} of subscription {self.subscription_id}"


class BillingPeriod(models.Model):
    """
    A half-open interval [starts_at, ends_at) of one subscription whose usage is gathered onto one invoice.

    The terms are frozen at its start. Periods of one subscription never overlap and leave no gap. One whose terms
    change before it is over ends at that instant, and another one goes on from there to the same end. Of a trial and of
    a pause nothing is billed: all usage is included.
    """

    class State(models.TextChoices):
        OPEN = "open", "Open"
        CLOSED = "closed", "Closed"

    class Kind(models.TextChoices):
        REGULAR = "regular", "Regular"
        TRIAL = "trial", "Trial"
        PAUSED = "paused", "Paused"

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="periods")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    plan_version = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="+")
    seats = models.PositiveIntegerField()
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.REGULAR)
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("subscription_id", "starts_at")
        constraints = (
            models.CheckConstraint(name="billing_period_not_empty", condition=Q(starts_at__lt=F("ends_at"))),
            models.CheckConstraint(name="billing_period_kind", condition=Q(kind__in=("regular", "trial", "paused"))),
            models.CheckConstraint(
                name="billing_period_closed_has_time", condition=Q(state="open") ^ Q(closed_at__isnull=False)
            ),
            ExclusionConstraint(
                name="billing_period_no_overlap",
                expressions=[
                    ("subscription", RangeOperators.EQUAL),
                    (Func("starts_at", "ends_at", function="TSTZRANGE"), RangeOperators.OVERLAPS),
                ],
            ),
        )
        # The order of the list.
        indexes = (models.Index(name="billing_period_made", fields=("-starts_at", "-id")),)

    def __str__(self) -> str:
        return f"{self.starts_at:%d %b %Y} – {self.ends_at:%d %b %Y}"


class PeriodAddOn(models.Model):
    """An add-on whose prices and allowances a period has, frozen with it; bundled ones cost nothing of their own."""

    period = models.ForeignKey(BillingPeriod, on_delete=models.PROTECT, related_name="add_ons")
    plan_version = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="+")
    seats = models.PositiveIntegerField()
    is_bundled = models.BooleanField(default=False)

    class Meta:
        ordering = ("period_id", "id")
        constraints = (models.UniqueConstraint(name="billing_periodaddon_once", fields=("period", "plan_version")),)

    def __str__(self) -> str:
        return f"Add-on {self.pk} of period {self.period_id}"


class PeriodAllowance(models.Model):
    """
    Usage that is included in a period, frozen at its start: an allowance of its terms with the seats counted in.

    `amount` is in currency units or units of usage, for each value of `each_dimension` where there is one; none is
    without a limit (a trial). The fields are those of billing.Allowance.
    """

    class Measure(models.TextChoices):
        MONEY = "money", "Money"
        UNITS = "units", "Units"
        CAP = "cap", "Above the maximum commitment"

    period = models.ForeignKey(BillingPeriod, on_delete=models.PROTECT, related_name="allowances")
    position = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=64)
    name = models.CharField(max_length=200)
    measure = models.CharField(max_length=8, choices=Measure, default=Measure.MONEY)
    amount = models.DecimalField(max_digits=38, decimal_places=12, null=True)
    each_dimension = models.CharField(max_length=64, blank=True)
    covers = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ("period_id", "position")
        constraints = (
            models.UniqueConstraint(name="billing_periodallowance_code", fields=("period", "code")),
            models.UniqueConstraint(name="billing_periodallowance_position", fields=("period", "position")),
            models.CheckConstraint(
                name="billing_periodallowance_not_negative", condition=Q(amount=None) | Q(amount__gte=0)
            ),
            models.CheckConstraint(
                name="billing_periodallowance_measure", condition=Q(measure__in=("money", "units", "cap"))
            ),
            models.CheckConstraint(
                name="billing_periodallowance_cap_has_amount", condition=~Q(measure="cap") | Q(amount__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return self.name
