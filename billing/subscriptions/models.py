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

    customer = models.ForeignKey("billing.Customer", on_delete=models.PROTECT, related_name="subscriptions")
    plan_version = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="subscriptions")
    seats = models.PositiveIntegerField(default=1)
    status = models.CharField(max_length=20, choices=Status, default=Status.PENDING)
    started_at = models.DateTimeField(help_text="Start of the first period.")
    anchor_at = models.DateTimeField(help_text="Periods begin on this day of the month and at this time (UTC).")
    stripe_subscription_id = models.CharField(max_length=255, unique=True, null=True, blank=True)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(name="billing_subscription_seats_positive", condition=Q(seats__gt=0)),
            # Usage is attributed by customer key: two live subscriptions would bill the same usage twice.
            models.UniqueConstraint(
                name="billing_subscription_one_live_per_customer",
                fields=("customer",),
                condition=~Q(status__in=("canceled", "incomplete_expired")),
            ),
        )

    def __str__(self) -> str:
        return f"Subscription {self.pk}"


class BillingPeriod(models.Model):
    """
    A half-open interval [starts_at, ends_at) of one subscription whose usage is gathered onto one invoice.

    The terms are frozen at its start. Periods of one subscription never overlap.
    """

    class State(models.TextChoices):
        OPEN = "open", "Open"
        CLOSED = "closed", "Closed"

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="periods")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    plan_version = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="+")
    seats = models.PositiveIntegerField()
    allowance = models.DecimalField(
        max_digits=38, decimal_places=12, help_text="Included usage of this period, all seats, in currency units."
    )
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("subscription_id", "starts_at")
        constraints = (
            models.CheckConstraint(name="billing_period_not_empty", condition=Q(starts_at__lt=F("ends_at"))),
            models.CheckConstraint(name="billing_period_allowance_not_negative", condition=Q(allowance__gte=0)),
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

    def __str__(self) -> str:
        return f"{self.starts_at:%d %b %Y} – {self.ends_at:%d %b %Y}"
