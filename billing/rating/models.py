"""
What usage cost and who paid for it, kept as additions.

An accrual is one run of rating over one billing period. Its figures are the *change* against all earlier runs, so the
sum over a period's accruals is what the period has come to, and nothing is ever rewritten (triggers in 0002).
"""

from django.db import models
from django.db.models import F, Q

from billing.catalog.models import LatePolicy

_RATED_IS_FUNDED = Q(rated=F("included") + F("credited") + F("unbilled"))


class UsageAccrual(models.Model):
    """One run over one period: the change of its rated amount and of each funding source, in currency units, exact."""

    period = models.ForeignKey("billing.BillingPeriod", on_delete=models.PROTECT, related_name="accruals")
    revision = models.PositiveIntegerField(help_text="1, 2, 3 … within the period.")
    rated = models.DecimalField(max_digits=38, decimal_places=12, help_text="Change of the price of all usage.")
    included = models.DecimalField(max_digits=38, decimal_places=12, help_text="Change of what the allowance covers.")
    credited = models.DecimalField(max_digits=38, decimal_places=12, help_text="Change of what grants cover.")
    unbilled = models.DecimalField(max_digits=38, decimal_places=12, help_text="Change of what is left to invoice.")
    journal_entry_id = models.BigIntegerField(
        unique=True, null=True, help_text="The ledger's entry of this change; null where only quantities changed."
    )
    aggregated_through = models.DateTimeField(help_text="Every event received before this instant is counted.")
    counted_before_xid = models.BigIntegerField(
        null=True, help_text="Events recorded by a database transaction below this one are counted, and no others."
    )
    recorded_at = models.DateTimeField()

    class Meta:
        ordering = ("period_id", "revision")
        constraints = (
            models.UniqueConstraint(name="billing_accrual_revision", fields=("period", "revision")),
            models.CheckConstraint(name="billing_accrual_rated_is_funded", condition=_RATED_IS_FUNDED),
        )

    def __str__(self) -> str:
        return f"Accrual {self.revision} of period {self.period_id}"


class UsageAccrualLine(models.Model):
    """The part of an accrual that belongs to one rate."""

    accrual = models.ForeignKey(UsageAccrual, on_delete=models.PROTECT, related_name="lines")
    rate = models.ForeignKey("billing.Rate", on_delete=models.PROTECT, related_name="+")
    quantity = models.DecimalField(max_digits=38, decimal_places=12, help_text="Change of the units used.")
    rated = models.DecimalField(max_digits=38, decimal_places=12)
    included = models.DecimalField(max_digits=38, decimal_places=12)
    credited = models.DecimalField(max_digits=38, decimal_places=12)
    unbilled = models.DecimalField(max_digits=38, decimal_places=12)

    class Meta:
        ordering = ("accrual_id", "rate_id")
        constraints = (
            models.UniqueConstraint(name="billing_accrualline_rate", fields=("accrual", "rate")),
            models.CheckConstraint(name="billing_accrualline_rated_is_funded", condition=_RATED_IS_FUNDED),
        )

    def __str__(self) -> str:
        return f"Line {self.pk} of accrual {self.accrual_id}"


class AllowanceDrawdown(models.Model):
    """What one accrual took from (or, below zero, gave back to) one allowance for one rate."""

    accrual = models.ForeignKey(UsageAccrual, on_delete=models.PROTECT, related_name="allowance_drawdowns")
    rate = models.ForeignKey("billing.Rate", on_delete=models.PROTECT, related_name="+")
    allowance = models.ForeignKey("billing.PeriodAllowance", on_delete=models.PROTECT, related_name="drawdowns")
    amount = models.DecimalField(max_digits=38, decimal_places=12, help_text="In currency units, exact.")
    quantity = models.DecimalField(
        max_digits=38, decimal_places=12, default=0, help_text="Of an allowance in units: the units it covered."
    )

    class Meta:
        ordering = ("accrual_id", "rate_id", "allowance_id")
        constraints = (
            models.UniqueConstraint(name="billing_allowancedrawdown_once", fields=("accrual", "rate", "allowance")),
            models.CheckConstraint(name="billing_allowancedrawdown_not_zero", condition=~(Q(amount=0) & Q(quantity=0))),
        )

    def __str__(self) -> str:
        return f"Drawdown {self.pk} on allowance {self.allowance_id}"


