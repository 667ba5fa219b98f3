"""
What a candidate version would have customers pay on the usage they have right now, beside what they do pay.

Nothing here is money that moved: every figure is worked out from usage, and can be worked out again. What was said of
a shadow stays as it was once it has ended (triggers in 0014).
"""

from typing import Any

from django.db import models
from django.db.models import DecimalField, F, GeneratedField, Q

FIGURES = ("fee", "rated", "included", "credited", "unbilled")
SIDES = ("current", "candidate")
COLUMNS = tuple(f"{side}_{figure}" for side in SIDES for figure in FIGURES)
_ALL_KNOWN = Q(**{f"{column}__isnull": False for column in COLUMNS})
_NO_CANDIDATE = Q(**{f"candidate_{figure}": None for figure in FIGURES})


def _funded(side: str) -> Q:
    paid = F(f"{side}_included") + F(f"{side}_credited") + F(f"{side}_unbilled")
    return Q(**{f"{side}_rated": None}) | Q(**{f"{side}_rated": paid})


def _amount(text: str) -> "DecimalField[Any, Any]":
    return DecimalField(max_digits=38, decimal_places=12, null=True, help_text=text)


class ShadowRating(models.Model):
    """A candidate rated beside what customers pay, on the open periods of a cohort, until a person ends it."""

    candidate = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="shadow_ratings")
    terms_fingerprint = models.CharField(max_length=64, help_text="Of the terms that the figures are of.")
    cohort = models.JSONField(help_text="Whose periods, as billing.rollouts.comparing.cohorts reads it.")
    tolerance_percent = models.PositiveSmallIntegerField(
        default=5, help_text="Who would pay more than so many percent more is counted apart."
    )
    reason = models.CharField(max_length=500, help_text="What is to be learned.")
    started_at = models.DateTimeField()
    started_by = models.CharField(max_length=200, help_text="user:NAME.")
    change_cursor = models.BigIntegerField(
        default=0, help_text="Changes of windows up to this position of metering's were looked at."
    )
    looked_at = models.DateTimeField(null=True, help_text="When changes were last looked for.")
    complete_at = models.DateTimeField(null=True, help_text="When every period in it was last taken up again.")
    outdated_at = models.DateTimeField(
        null=True, help_text="When the candidate was found to have other terms: since then nothing is worked out."
    )
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=200, blank=True, help_text="user:NAME or service:NAME.")
    ended_because = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("-id",)
        permissions = (
            ("simulate_planversion", "Can rate a customer's usage under another plan version"),
            ("start_shadowrating", "Can start a shadow rating"),
            ("end_shadowrating", "Can end a shadow rating"),
        )
        constraints = (
            models.CheckConstraint(
                name="billing_shadowrating_ended_says_why",
                condition=Q(ended_at=None, ended_by="", ended_because="")
                | (Q(ended_at__isnull=False) & ~Q(ended_by="") & ~Q(ended_because="")),
            ),
            models.CheckConstraint(name="billing_shadowrating_says_why", condition=~Q(reason="") & ~Q(started_by="")),
            models.UniqueConstraint(
                name="billing_shadowrating_one_live", fields=("candidate",), condition=Q(ended_at=None)
            ),
        )

    def __str__(self) -> str:
        return f"Shadow {self.pk}"


class ShadowPeriod(models.Model):
    """
    One billing period in a shadow: what it comes to so far now, and under the candidate; in currency units, exact.

    Worked out anew while the period is open, and a last time once it is closed. A failure leaves the candidate's side
    empty, and says why.
    """

    shadow = models.ForeignKey(ShadowRating, on_delete=models.PROTECT, related_name="periods")
    period = models.ForeignKey("billing.BillingPeriod", on_delete=models.PROTECT, related_name="+")
    is_due = models.BooleanField(default=True, help_text="Something changed since it was worked out.")
    is_final = models.BooleanField(default=False, help_text="Worked out after the period was closed.")
    current_fee = _amount("Recurring fee of the period.")
    current_rated = _amount("Price of its usage so far.")
    current_included = _amount("What allowances cover of it.")
    current_credited = _amount("What grants cover of it.")
    current_unbilled = _amount("What is left to invoice.")
    candidate_fee = _amount("The same, under the candidate.")
    candidate_rated = _amount("")
    candidate_included = _amount("")
    candidate_credited = _amount("")
    candidate_unbilled = _amount("")
    change = GeneratedField(
        expression=F("candidate_fee") + F("candidate_unbilled") - F("current_fee") - F("current_unbilled"),
        output_field=DecimalField(max_digits=38, decimal_places=12),
        db_persist=True,
    )
    failure_kind = models.CharField(max_length=20, blank=True)
    failure = models.CharField(max_length=500, blank=True, help_text="Why the period cannot be compared.")
    computed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("shadow_id", "period_id")
        constraints = (
            models.UniqueConstraint(name="billing_shadowperiod_once", fields=("shadow", "period")),
            models.CheckConstraint(
                name="billing_shadowperiod_known_or_failed",
                condition=Q(computed_at=None, failure="", failure_kind="", is_final=False, current_fee=None)
                & _NO_CANDIDATE
                | Q(computed_at__isnull=False, failure="", failure_kind="") & _ALL_KNOWN
                | Q(computed_at__isnull=False) & ~Q(failure="") & ~Q(failure_kind="") & _NO_CANDIDATE,
            ),
            models.CheckConstraint(name="billing_shadowperiod_current_is_funded", condition=_funded("current")),
            models.CheckConstraint(name="billing_shadowperiod_candidate_is_funded", condition=_funded("candidate")),
            models.CheckConstraint(
                name="billing_shadowperiod_final_is_done", condition=Q(is_final=False) | Q(is_due=False)
            ),
        )
        indexes = (
            # Asked for every minute, and nearly always empty.
            models.Index(name="billing_shadowperiod_due", fields=("shadow", "id"), condition=Q(is_due=True)),
            models.Index(name="billing_shadowperiod_change", fields=("shadow", "change")),
        )

    def __str__(self) -> str:
        return f"Period {self.period_id} in shadow {self.shadow_id}"


class ShadowPoint(models.Model):
    """What all periods of a shadow came to at an instant; totals in currency units, exact."""

    shadow = models.ForeignKey(ShadowRating, on_delete=models.PROTECT, related_name="points")
    recorded_at = models.DateTimeField()
    compared = models.PositiveIntegerField(help_text="Periods with both sides known.")
    failed = models.PositiveIntegerField(help_text="Periods that cannot be compared.")
    due = models.PositiveIntegerField(help_text="Periods that had changed and were not worked out yet.")
    worse = models.PositiveIntegerField(help_text="Periods that would cost more.")
    better = models.PositiveIntegerField(help_text="Periods that would cost less.")
    beyond = models.PositiveIntegerField(help_text="Periods that would cost more by more than the tolerance.")
    current_total = models.DecimalField(
        max_digits=38, decimal_places=12, help_text="Fees and usage to invoice of the compared periods."
    )
    candidate_total = models.DecimalField(max_digits=38, decimal_places=12, help_text="The same, under the candidate.")

    class Meta:
        ordering = ("shadow_id", "id")
        constraints = (
            models.CheckConstraint(
                name="billing_shadowpoint_counts",
                condition=Q(compared__gte=F("worse") + F("better"), worse__gte=F("beyond")),
            ),
        )

    def __str__(self) -> str:
        return f"Shadow {self.shadow_id} at {self.recorded_at:%F %T}"
