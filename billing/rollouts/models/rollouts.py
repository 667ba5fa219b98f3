"""
Who approved which terms on which report, and how approved terms reach customers step by step.

Requests, decisions, stages, limits, checks and events are facts: added, never changed. A rollout's state, and how far
a move got, are what changes; migrations/sql/0010_rollouts.sql says how.
"""

from django.db import models
from django.db.models import F, Q

from billing.customers.models import Customer


class ApprovalRequest(models.Model):
    """A person asks that a draft be approved, on the report of a backtest of exactly these terms."""

    plan_version = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="approval_requests")
    backtest = models.ForeignKey("billing.Backtest", on_delete=models.PROTECT, related_name="approval_requests")
    fingerprint = models.CharField(max_length=64, help_text="Of the terms, as they were tested and are now.")
    reason = models.CharField(max_length=500, help_text="Why these terms, in words, for whoever decides.")
    requested_by = models.CharField(max_length=200, help_text='"user:NAME"')
    requested_at = models.DateTimeField()

    class Meta:
        ordering = ("-requested_at", "-id")
        permissions = (
            ("request_approval", "Can ask that a plan version be approved"),
            ("decide_approval", "Can approve or reject the plan version that somebody else proposes"),
        )
        constraints = (
            models.CheckConstraint(
                name="billing_approvalrequest_says_why", condition=~Q(reason="") & Q(requested_by__startswith="user:")
            ),
        )

    def __str__(self) -> str:
        return f"Approval {self.pk}"


class ApprovalDecision(models.Model):
    """The one decision about a request. `requested_by` repeats the request's, so that the database can compare."""

    class Outcome(models.TextChoices):
        APPROVED = "approved", "Approved"
        REJECTED = "rejected", "Rejected"
        WITHDRAWN = "withdrawn", "Withdrawn"

    request = models.OneToOneField(ApprovalRequest, on_delete=models.PROTECT, related_name="decision")
    outcome = models.CharField(max_length=20, choices=Outcome)
    requested_by = models.CharField(max_length=200)
    decided_by = models.CharField(max_length=200, help_text='"user:NAME"')
    decided_at = models.DateTimeField()
    reason = models.CharField(max_length=500, help_text="Why it was decided so.")

    class Meta:
        constraints = (
            models.CheckConstraint(
                name="billing_approvaldecision_second_person",
                condition=Q(outcome="withdrawn", decided_by=F("requested_by"))
                | (Q(outcome__in=("approved", "rejected")) & ~Q(decided_by=F("requested_by"))),
            ),
            models.CheckConstraint(
                name="billing_approvaldecision_says_why", condition=~Q(reason="") & Q(decided_by__startswith="user:")
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} by {self.decided_by}"


class Rollout(models.Model):
    """Customers of one version, the baseline, move to another of the same plan and currency, in stages."""

    class State(models.TextChoices):
        PLANNED = "planned", "Planned"
        RUNNING = "running", "Running"
        HALTED = "halted", "Halted"
        COMPLETED = "completed", "Completed"
        ROLLED_BACK = "rolled_back", "Rolled back"

    plan = models.ForeignKey("billing.Plan", on_delete=models.PROTECT, related_name="rollouts")
    currency = models.CharField(max_length=3)
    baseline = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="rollouts_away")
    candidate = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="rollouts_to")
    salt = models.CharField(
        max_length=64, help_text="Hashed with the customer's key: each rollout has other customers go first."
    )
    state = models.CharField(max_length=20, choices=State, default=State.PLANNED)
    stage = models.PositiveSmallIntegerField(default=0, help_text="The stage reached; 0 before the first.")
    stage_began_at = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField(help_text="Of the event that brought it to its state and stage.")

    class Meta:
        ordering = ("-id",)
        permissions = (
            ("plan_rollout", "Can plan and start a rollout"),
            ("steer_rollout", "Can halt, resume and roll back a rollout"),
            ("pin_subscription", "Can pin a subscription to its terms"),
        )
        constraints = (
            models.CheckConstraint(name="billing_rollout_two_versions", condition=~Q(baseline=F("candidate"))),
            models.CheckConstraint(
                name="billing_rollout_state",
                condition=Q(state__in=("planned", "running", "halted", "completed", "rolled_back")),
            ),
            models.CheckConstraint(
                name="billing_rollout_stage_has_time",
                condition=Q(stage=0, stage_began_at=None) | Q(stage__gt=0, stage_began_at__isnull=False),
            ),
            # Two at once would move one customer twice.
            models.UniqueConstraint(
                name="billing_rollout_one_live",
                fields=("plan", "currency"),
                condition=Q(state__in=("planned", "running", "halted")),
            ),
        )

    def __str__(self) -> str:
        return f"Rollout {self.pk}"