class GrantDrawdown(models.Model):
    """What one accrual took from (or, below zero, gave back to) one grant for one rate."""

    accrual = models.ForeignKey(UsageAccrual, on_delete=models.PROTECT, related_name="drawdowns")
    rate = models.ForeignKey("billing.Rate", on_delete=models.PROTECT, related_name="+")
    grant = models.ForeignKey("promotions.CreditGrant", on_delete=models.PROTECT, related_name="+")
    amount = models.DecimalField(max_digits=38, decimal_places=12, help_text="In currency units, exact.")

    class Meta:
        ordering = ("accrual_id", "rate_id", "grant_id")
        constraints = (
            models.UniqueConstraint(name="billing_drawdown_once", fields=("accrual", "rate", "grant")),
            models.CheckConstraint(name="billing_drawdown_not_zero", condition=~Q(amount=0)),
        )

    def __str__(self) -> str:
        return f"Drawdown {self.pk} on grant {self.grant_id}"


class LateUsage(models.Model):
    """
    Why a closed period was accrued again, and what came of it: every accrual of a closed period has one.

    The facts never change. `state` only moves forward, `outcome` says in words what was done.
    """

    class State(models.TextChoices):
        FOUND = "found", "Found"
        WAITING = "waiting", "Waits for the next invoice"
        DECISION = "decision", "Waits for a decision"
        CORRECTING = "correcting", "Document under way"
        SETTLED = "settled", "Settled"

    accrual = models.OneToOneField(UsageAccrual, on_delete=models.PROTECT, related_name="late")
    policy = models.CharField(max_length=30, choices=LatePolicy, help_text="Of the period's terms.")
    rated_before = models.DecimalField(
        max_digits=38, decimal_places=12, help_text="Price of the period's usage until then."
    )
    unbilled_before = models.DecimalField(max_digits=38, decimal_places=12, help_text="What of it was to be invoiced.")
    events = models.PositiveIntegerField(help_text="Events that arrived since the accrual before.")
    voided = models.PositiveIntegerField(help_text="Events taken out since by a correction.")
    restored = models.PositiveIntegerField(help_text="Events put back since by a correction.")
    first_received_at = models.DateTimeField(null=True, help_text="Of these events and corrections.")
    last_received_at = models.DateTimeField(null=True)
    first_window = models.DateTimeField(null=True, help_text="The first and last hour that they change.")
    last_window = models.DateTimeField(null=True)
    windows = models.PositiveIntegerField(help_text="How many hours they change.")
    state = models.CharField(max_length=12, choices=State, default=State.FOUND)
    outcome = models.CharField(max_length=500, blank=True, help_text="What was done, or why a person has to decide.")
    settled_by = models.CharField(max_length=200, blank=True, help_text="user:NAME or service:NAME.")
    settled_at = models.DateTimeField(null=True)
    invoice = models.ForeignKey(
        "billing.Invoice",
        on_delete=models.PROTECT,
        null=True,
        related_name="late_usage",
        help_text="It is on this one.",
    )

    class Meta:
        ordering = ("-id",)
        verbose_name = "late usage"
        verbose_name_plural = "late usage"
        permissions = (("decide_lateusage", "Can decide about late usage"),)
        constraints = (
            models.CheckConstraint(
                name="billing_lateusage_settled_says_how",
                condition=~Q(state="settled") | (Q(settled_at__isnull=False) & ~Q(outcome="") & ~Q(settled_by="")),
            ),
            models.CheckConstraint(
                name="billing_lateusage_decision_says_why", condition=~Q(state="decision") | ~Q(outcome="")
            ),
        )
        # Looked at every minute, and nearly always empty.
        indexes = (models.Index(name="billing_lateusage_unsettled", fields=("id",), condition=~Q(state="settled")),)

    def __str__(self) -> str:
        return f"Late usage of {self.accrual}"


class LateProgress(models.Model):
    """How far arrivals were looked through for closed periods: one row. Kept here and not in the cache, as nothing late
    may be passed over."""

    next_xid = models.BigIntegerField(help_text="Arrivals of every transaction below this one were looked at.")
    retried = models.JSONField(default=list, help_text="Ids of periods that could not be accrued and are tried again.")

    class Meta:
        constraints = (models.CheckConstraint(name="billing_lateprogress_one_row", condition=Q(pk=1)),)

    def __str__(self) -> str:
        return f"transaction {self.next_xid}"
