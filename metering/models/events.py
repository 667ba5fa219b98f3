"""Events as they came in. The tables of events and of their keys are made by SQL in migration 0002, as one is
partitioned; their classes here describe them for reading."""

from typing import ClassVar

from django.db import models
from django.db.models import Q


class EventKey(models.Model):
    """The identity of every accepted event: one narrow row per (source, id), not partitioned, so that the same id is
    caught also when it comes again with another time."""

    key = models.UUIDField(primary_key=True, help_text="Of source and id alone (event_keys.py).")
    event_time = models.DateTimeField(help_text="Where the event lies in its partitioned table.")
    digest = models.UUIDField(help_text="128-bit BLAKE2b hash of type, subject, time and data.")

    class Meta:
        managed = False  # made by SQL in migration 0002
        db_table = "metering_event_key"

    def __str__(self) -> str:
        return str(self.key)


class UsageEvent(models.Model):
    """An accepted event, exactly once, never changed. Partitioned by month of `event_time`; in the database its primary
    key is (event_time, key)."""

    key = models.UUIDField(primary_key=True)
    event_time = models.DateTimeField(help_text="When the usage happened, as the producer says; microseconds, UTC.")
    source = models.CharField(max_length=256)
    event_id = models.CharField("event id", max_length=256)
    event_type = models.CharField("type", max_length=128)
    customer_key = models.CharField(max_length=128)
    data = models.JSONField()
    received_at = models.DateTimeField(help_text="When we took it.")
    recorded_xid = models.BigIntegerField(
        editable=False,
        help_text="The database transaction that stored it. Set by the database; aggregation goes by it.",
    )

    class Meta:
        managed = False  # made by SQL in migration 0002
        db_table = "metering_event"

    def __str__(self) -> str:
        return f"{self.source} {self.event_id}"


class EventConflict(models.Model):
    """An event whose (source, id) was already accepted with another body. The first one counts; this is the other."""

    key = models.UUIDField()
    digest = models.UUIDField()
    first_event_time = models.DateTimeField(help_text="Time of the event that counts, which finds it.")
    source = models.CharField(max_length=256)
    event_id = models.CharField("event id", max_length=256)
    event_type = models.CharField("type", max_length=128)
    customer_key = models.CharField(max_length=128)
    event_time = models.DateTimeField()
    data = models.JSONField()
    received_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["key", "digest"], name="metering_conflict_once")]

    def __str__(self) -> str:
        return f"{self.source} {self.event_id}"


class QuarantinedEvent(models.Model):
    """A well-formed event that cannot be counted yet: nobody registered its subject, or no meter takes its type. It has
    not claimed its (source, id); a replay sends it through the same door again."""

    UNKNOWN_SUBJECT = "unknown_subject"
    UNKNOWN_TYPE = "unknown_type"
    REFUSED_ON_REPLAY = "refused_on_replay"
    REASONS: ClassVar = [
        (UNKNOWN_SUBJECT, "Unknown subject"),
        (UNKNOWN_TYPE, "Unknown type"),
        (REFUSED_ON_REPLAY, "Refused on replay"),
    ]
    DISMISSED = "dismissed"
    OUTCOMES: ClassVar = [
        ("accepted", "Accepted"),
        ("duplicate", "Duplicate"),
        ("conflict", "Conflict"),
        (DISMISSED, "Dismissed"),
    ]

    key = models.UUIDField()
    digest = models.UUIDField()
    source = models.CharField(max_length=256)
    event_id = models.CharField("event id", max_length=256)
    event_type = models.CharField("type", max_length=128)
    customer_key = models.CharField(max_length=128)
    event_time = models.DateTimeField()
    data = models.JSONField()
    received_at = models.DateTimeField()
    reason = models.CharField(max_length=32, choices=REASONS)
    detail = models.CharField(max_length=500, blank=True)
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.CharField(max_length=150, blank=True)
    outcome = models.CharField(max_length=16, blank=True, choices=OUTCOMES, help_text="What the replay ended in.")
    dismissed_because = models.CharField(max_length=500, blank=True, help_text="Why it will never be counted.")

    class Meta:
        permissions: ClassVar = [
            ("replay_quarantinedevent", "Can replay quarantined events"),
            ("dismiss_quarantinedevent", "Can dismiss quarantined events that will never be counted"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["key", "digest"], name="metering_quarantine_once"),
            models.CheckConstraint(
                condition=Q(resolved_at=None, outcome="") | (Q(resolved_at__isnull=False) & ~Q(outcome="")),
                name="metering_quarantine_resolved",
            ),
            models.CheckConstraint(
                condition=(Q(outcome="dismissed") & ~Q(dismissed_because=""))
                | (~Q(outcome="dismissed") & Q(dismissed_because="")),
                name="metering_quarantine_dismissed_because",
            ),
        ]
        # For the page of waiting events and for replay, which goes through them in order of arrival.
        indexes: ClassVar = [
            models.Index(fields=["id"], condition=Q(resolved_at=None), name="metering_quarantine_waiting")
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.event_id}"
