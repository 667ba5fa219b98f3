"""Imports of usage files."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q


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
