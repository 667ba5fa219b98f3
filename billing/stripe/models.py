"""What Stripe told us (inbox) and what we told Stripe (outbox): each row is a fact that can be replayed."""

import uuid

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

    event_id = models.CharField(max_length=255, primary_key=True)
    type = models.CharField(max_length=100)
    api_version = models.CharField(max_length=40, blank=True)
    livemode = models.BooleanField()
    object_id = models.CharField(max_length=255, blank=True, help_text="Id of the Stripe object it is about.")
    payload = models.JSONField()
    stripe_created_at = models.DateTimeField(help_text="Resolution one second; says nothing about order.")
    received_at = models.DateTimeField()
    source = models.CharField(max_length=10, help_text="webhook, or poll when Stripe's list had to be asked.")
    deliveries = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=12, choices=State, default=State.RECEIVED)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(help_text="Due from then on; while in work, when its lease ends.")
    processed_at = models.DateTimeField(null=True)
    mirrored_at = models.DateTimeField(null=True, help_text="When dj-stripe's mirror was refreshed after it.")
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-received_at", "event_id")
        permissions = (("process_inboxevent", "Can process an inbox event again"),)
        indexes = (
            # The sweeper and the claim look only at what is not finished.
            models.Index(
                name="billing_inbox_due", fields=("next_attempt_at",), condition=~Q(state__in=("done", "dead"))
            ),
            models.Index(name="billing_inbox_object", fields=("object_id", "stripe_created_at")),
            models.Index(name="billing_inbox_unmirrored", fields=("received_at",), condition=Q(mirrored_at=None)),
            models.Index(name="billing_inbox_received", fields=("-received_at",)),
        )

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class OutboxIntent(models.Model):
    """A write to Stripe: intended and committed first, then sent under a key made from its id, then its outcome."""

    class State(models.TextChoices):
        INTENDED = "intended", "Intended"
        SUCCEEDED = "succeeded", "Succeeded"
        REFUSED = "refused", "Refused by Stripe"

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
    finished_at = models.DateTimeField(null=True)
    stripe_object_id = models.CharField(max_length=255, blank=True, help_text="Id in Stripe's answer.")
    request_id = models.CharField(max_length=255, blank=True, help_text="Stripe's Request-Id of the last answer.")
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-created_at",)
        indexes = (
            models.Index(name="billing_outbox_unfinished", fields=("created_at",), condition=Q(state="intended")),
        )

    def __str__(self) -> str:
        return self.purpose
