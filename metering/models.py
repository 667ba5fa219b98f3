"""Metering's tables. Three of them are made by SQL in migration 0002, as they are partitioned or have generated
columns; their classes here describe them for reading. All writes are in `operations`, `ingest` and `windows`."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q


class Meter(models.Model):
    """What is measured: which event type, which value in it, how values add up, and what they are told apart by."""

    SUM = "sum"
    COUNT = "count"

    code = models.CharField(max_length=64, help_text="The name prices refer to. Versions of one meter share it.")
    version = models.PositiveIntegerField(default=1)
    event_type = models.CharField(max_length=128)
    value_path = models.CharField(max_length=200, blank=True, help_text="Such as data.input_tokens; empty for a count.")
    aggregation = models.CharField(max_length=8, choices=[(SUM, "Sum"), (COUNT, "Count")])
    dimensions = ArrayField(
        models.CharField(max_length=64), default=list, blank=True, help_text="Paths below data, such as model."
    )
    unit = models.CharField(max_length=32, help_text="What one of the quantity is, such as token.")
    active = models.BooleanField(default=True)
    counts_from_xid = models.BigIntegerField(
        help_text="Events recorded by this database transaction or a later one count.", editable=False
    )
    counts_before_xid = models.BigIntegerField(
        null=True, editable=False, help_text="Events recorded by this transaction or a later one no longer count."
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["code", "version"], name="metering_meter_version"),
            models.UniqueConstraint(fields=["code"], condition=Q(active=True), name="metering_meter_one_active"),
            models.CheckConstraint(condition=Q(aggregation__in=["sum", "count"]), name="metering_meter_aggregation"),
            models.CheckConstraint(
                condition=Q(aggregation="count", value_path="") | Q(aggregation="sum", value_path__startswith="data."),
                name="metering_meter_value_path",
            ),
            models.CheckConstraint(
                condition=Q(active=True, counts_before_xid=None) | Q(active=False, counts_before_xid__isnull=False),
                name="metering_meter_end_when_inactive",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} v{self.version}"


class Subject(models.Model):
    """A customer key that usage may be recorded for. Registered by whoever owns customers; never taken away."""

    customer_key = models.CharField(max_length=128, primary_key=True)
    registered_at = models.DateTimeField(db_default=Func(function="now"))

    def __str__(self) -> str:
        return self.customer_key


class EventKey(models.Model):
    """The identity of every accepted event: one narrow row per (source, id), not partitioned, so that the same id is
    caught also when it comes again with another time."""

    key = models.UUIDField(primary_key=True, help_text="128-bit BLAKE2b hash of source and id.")
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
    OUTCOMES: ClassVar = [("accepted", "Accepted"), ("duplicate", "Duplicate"), ("conflict", "Conflict")]

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

    class Meta:
        permissions: ClassVar = [("replay_quarantinedevent", "Can replay quarantined events")]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["key", "digest"], name="metering_quarantine_once"),
            models.CheckConstraint(
                condition=Q(resolved_at=None, outcome="") | (Q(resolved_at__isnull=False) & ~Q(outcome="")),
                name="metering_quarantine_resolved",
            ),
        ]
        # For the page of waiting events and for replay, which goes through them in order of arrival.
        indexes: ClassVar = [
            models.Index(fields=["id"], condition=Q(resolved_at=None), name="metering_quarantine_waiting")
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.event_id}"


class AggregationWindow(models.Model):
    """One hour of one customer, meter and set of dimension values. `quantity` is the sum over its events."""

    window_start = models.DateTimeField(help_text="Start of the hour, UTC; the window ends before the next hour.")
    customer_key = models.CharField(max_length=128)
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="+")
    dimensions = models.JSONField()
    quantity = models.DecimalField(max_digits=38, decimal_places=12, help_text="In the meter's unit, exact.")
    event_count = models.BigIntegerField()
    fingerprint = models.DecimalField(
        max_digits=38,
        decimal_places=0,
        help_text="Sum over its events of 60 bits of SHA-256 of source, id, time, quantity.",
    )
    updated_at = models.DateTimeField()

    class Meta:
        managed = False  # made by SQL in migration 0002
        db_table = "metering_window"

    def __str__(self) -> str:
        return f"{self.customer_key} {self.window_start:%Y-%m-%d %H:00}"


class AggregationCursor(models.Model):
    """How far aggregation has come: one row."""

    next_xid = models.BigIntegerField(help_text="Events of every transaction below this one are in their windows.")
    change_seq = models.BigIntegerField(help_text="Counts the advances that changed windows.")
    aggregated_through = models.DateTimeField(
        null=True, help_text="Every event acknowledged before this instant is in its windows."
    )

    class Meta:
        db_table = "metering_cursor"

    def __str__(self) -> str:
        return f"transaction {self.next_xid}"


class CustomerChange(models.Model):
    """The latest advance that changed a window of this customer: what `queries.customers_with_changes_since` reads."""

    customer_key = models.CharField(max_length=128, primary_key=True)
    change_seq = models.BigIntegerField(db_index=True)

    class Meta:
        db_table = "metering_customer_change"

    def __str__(self) -> str:
        return self.customer_key


class AggregationAdvance(models.Model):
    """The conservation record of one advance: every (event, meter) pair is counted or excluded with a reason."""

    change_seq = models.BigIntegerField(unique=True)
    advanced_at = models.DateTimeField()
    from_xid = models.BigIntegerField()
    to_xid = models.BigIntegerField(help_text="Exclusive.")
    events = models.BigIntegerField()
    events_without_meter = models.BigIntegerField()
    pairs = models.BigIntegerField()
    counted = models.BigIntegerField()
    excluded_absent = models.BigIntegerField(help_text="The event has no value at the meter's path.")
    excluded_invalid = models.BigIntegerField(
        help_text="The value is no quantity; the meter is younger than the event."
    )
    windows = models.BigIntegerField(help_text="Windows made or changed.")
    oldest_received_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(pairs=F("counted") + F("excluded_absent") + F("excluded_invalid")),
                name="metering_advance_conservation",
            )
        ]

    def __str__(self) -> str:
        return f"advance {self.change_seq}"


class ImportRun(models.Model):
    """One import of a usage file: how far it came, in the same transaction as the events it brought."""

    file_name = models.CharField(max_length=255)
    file_digest = models.CharField(max_length=64, help_text="SHA-256 of the file.")
    options_digest = models.CharField(max_length=64, help_text="SHA-256 of the options that shape events.")
    options = models.JSONField(help_text="The rules by which rows became events.")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    file_bytes = models.BigIntegerField()
    byte_offset = models.BigIntegerField(default=0)
    line_number = models.BigIntegerField(default=0)
    rejects_bytes = models.BigIntegerField(default=0)
    shift_days = models.IntegerField(null=True, help_text="Whole days added to every time.")
    read = models.BigIntegerField(default=0)
    accepted = models.BigIntegerField(default=0)
    duplicates = models.BigIntegerField(default=0)
    conflicts = models.BigIntegerField(default=0)
    quarantined = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["file_digest", "options_digest"], condition=Q(finished_at=None), name="metering_import_one_open"
            ),
            models.CheckConstraint(
                condition=Q(read=F("accepted") + F("duplicates") + F("conflicts") + F("quarantined") + F("rejected")),
                name="metering_import_adds_up",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.file_name} {self.started_at:%Y-%m-%d %H:%M}"
