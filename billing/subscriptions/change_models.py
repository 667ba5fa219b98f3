"""
What is asked of a subscription, what happened to it, and what a change was said to cost before it was made.

All but the state of a scheduled change are facts: rows are added and never changed.
"""

from django.db import models
from django.db.models import F, Q

ACTOR_HELP = "user:NAME, service:NAME, task:NAME or stripe:dashboard."


class ChangePreview(models.Model):
    """
    What a change would cost, worked out twice before it is made: by us and by Stripe's own preview.

    `effective_at` is the second from which it counts; a change that is made with the preview begins exactly there.
    """

    class Kind(models.TextChoices):
        TERMS = "terms", "Plan, seats and add-ons"
        CANCELLATION = "cancellation", "Cancellation"

    subscription = models.ForeignKey("billing.Subscription", on_delete=models.PROTECT, related_name="previews")
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.TERMS)
    plan_version = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, related_name="+")
    seats = models.PositiveIntegerField()
    add_ons = models.JSONField(default=list, help_text="[[version id, seats], …]: all add-ons after the change.")
    from_next_period = models.BooleanField(default=False)
    effective_at = models.DateTimeField()
    currency = models.CharField(max_length=3)
    made_at = models.DateTimeField()
    made_by = models.CharField(max_length=200, help_text=ACTOR_HELP)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(name="billing_changepreview_kind", condition=Q(kind__in=("terms", "cancellation"))),
            models.CheckConstraint(name="billing_changepreview_seats_positive", condition=Q(seats__gt=0)),
        )

    def __str__(self) -> str:
        return f"Preview {self.pk}"


class ChangePreviewLine(models.Model):
    """
    One amount of a change, as one of the three say it: we, Stripe's preview, or the invoice that followed.

    `amount_minor` is in minor units of the preview's currency, a credit below zero, before discount and tax.
    """

    class Source(models.TextChoices):
        OURS = "ours", "Ours"
        STRIPE = "stripe", "Stripe's preview"
        INVOICED = "invoiced", "Invoiced"

    preview = models.ForeignKey(ChangePreview, on_delete=models.PROTECT, related_name="lines")
    source = models.CharField(max_length=8, choices=Source)
    position = models.PositiveSmallIntegerField()
    stripe_price_id = models.CharField(max_length=255)
    description = models.CharField(max_length=500)
    amount_minor = models.BigIntegerField(help_text="Minor units; a credit is below zero.")
    is_proration = models.BooleanField(help_text="Of the rest of the period; else the fee of the next one.")
    stripe_line_id = models.CharField(max_length=255, blank=True, help_text="Of the line that was invoiced.")

    class Meta:
        ordering = ("preview_id", "source", "position")
        constraints = (
            models.UniqueConstraint(name="billing_changepreviewline_once", fields=("preview", "source", "position")),
            models.CheckConstraint(
                name="billing_changepreviewline_source", condition=Q(source__in=("ours", "stripe", "invoiced"))
            ),
            models.CheckConstraint(
                name="billing_changepreviewline_invoiced_names_line",
                condition=Q(source="invoiced") ^ Q(stripe_line_id=""),
            ),
        )


class ChangeOutcome(models.Model):
    """What a change was invoiced as is known now; its lines are those of the preview with source `invoiced`."""

    preview = models.OneToOneField(ChangePreview, on_delete=models.PROTECT, related_name="outcome")
    stripe_invoice_id = models.CharField(max_length=255, help_text="The invoice that carries its prorations.")
    recorded_at = models.DateTimeField()
    differences = models.JSONField(default=list, help_text="Sentences; none where all three say the same.")