class RolloutStage(models.Model):
    """So many per cent of the cohort, or of its customers of one kind, and how long they are watched at least."""

    rollout = models.ForeignKey(Rollout, on_delete=models.PROTECT, related_name="stages")
    position = models.PositiveSmallIntegerField(help_text="From 1.")
    percent = models.DecimalField(max_digits=5, decimal_places=2, help_text="Of the customers, by the hash of the key.")
    customer_kind = models.CharField(
        max_length=20, choices=Customer.Kind, blank=True, help_text="Of this kind alone; empty is of every."
    )
    observe_hours = models.PositiveIntegerField(help_text="The next stage begins no sooner than this after it.")

    class Meta:
        ordering = ("rollout_id", "position")
        constraints = (
            models.UniqueConstraint(name="billing_rolloutstage_once", fields=("rollout", "position")),
            models.CheckConstraint(
                name="billing_rolloutstage_percent", condition=Q(percent__gt=0, percent__lte=100, position__gte=1)
            ),
        )

    def __str__(self) -> str:
        return f"Stage {self.position}"


class RolloutLimits(models.Model):
    """What the guards allow. The latest row of a rollout counts; a person sets each."""

    rollout = models.ForeignKey(Rollout, on_delete=models.PROTECT, related_name="limits")
    worse_off_percent = models.DecimalField(
        max_digits=7, decimal_places=2, help_text="Who pays more than so many per cent more counts as worse off."
    )
    worse_off_share_max = models.DecimalField(
        max_digits=5, decimal_places=2, help_text="Per cent of the compared customers who may be worse off."
    )
    total_change_min = models.DecimalField(
        max_digits=7, decimal_places=2, help_text="Per cent by which all together may pay less; below zero."
    )
    total_change_max = models.DecimalField(
        max_digits=7, decimal_places=2, help_text="Per cent by which all together may pay more."
    )
    error_share_max = models.DecimalField(
        max_digits=5, decimal_places=2, help_text="Per cent of the examined customers for whom something may fail."
    )
    customers_min = models.PositiveIntegerField(help_text="So many customers must be compared for figures to count.")
    set_by = models.CharField(max_length=200, help_text='"user:NAME"')
    set_at = models.DateTimeField()

    class Meta:
        ordering = ("rollout_id", "id")
        constraints = (
            models.CheckConstraint(
                name="billing_rolloutlimits_within",
                condition=Q(
                    worse_off_percent__gte=0,
                    worse_off_share_max__gte=0,
                    worse_off_share_max__lte=100,
                    total_change_min__lte=0,
                    total_change_max__gte=0,
                    error_share_max__gte=0,
                    error_share_max__lte=100,
                    customers_min__gte=1,
                ),
            ),
            models.CheckConstraint(name="billing_rolloutlimits_by_whom", condition=Q(set_by__startswith="user:")),
        )

    def __str__(self) -> str:
        return f"Limits of rollout {self.rollout_id}"


class RolloutCheck(models.Model):
    """
    What the guards saw at an instant: every reached customer's most recent telling period, under both versions.

    Totals are what these customers are asked for in money, in units of the rollout's currency.
    """

    rollout = models.ForeignKey(Rollout, on_delete=models.PROTECT, related_name="checks")
    limits = models.ForeignKey(RolloutLimits, on_delete=models.PROTECT, related_name="+")
    stage = models.PositiveSmallIntegerField(help_text="Whose customers were looked at; before it begins, or while.")
    is_before_stage = models.BooleanField(help_text="Whether the stage begins on it.")
    checked_at = models.DateTimeField()
    reached = models.PositiveIntegerField(help_text="Customers whom the stage reaches.")
    examined = models.PositiveIntegerField(help_text="Of them, looked at; all unless there are very many.")
    compared = models.PositiveIntegerField(help_text="Of them, with both sides known.")
    worse_off = models.PositiveIntegerField()
    failed = models.PositiveIntegerField(help_text="Examined customers for whom something failed.")
    moved = models.PositiveIntegerField(help_text="Customers whose period has the candidate's terms already.")
    current_total = models.DecimalField(max_digits=38, decimal_places=12, help_text="Under the baseline.")
    candidate_total = models.DecimalField(max_digits=38, decimal_places=12, help_text="Under the candidate.")
    breaches = models.JSONField(default=list, blank=True, help_text="Each broken limit in words; [] is none.")
    failures = models.JSONField(default=list, blank=True, help_text="Some of what failed, in words.")

    class Meta:
        ordering = ("rollout_id", "id")
        constraints = (
            models.CheckConstraint(
                name="billing_rolloutcheck_counts",
                condition=Q(
                    reached__gte=F("examined"), examined__gte=F("compared"), compared__gte=F("worse_off"), stage__gte=1
                )
                & Q(examined__gte=F("failed")),
            ),
        )
        indexes = (models.Index(name="billing_rolloutcheck_latest", fields=("rollout", "-checked_at")),)

    def __str__(self) -> str:
        return f"Check of rollout {self.rollout_id} at {self.checked_at:%F %T}"


