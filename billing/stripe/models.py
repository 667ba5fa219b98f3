"""What Stripe told us (inbox) and what we told Stripe (outbox): each row is a fact that can be replayed."""

import uuid
from typing import Any

from django.db import models
from django.db.models import Q


class InboxEvent(models.Model):
    """A verified webhook event, stored before it is answered."""

    class State(models.TextChoices):
        RECEIVED = "received", "Waiting"
        PROCESSING = "processing", "In work"
        DONE = "done", "Done"
        FAILED = "failed", "Failed, will be tried again"
        DEAD = "dead", "Set aside"

    class Outcome(models.TextChoices):
        PROJECTED = "projected", "Projected"
        KNOWN = "known", "The books said so already"
        IGNORED = "ignored", "Not followed: nothing is done about its type"

    event_id = models.CharField(max_length=255, primary_key=True)
    type = models.CharField(max_length=100)
    api_version = models.CharField(max_length=40, blank=True)
    livemode = models.BooleanField()
    object_id = models.CharField(max_length=255, blank=True, help_text="Id of the Stripe object it is about.")
    payload = models.JSONField(null=True, help_text="As received; dropped some time after it was done.")
    payload_dropped_at = models.DateTimeField(null=True)
    detail = models.JSONField(null=True, help_text="What had to be fetched because a thin event does not carry it.")
    stripe_created_at = models.DateTimeField(help_text="Resolution one second; says nothing about order.")
    received_at = models.DateTimeField()
    source = models.CharField(max_length=10, help_text="webhook, or poll when Stripe's list had to be asked.")
    deliveries = models.PositiveIntegerField(default=1)
    last_delivered_at = models.DateTimeField(null=True, help_text="When it came for the latest time.")
    state = models.CharField(max_length=12, choices=State, default=State.RECEIVED)
    attempts = models.PositiveIntegerField(default=0)
    attempts_before = models.PositiveIntegerField(default=0, help_text="Attempts made before the last replay.")
    strikes = models.PositiveSmallIntegerField(
        default=0, help_text="Since the last replay, attempts that failed for another reason than Stripe's silence."
    )
    replayed_at = models.DateTimeField(null=True, help_text="When a person last asked for it to be tried again.")
    next_attempt_at = models.DateTimeField(help_text="Due from then on; while in work, when its lease ends.")
    processed_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=10, choices=Outcome, blank=True, help_text="What was done about it.")
    mirrored_at = models.DateTimeField(null=True, help_text="When dj-stripe's mirror was refreshed after it.")
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-received_at", "event_id")
        permissions = (
            ("process_inboxevent", "Can process an inbox event again"),
            ("view_mirror", "Can read dj-stripe's mirror of Stripe"),
        )
        constraints = (
            models.CheckConstraint(
                name="billing_inboxevent_payload_kept",
                condition=Q(payload__isnull=False, payload_dropped_at=None)
                | Q(payload__isnull=True, payload_dropped_at__isnull=False, state="done"),
            ),
            models.CheckConstraint(name="billing_inboxevent_done_says_what", condition=~Q(state="done", outcome="")),
        )
        indexes = (
            # The sweeper and the claim look only at what is not finished.
            models.Index(
                name="billing_inbox_due", fields=("next_attempt_at",), condition=~Q(state__in=("done", "dead"))
            ),
            models.Index(name="billing_inbox_object", fields=("object_id", "stripe_created_at")),
            models.Index(name="billing_inbox_unmirrored", fields=("received_at",), condition=Q(mirrored_at=None)),
            models.Index(name="billing_inbox_received", fields=("-received_at",)),
            # Retention looks for what is done and still has its payload; the figures for what only the poll found.
            models.Index(
                name="billing_inbox_droppable", fields=("processed_at",), condition=Q(payload_dropped_at=None)
            ),
            models.Index(name="billing_inbox_polled", fields=("received_at",), condition=Q(source="poll")),
            models.Index(name="billing_inbox_not_done", fields=("state", "received_at"), condition=~Q(state="done")),
        )

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"

    @property
    def said(self) -> dict[str, Any]:
        """The payload; nothing once it was dropped, which is only after it was done."""
        return self.payload or {}