class EndPreview(models.Model):
    """
    What an end of the subscription would come to, beside the fee that its preview's lines give back.

    Usage is in currency units, exact, and as rated when the preview was made; `usage_minor` is what the closing invoice
    would ask for it, in minor units, each price rounded once. `rests_on` says what it was read from, so that a later
    reader sees what is no more so.
    """

    class How(models.TextChoices):
        NOW = "now", "Now"
        PERIOD_END = "period_end", "With the end of the period"
        AT = "at", "At a date"

    preview = models.OneToOneField(ChangePreview, on_delete=models.PROTECT, related_name="end")
    how = models.CharField(max_length=10, choices=How)
    prorate = models.BooleanField(help_text="Whether the fee of the time that is left is given back.")
    ends_at = models.DateTimeField()
    rated = models.DecimalField(max_digits=38, decimal_places=12, help_text="Usage of what no invoice closed yet.")
    included = models.DecimalField(max_digits=38, decimal_places=12, help_text="Of it, paid by allowances.")
    credited = models.DecimalField(max_digits=38, decimal_places=12, help_text="Of it, paid by credit grants.")
    invoiced = models.DecimalField(max_digits=38, decimal_places=12, help_text="Of it, on invoices or absorbed.")
    unbilled = models.DecimalField(max_digits=38, decimal_places=12, help_text="The rest, left to the closing invoice.")
    usage_minor = models.BigIntegerField(help_text="Minor units: the rest as the closing invoice would ask for it.")
    consequences = models.JSONField(default=list, help_text="[[what, what becomes of it], …]")
    rests_on = models.JSONField(default=dict, help_text="What it was read from, by name.")

    class Meta:
        constraints = (
            models.CheckConstraint(name="billing_endpreview_how", condition=Q(how__in=("now", "period_end", "at"))),
            models.CheckConstraint(
                name="billing_endpreview_usage_adds_up",
                condition=Q(rated=F("included") + F("credited") + F("invoiced") + F("unbilled")),
            ),
        )


class EndOutcome(models.Model):
    """
    What an end was invoiced as, against what its preview said: the fee given back and the usage, in minor units.

    Stripe takes no instant for an end now: the fee is compared with ours for the second at which it really ended.
    """

    preview = models.OneToOneField(EndPreview, on_delete=models.PROTECT, related_name="outcome")
    ended_at = models.DateTimeField()
    fee_minor = models.BigIntegerField(help_text="Ours, for the second of the end; a credit is below zero.")
    fee_invoiced_minor = models.BigIntegerField(help_text="What Stripe's invoice gave back; below zero.")
    usage_invoiced_minor = models.BigIntegerField(help_text="Usage lines of the closing invoice.")
    stripe_invoice_id = models.CharField(max_length=255, blank=True, help_text="The closing invoice, if one was due.")
    recorded_at = models.DateTimeField()
    differences = models.JSONField(default=list, help_text="Sentences; none where it came as it was said.")


class SubscriptionRequest(models.Model):
    """
    What somebody asked of a subscription, committed before Stripe is told: who, why, and from when it counts.

    `purpose` is that of the write to Stripe: said twice, it is one request.
    """

    class Kind(models.TextChoices):
        START = "start", "Start"
        TERMS = "terms", "Change of terms"
        PAUSE = "pause", "Pause"
        RESUME = "resume", "Resumption"
        CANCEL = "cancel", "Cancellation"
        CANCEL_LATER = "cancel_later", "Planned cancellation"
        UNDO_CANCEL = "undo_cancel", "Cancellation taken back"
        END_TRIAL = "end_trial", "End of the trial"

    subscription = models.ForeignKey("billing.Subscription", on_delete=models.PROTECT, related_name="requests")
    kind = models.CharField(max_length=12, choices=Kind)
    purpose = models.CharField(max_length=200, unique=True)
    asked = models.JSONField(default=dict, help_text="What was asked for; another wish needs another key.")
    effective_at = models.DateTimeField(help_text="From then on it is to count.")
    requested_at = models.DateTimeField()
    actor = models.CharField(max_length=200, help_text=ACTOR_HELP)
    reason = models.CharField(max_length=500, blank=True)
    preview = models.ForeignKey(ChangePreview, on_delete=models.PROTECT, null=True, blank=True, related_name="requests")

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                name="billing_subscriptionrequest_kind",
                condition=Q(
                    kind__in=(
                        "start",
                        "terms",
                        "pause",
                        "resume",
                        "cancel",
                        "cancel_later",
                        "undo_cancel",
                        "end_trial",
                    )
                ),
            ),
        )

    def __str__(self) -> str:
        return self.purpose