class RolloutEvent(models.Model):
    """What happened to a rollout: each change of its state or stage, by whom and why."""

    class Kind(models.TextChoices):
        PLANNED = "planned", "Planned"
        STARTED = "started", "Started"
        STAGE_BEGUN = "stage_begun", "Stage begun"
        HALTED = "halted", "Halted"
        RESUMED = "resumed", "Resumed"
        COMPLETED = "completed", "Completed"
        ROLLED_BACK = "rolled_back", "Rolled back"

    rollout = models.ForeignKey(Rollout, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=20, choices=Kind)
    state = models.CharField(max_length=20, choices=Rollout.State, help_text="Of the rollout after it.")
    stage = models.PositiveSmallIntegerField()
    at = models.DateTimeField()
    actor = models.CharField(max_length=200, help_text='"user:NAME", or "service:rollout" for the guards')
    reason = models.CharField(max_length=1000)
    check_seen = models.ForeignKey(RolloutCheck, on_delete=models.PROTECT, null=True, related_name="events")

    class Meta:
        ordering = ("rollout_id", "id")
        constraints = (
            models.CheckConstraint(
                name="billing_rolloutevent_kind_and_state",
                condition=Q(kind="planned", state="planned", stage=0)
                | Q(kind__in=("started", "resumed", "stage_begun"), state="running")
                | Q(kind="halted", state="halted")
                | Q(kind="completed", state="completed")
                | Q(kind="rolled_back", state="rolled_back"),
            ),
            models.CheckConstraint(name="billing_rolloutevent_says_why", condition=~Q(reason="") & ~Q(actor="")),
            # The guards halt by themselves, and go on from stage to stage; the rest people do.
            models.CheckConstraint(
                name="billing_rolloutevent_by_a_person",
                condition=Q(kind__in=("halted", "stage_begun", "completed")) | Q(actor__startswith="user:"),
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.at:%F %T}"


class RolloutMove(models.Model):
    """
    One subscription on its way to other terms: intended here, told to Stripe, done when its next period opens.

    Stripe's price is changed without proration; the period that is open keeps its terms. Which price the renewal
    then has decides which terms the next period has.
    """

    class Direction(models.TextChoices):
        FORWARD = "forward", "To the candidate"
        BACK = "back", "Back to the baseline"

    class State(models.TextChoices):
        INTENDED = "intended", "Intended"
        TELLING = "telling", "Being told to Stripe"
        TOLD = "told", "Told to Stripe"
        DONE = "done", "Done"
        UNDONE = "undone", "Taken back before it took effect"
        DROPPED = "dropped", "Not moved"
        REFUSED = "refused", "Refused by Stripe"

    LIVE = (State.INTENDED, State.TELLING, State.TOLD)

    rollout = models.ForeignKey(Rollout, on_delete=models.PROTECT, related_name="moves")
    subscription = models.ForeignKey("billing.Subscription", on_delete=models.PROTECT, related_name="rollout_moves")
    direction = models.CharField(max_length=8, choices=Direction)
    from_version = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="+")
    to_version = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="+")
    stage = models.PositiveSmallIntegerField(help_text="Of the rollout when it was intended.")
    because = models.CharField(max_length=200, blank=True, help_text="Of a move back: why.")
    state = models.CharField(max_length=12, choices=State, default=State.INTENDED)
    intended_at = models.DateTimeField()
    told_at = models.DateTimeField(null=True, blank=True)
    effective_at = models.DateTimeField(
        null=True, blank=True, help_text="Start of the first period under the new terms."
    )
    detail = models.CharField(
        max_length=500, blank=True, help_text="Why it was dropped or refused, or what it waits for."
    )

    class Meta:
        ordering = ("rollout_id", "id")
        constraints = (
            models.CheckConstraint(
                name="billing_rolloutmove_words",
                condition=Q(direction__in=("forward", "back"))
                & Q(state__in=("intended", "telling", "told", "done", "undone", "dropped", "refused")),
            ),
            models.CheckConstraint(
                name="billing_rolloutmove_done_has_time", condition=~Q(state="done") ^ Q(effective_at__isnull=False)
            ),
            models.CheckConstraint(
                name="billing_rolloutmove_ended_says_why",
                condition=~Q(state__in=("dropped", "refused")) | ~Q(detail=""),
            ),
            # One way there and one way back at a time, whichever rollout they belong to.
            models.UniqueConstraint(
                name="billing_rolloutmove_one_live",
                fields=("subscription", "direction"),
                condition=Q(state__in=("intended", "telling", "told")),
            ),
        )
        indexes = (
            models.Index(
                name="billing_rolloutmove_to_tell",
                fields=("rollout", "id"),
                condition=Q(state__in=("intended", "telling")),
            ),
        )

    def __str__(self) -> str:
        return f"Move {self.pk} of subscription {self.subscription_id}"
