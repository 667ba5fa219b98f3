"""What became of events: failed attempts, replays, how far Stripe's lists were read, how far the mirror was rebuilt."""

from django.db import models
from django.db.models import F, Q

from billing.stripe.models import InboxEvent


class InboxFailure(models.Model):
    """One failed attempt at one event. What an attempt that worked did is told by the event itself."""

    event = models.ForeignKey(InboxEvent, on_delete=models.PROTECT, related_name="failures")
    attempt = models.PositiveIntegerField(help_text="Counted from one, replays included.")
    failed_at = models.DateTimeField()
    is_final = models.BooleanField(help_text="The event was set aside.")
    error = models.TextField()

    class Meta:
        ordering = ("event_id", "attempt")
        constraints = (models.UniqueConstraint(name="billing_inboxfailure_once", fields=("event", "attempt")),)

    def __str__(self) -> str:
        return f"attempt {self.attempt} at {self.event_id}"


class InboxReplay(models.Model):
    """A person had events tried again: which, why, and in what state they were."""

    requested_at = models.DateTimeField()
    requested_by = models.CharField(max_length=200, help_text="user:NAME.")
    reason = models.CharField(max_length=500)
    scope = models.CharField(max_length=1000, help_text="What was asked for, in words.")
    chosen = models.PositiveIntegerField(help_text="Events that were put back into the queue.")
    left_alone = models.PositiveIntegerField(
        help_text="Events that are waiting or in work, or have no payload any more."
    )

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                name="billing_inboxreplay_says_why", condition=~Q(reason="") & ~Q(requested_by="") & ~Q(scope="")
            ),
        )

    def __str__(self) -> str:
        return f"replay of {self.scope}"


class InboxReplayedEvent(models.Model):
    """One event of a replay, as it was before. Its own row says what came of it."""

    replay = models.ForeignKey(InboxReplay, on_delete=models.PROTECT, related_name="events")
    event = models.ForeignKey(InboxEvent, on_delete=models.PROTECT, related_name="replays")
    state_before = models.CharField(max_length=12, choices=InboxEvent.State)
    attempts_before = models.PositiveIntegerField()
    error_before = models.TextField(blank=True)

    class Meta:
        ordering = ("replay_id", "event_id")
        constraints = (models.UniqueConstraint(name="billing_inboxreplayedevent_once", fields=("replay", "event")),)

    def __str__(self) -> str:
        return f"{self.event_id} in replay {self.replay_id}"


class PollPosition(models.Model):
    """
    How far one of Stripe's lists was read. Times are Stripe's own, which need not be ours, but for those that say when.

    Lists begin with the newest. A reading that did not come to its end goes on below `unread_until`; once it is at its
    end, `read_until` becomes what was the newest when it began.
    """

    name = models.CharField(max_length=40, primary_key=True)
    read_until = models.DateTimeField(null=True, help_text="Everything up to here was read.")
    newest = models.DateTimeField(null=True, help_text="The newest when the reading under way began.")
    unread_until = models.DateTimeField(null=True, help_text="The reading under way goes on here, downwards.")
    begun_at = models.DateTimeField(null=True, help_text="Our time when the reading under way began.")
    complete_at = models.DateTimeField(null=True, help_text="Our time at which the last complete reading began.")
    lost_from = models.DateTimeField(null=True, help_text="From here on Stripe's list was gone before it was read.")
    lost_until = models.DateTimeField(null=True)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(
                name="billing_pollposition_under_way",
                condition=Q(unread_until=None, newest=None, begun_at=None)
                | Q(unread_until__isnull=False, newest__isnull=False, begun_at__isnull=False),
            ),
            models.CheckConstraint(
                name="billing_pollposition_lost",
                condition=Q(lost_from=None, lost_until=None) | Q(lost_from__lt=F("lost_until")),
            ),
        )

    def __str__(self) -> str:
        return self.name


class MirrorRebuild(models.Model):
    """One rebuilding of dj-stripe's tables from Stripe's lists; an interrupted one goes on where it stopped."""

    started_at = models.DateTimeField()
    started_by = models.CharField(max_length=200)
    positions = models.JSONField(
        default=dict,
        help_text="By kind: the last id that is in the mirror, how many were read, and whether that is all.",
    )
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                models.ExpressionWrapper(Q(finished_at=None), output_field=models.BooleanField()),
                name="billing_mirrorrebuild_one_at_a_time",
                condition=Q(finished_at=None),
            ),
        )

    def __str__(self) -> str:
        return f"rebuild of {self.started_at:%d %b %Y}"
