"""Backtests: what past usage would have come to under a plan version, and what every customer would have paid."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from billing.rollouts.comparing.failures import Failure

FINGERPRINT_LENGTH = 64


def _amount() -> "models.DecimalField[Any, Any]":
    return models.DecimalField(max_digits=38, decimal_places=12, null=True, blank=True)


def _funded(side: str) -> models.CheckConstraint:
    """A side has all of its figures, which add up, or none. NULL is named: a comparison with it refuses nothing."""
    names = [f"{side}_{name}" for name in ("fee", "rated", "included", "credited", "unbilled")]
    return models.CheckConstraint(
        name=f"billing_backtestline_{side}_is_funded",
        condition=Q(**{f"{name}__isnull": False for name in names})
        & Q(
            **{
                f"{side}_fee__gte": 0,
                f"{side}_rated": F(f"{side}_included") + F(f"{side}_credited") + F(f"{side}_unbilled"),
            }
        )
        | Q(**dict.fromkeys(names)),
    )


class Backtest(models.Model):
    """
    A plan version tried on past usage. What was asked for never changes; once it is done or stopped, nothing does.

    `fingerprint` is that of the terms when it was asked for (billing.catalog.fingerprint): a draft that changes
    meanwhile stops the backtest, so that no report is of two terms at once.
    """

    class Unit(models.TextChoices):
        PERIODS = "periods", "Billing periods"
        MONTHS = "months", "Calendar months"

    class State(models.TextChoices):
        WAITING = "waiting", "Waits to begin"
        RUNNING = "running", "Under way"
        DONE = "done", "Done"
        STOPPED = "stopped", "Stopped"

    candidate = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="backtests")
    fingerprint = models.CharField(max_length=FINGERPRINT_LENGTH, help_text="Of the candidate's terms.")
    baseline = models.ForeignKey(
        "billing.PlanVersion",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Compared with this version; without one, with what each customer had.",
    )
    baseline_fingerprint = models.CharField(max_length=FINGERPRINT_LENGTH, blank=True)
    unit = models.CharField(max_length=8, choices=Unit)
    starts_at = models.DateTimeField(help_text="Billing periods that ended after it.")
    ends_at = models.DateTimeField(help_text="Billing periods that ended by then.")
    cohort = models.JSONField(help_text="Who was asked for, as billing.rollouts.comparing.cohorts reads it.")
    threshold_percent = models.DecimalField(
        max_digits=7, decimal_places=2, default=10, help_text="Who pays more by more than this is named."
    )
    customers = models.PositiveIntegerField(help_text="Subscriptions in the cohort.")
    left_out = models.JSONField(default=dict, blank=True, help_text="Subscriptions left out, by the reason.")
    requested_by = models.CharField(max_length=200)
    requested_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=200, unique=True)
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    stopped_because = models.CharField(max_length=500, blank=True)
    report = models.JSONField(default=dict, blank=True, help_text="What was found; amounts as text, in currency units.")

    class Meta:
        ordering = ("-id",)
        permissions = (("request_backtest", "Can try plan versions on past usage"),)
        constraints = (
            models.CheckConstraint(
                name="billing_backtest_words",
                condition=Q(unit__in=("periods", "months"), state__in=("waiting", "running", "done", "stopped")),
            ),
            models.CheckConstraint(name="billing_backtest_not_empty", condition=Q(starts_at__lt=F("ends_at"))),
            models.CheckConstraint(name="billing_backtest_threshold", condition=Q(threshold_percent__gte=0)),
            models.CheckConstraint(
                name="billing_backtest_fingerprint",
                condition=Q(fingerprint__regex=r"^[0-9a-f]{64}$")
                & (
                    Q(baseline=None, baseline_fingerprint="")
                    | Q(baseline__isnull=False, baseline_fingerprint__regex=r"^[0-9a-f]{64}$")
                ),
            ),
            models.CheckConstraint(
                name="billing_backtest_ended_has_time",
                condition=Q(state__in=("waiting", "running"), ended_at=None)
                | Q(state__in=("done", "stopped"), ended_at__isnull=False),
            ),
            models.CheckConstraint(
                name="billing_backtest_done_has_report",
                condition=(Q(state="done") & ~Q(report={})) | (~Q(state="done") & Q(report={})),
            ),
            models.CheckConstraint(
                name="billing_backtest_stopped_says_why", condition=Q(state="stopped") ^ Q(stopped_because="")
            ),
        )

    def __str__(self) -> str:
        return f"Backtest {self.pk}"


class BacktestPart(models.Model):
    """Some subscriptions of a backtest, worked through in one go. A worker that dies loses its claim with the time."""

    backtest = models.ForeignKey(Backtest, on_delete=models.PROTECT, related_name="parts")
    number = models.PositiveIntegerField()
    subscription_ids = ArrayField(models.BigIntegerField())
    claimed_until = models.DateTimeField(null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("backtest_id", "number")
        constraints = (
            models.UniqueConstraint(name="billing_backtestpart_number", fields=("backtest", "number")),
            models.CheckConstraint(name="billing_backtestpart_not_empty", condition=Q(subscription_ids__len__gt=0)),
        )
        indexes = (
            models.Index(name="billing_backtestpart_left", fields=["backtest", "number"], condition=Q(done_at=None)),
        )

    def __str__(self) -> str:
        return f"Part {self.number} of backtest {self.backtest_id}"


class BacktestLine(models.Model):
    """
    What one customer's period or month came to, and would have come to; amounts in currency units, exact.

    A side that cannot be told has no figures, and `failure` says why. On both sides
    rated = included + credited + unbilled.
    """

    backtest = models.ForeignKey(Backtest, on_delete=models.PROTECT, related_name="lines")
    subscription = models.ForeignKey("billing.Subscription", on_delete=models.PROTECT, related_name="+")
    customer_key = models.CharField(max_length=128)
    period = models.ForeignKey(
        "billing.BillingPeriod", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    plan_version = models.ForeignKey(
        "billing.PlanVersion", on_delete=models.PROTECT, related_name="+", help_text="Of the current side."
    )
    seats = models.PositiveIntegerField()
    current_fee = _amount()
    current_rated = _amount()
    current_included = _amount()
    current_credited = _amount()
    current_unbilled = _amount()
    candidate_fee = _amount()
    candidate_rated = _amount()
    candidate_included = _amount()
    candidate_credited = _amount()
    candidate_unbilled = _amount()
    failure_kind = models.CharField(max_length=20, blank=True, choices=Failure)
    failure = models.CharField(max_length=500, blank=True)
    is_as_posted = models.BooleanField(
        null=True, help_text="Whether the current side is what was accrued; empty where nothing was, or not finally."
    )

    class Meta:
        ordering = ("backtest_id", "subscription_id", "starts_at")
        constraints = (
            models.UniqueConstraint(name="billing_backtestline_once", fields=("backtest", "subscription", "starts_at")),
            models.CheckConstraint(name="billing_backtestline_not_empty", condition=Q(starts_at__lt=F("ends_at"))),
            models.CheckConstraint(
                name="billing_backtestline_figures_or_failure",
                condition=Q(candidate_fee__isnull=False, current_fee__isnull=False, failure_kind="", failure="")
                | (Q(candidate_fee=None) & ~Q(failure_kind="") & ~Q(failure="")),
            ),
            *(_funded(side) for side in ("current", "candidate")),
        )

    def __str__(self) -> str:
        return f"{self.customer_key} {self.starts_at:%d %b %Y} – {self.ends_at:%d %b %Y}"