class OutboxIntent(models.Model):
    """A write to Stripe: intended and committed first, then sent under a key made from its id, then its outcome."""

    class State(models.TextChoices):
        INTENDED = "intended", "Intended"
        SUCCEEDED = "succeeded", "Succeeded"
        REFUSED = "refused", "Refused by Stripe"
        SUPERSEDED = "superseded", "Superseded by a later write"
        ABANDONED = "abandoned", "Abandoned by a person"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    purpose = models.CharField(
        max_length=200, unique=True, help_text="What it carries out, such as close:42:finalize; said twice, done once."
    )
    operation = models.CharField(max_length=60, help_text="Name of the gateway's operation.")
    target = models.CharField(max_length=255, blank=True, help_text="Stripe id the operation acts on, if any.")
    params = models.JSONField()
    state = models.CharField(max_length=12, choices=State, default=State.INTENDED)
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    first_sent_at = models.DateTimeField(null=True, help_text="Stripe forgets the key 24 h after this.")
    generation = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="How often it got a new key: Stripe repeats a stored refusal for a day."
    )
    sending_since = models.DateTimeField(
        null=True, help_text="Set while a process waits for the answer, and left when it dies."
    )
    finished_at = models.DateTimeField(null=True)
    stripe_object_id = models.CharField(max_length=255, blank=True, help_text="Id in Stripe's answer.")
    request_id = models.CharField(max_length=255, blank=True, help_text="Stripe's Request-Id of the last answer.")
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-created_at",)
        permissions = (("redrive_outboxintent", "Can send a write to Stripe again, or abandon it"),)
        indexes = (
            models.Index(name="billing_outbox_unfinished", fields=("created_at",), condition=Q(state="intended")),
            # What came after a write to the same object.
            models.Index(name="billing_outbox_target", fields=("target", "created_at"), condition=~Q(target="")),
            # What made an object, on its timeline.
            models.Index(name="billing_outbox_object", fields=("stripe_object_id",), condition=~Q(stripe_object_id="")),
            models.Index(name="billing_outbox_made", fields=("-created_at",)),  # the order of the list
            models.Index(
                name="billing_outbox_not_done", fields=("state", "created_at"), condition=~Q(state="succeeded")
            ),
        )

    def __str__(self) -> str:
        return self.purpose

    @property
    def idempotency_key(self) -> str:
        """What Stripe recognises a repeat by."""
        return f"intent-{self.pk}" + (f"-{self.generation}" if self.generation else "")


class OutboxAttempt(models.Model):
    """One try to carry out an intent, or one decision about it, with what came of it. Only added."""

    class Outcome(models.TextChoices):
        SUCCEEDED = "succeeded", "Carried out"
        REFUSED = "refused", "Refused by Stripe"
        UNAVAILABLE = "unavailable", "No answer to go by"
        FORBIDDEN = "forbidden", "The key lacks a permission"
        FOUND = "found", "Found carried out at Stripe"
        COMPARED = "compared", "Stripe has it as it was sent"
        DIFFERS = "differs", "Stripe has it otherwise by now"
        REOPENED = "reopened", "Given a new key"
        SUPERSEDED = "superseded", "Superseded by a later write"
        ABANDONED = "abandoned", "Abandoned"

    intent = models.ForeignKey(OutboxIntent, on_delete=models.PROTECT, related_name="tries")
    at = models.DateTimeField(help_text="The operation's time; the answer came `milliseconds` later.")
    actor = models.CharField(max_length=200, help_text="user:NAME or task:NAME.")
    outcome = models.CharField(max_length=12, choices=Outcome)
    generation = models.PositiveSmallIntegerField(help_text="Of the key that was used.")
    http_status = models.PositiveSmallIntegerField(default=0, help_text="0 where there was no answer, or no question.")
    request_id = models.CharField(max_length=255, blank=True, help_text="Stripe's Request-Id.")
    milliseconds = models.PositiveIntegerField(
        default=0, help_text="From the question to the answer, with the wait for a turn."
    )
    error = models.TextField(blank=True)
    reason = models.CharField(max_length=500, blank=True, help_text="Why a person asked for it.")

    class Meta:
        ordering = ("id",)
        constraints = (
            models.CheckConstraint(
                name="billing_outboxattempt_person_says_why",
                condition=~Q(actor__startswith="user:") | ~Q(reason=""),
            ),
            models.CheckConstraint(name="billing_outboxattempt_says_who", condition=~Q(actor="")),
        )

    def __str__(self) -> str:
        return f"{self.intent_id}: {self.outcome}"


class StripeAccount(models.Model):
    """The one Stripe account, in one mode, that this database belongs to. Noted once, before the first write to it."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    account_id = models.CharField(max_length=255)
    livemode = models.BooleanField()
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(name="billing_stripeaccount_only_one", condition=Q(id=1)),
            models.CheckConstraint(name="billing_stripeaccount_named", condition=~Q(account_id="")),
        )

    def __str__(self) -> str:
        return self.account_id