class SubscriptionEvent(models.Model):
    """Something that happened to a subscription, whoever did it: what, from what to what, when, who and why."""

    class Kind(models.TextChoices):
        CREATED = "created", "Agreed on"
        STARTED = "started", "Started at Stripe"
        TERMS = "terms", "Terms changed"
        STATUS = "status", "Status changed"
        PAUSED = "paused", "Paused"
        RESUMED = "resumed", "Resumed"
        CANCEL_PLANNED = "cancel_planned", "Cancellation planned"
        CANCEL_UNDONE = "cancel_undone", "Cancellation taken back"
        ENDED = "ended", "Ended"
        TRIAL_ENDED = "trial_ended", "Trial ended early"
        TRIAL_MOVED = "trial_moved", "End of the trial moved"
        CYCLE_MOVED = "cycle_moved", "Billing date moved"
        COLLECTION = "collection", "Way of paying changed"
        SCHEDULE = "schedule", "Schedule at Stripe"
        HELD = "held", "Cannot be followed"
        RELEASED = "released", "Can be followed again"
        UNCHANGED = "unchanged", "Asked for what was so already"
        INVOICED = "invoiced", "Change invoiced"

    subscription = models.ForeignKey("billing.Subscription", on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=16, choices=Kind)
    before = models.CharField(max_length=300, blank=True)
    after = models.CharField(max_length=300, blank=True)
    effective_at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    actor = models.CharField(max_length=200, help_text=ACTOR_HELP)
    reason = models.CharField(max_length=500, blank=True)
    request = models.ForeignKey(
        SubscriptionRequest, on_delete=models.PROTECT, null=True, blank=True, related_name="events"
    )

    class Meta:
        ordering = ("subscription_id", "id")
        indexes = (models.Index(name="billing_subscription_timeline", fields=("subscription", "-effective_at")),)


class ScheduledChange(models.Model):
    """
    Something that is to happen to a subscription at a named instant: other terms, or the end of a pause.

    A task carries it out at its time. Phases are several of them. `state` and what was noted with it are all that
    changes, and once it is settled nothing does.
    """

    class Kind(models.TextChoices):
        TERMS = "terms", "Other terms"
        RESUME = "resume", "End of the pause"

    class State(models.TextChoices):
        WAITING = "waiting", "Waits for its time"
        DONE = "done", "Carried out"
        CANCELLED = "cancelled", "Cancelled"
        REFUSED = "refused", "Could not be carried out"

    subscription = models.ForeignKey("billing.Subscription", on_delete=models.PROTECT, related_name="scheduled_changes")
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.TERMS)
    plan_version = models.ForeignKey("billing.PlanVersion", on_delete=models.PROTECT, null=True, related_name="+")
    seats = models.PositiveIntegerField(null=True)
    add_ons = models.JSONField(default=list, help_text="[[version id, seats], …]: all add-ons after the change.")
    effective_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    reason = models.CharField(max_length=500)
    requested_by = models.CharField(max_length=200, help_text=ACTOR_HELP)
    requested_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=120, help_text="Of the wish; of a chain, with the phase's number.")
    next_attempt_at = models.DateTimeField(help_text="Due from then on.")
    settled_at = models.DateTimeField(null=True)
    settled_by = models.CharField(max_length=200, blank=True, help_text=ACTOR_HELP)
    detail = models.CharField(max_length=500, blank=True, help_text="Why it waits, was refused or cancelled.")

    class Meta:
        ordering = ("effective_at", "id")
        constraints = (
            models.UniqueConstraint(name="billing_scheduledchange_once", fields=("subscription", "idempotency_key")),
            models.UniqueConstraint(
                name="billing_scheduledchange_one_an_instant",
                fields=("subscription", "effective_at"),
                condition=Q(state="waiting"),
            ),
            models.CheckConstraint(
                name="billing_scheduledchange_has_terms",
                condition=Q(kind="terms", plan_version__isnull=False, seats__isnull=False, seats__gt=0)
                | Q(kind="resume", plan_version=None, seats=None),
            ),
            models.CheckConstraint(
                name="billing_scheduledchange_settled",
                condition=Q(state="waiting", settled_at=None, settled_by="")
                | Q(state__in=("done", "cancelled", "refused"), settled_at__isnull=False) & ~Q(settled_by=""),
            ),
            models.CheckConstraint(
                name="billing_scheduledchange_is_ahead", condition=Q(effective_at__gt=F("requested_at"))
            ),
        )
        indexes = (
            models.Index(name="billing_scheduledchange_due", fields=("next_attempt_at",), condition=Q(state="waiting")),
        )

    def __str__(self) -> str:
        return f"Scheduled change {self.pk}"
