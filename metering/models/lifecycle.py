"""What becomes of a month of events after its retention: archived, verified, dropped, and brought back when asked for.

Migration 0005 adds the rules in SQL: these rows are never changed, and a month leaves by
`metering_drop_partition` only.
"""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q


class EventArchive(models.Model):
    """One archive file of one month: what was written, and what it must be when it is read again."""

    month = models.DateField(help_text="First day of the UTC month.")
    file_name = models.CharField(max_length=200, help_text="Name in the storage usage_archive.")
    sha256 = models.CharField("SHA-256", max_length=64, help_text="Of the file as it lies in the storage.")
    size_bytes = models.BigIntegerField()
    events = models.BigIntegerField(help_text="Rows, one for each event.")
    fingerprint = models.DecimalField(
        max_digits=38,
        decimal_places=0,
        help_text="Sum over its rows of 60 bits of SHA-256 of all their columns: their order does not matter.",
    )
    last_xid = models.BigIntegerField(
        null=True, help_text="The last transaction that recorded one of them; empty for no event."
    )
    archived_at = models.DateTimeField()
    archived_by = models.CharField(max_length=150)

    class Meta:
        verbose_name_plural = "months of events"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["month", "sha256"], name="metering_archive_once"),
            models.CheckConstraint(condition=Q(month__day=1), name="metering_archive_whole_month"),
            models.CheckConstraint(condition=Q(sha256__regex="^[0-9a-f]{64}$"), name="metering_archive_sha256"),
            models.CheckConstraint(
                condition=Q(events__gte=0, size_bytes__gt=0, fingerprint__gte=0), name="metering_archive_counts"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class ArchiveVerification(models.Model):
    """An archive was read back from its storage, and checksum, number and fingerprint were those of its row."""

    archive = models.ForeignKey(EventArchive, on_delete=models.PROTECT, related_name="verifications")
    verified_at = models.DateTimeField()
    verified_by = models.CharField(max_length=150)

    def __str__(self) -> str:
        return f"{self.archive} verified {self.verified_at:%Y-%m-%d}"


class PartitionMove(models.Model):
    """A month's events left the database, or came back. Written by the owner of the tables only."""

    DROPPED = "dropped"
    RESTORED = "restored"

    month = models.DateField()
    archive = models.ForeignKey(EventArchive, on_delete=models.PROTECT, related_name="moves")
    move = models.CharField(max_length=8, choices=[(DROPPED, "Dropped"), (RESTORED, "Restored")])
    moved_at = models.DateTimeField()
    moved_by = models.CharField(max_length=150)
    hold_until = models.DateTimeField(null=True, help_text="A restored month is not dropped again before this instant.")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(move="dropped", hold_until=None) | Q(move="restored", hold_until__gte=F("moved_at")),
                name="metering_move_hold",
            )
        ]
        indexes: ClassVar = [models.Index(fields=["month", "id"], name="metering_move_latest")]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.move}"


class Retention(models.Model):
    """How long events and their identities stay, in days: one row, written by `manage.py migrate` from the settings, so
    that the owner's functions do not have to believe the application."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    retention_days = models.IntegerField()
    dedupe_horizon_days = models.IntegerField()
    changed_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(id=1), name="metering_retention_one_row"),
            models.CheckConstraint(
                condition=Q(dedupe_horizon_days__gte=1, retention_days__gte=F("dedupe_horizon_days")),
                name="metering_retention_spans_the_horizon",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.retention_days} days"


class KeyForgetting(models.Model):
    """One pass over the identities of events: those of events before an instant were forgotten."""

    before = models.DateTimeField(help_text="Identities of events before this instant were forgotten.")
    keys = models.BigIntegerField()
    finished_at = models.DateTimeField()
    forgotten_by = models.CharField(max_length=150)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["before"], name="metering_forgetting_once")]

    def __str__(self) -> str:
        return f"before {self.before:%Y-%m-%d}"
