"""Alarms, and the hourly figures their rules look at."""

from typing import ClassVar

from django.db import models
from django.db.models import Q


class Alarm(models.Model):
    """Something about usage that a person should look at, from when it began until it was over."""

    kind = models.CharField(max_length=32)
    subject = models.CharField(max_length=400, help_text="What it is about: a source, a meter, a value of a dimension.")
    opened_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(help_text="When a check last found it so.")
    closed_at = models.DateTimeField(null=True, help_text="When a check first found it over.")
    expected = models.CharField(max_length=400)
    seen = models.CharField(max_length=400)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=150, blank=True)
    note = models.CharField(max_length=500, blank=True)

    class Meta:
        permissions: ClassVar = [("acknowledge_alarm", "Can acknowledge alarms")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["kind", "subject"], condition=Q(closed_at=None), name="metering_alarm_one_open"
            ),
            models.CheckConstraint(
                condition=Q(acknowledged_at=None, acknowledged_by="", note="")
                | (Q(acknowledged_at__isnull=False) & ~Q(acknowledged_by="") & ~Q(note="")),
                name="metering_alarm_acknowledged_by_with_note",
            ),
            models.CheckConstraint(
                condition=Q(closed_at=None) | Q(closed_at__gte=models.F("opened_at")),
                name="metering_alarm_closes_later",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class SourceHour(models.Model):
    """What came from one source in one hour of receipt, by type of event."""

    hour = models.DateTimeField()
    source = models.CharField(max_length=256)
    event_type = models.CharField(max_length=128)
    events = models.BigIntegerField()
    minutes = models.BigIntegerField(help_text="One bit for each minute of the hour in which something came.")
    last_received_at = models.DateTimeField()

    class Meta:
        db_table = "metering_sourcehour"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["hour", "source", "event_type"], name="metering_sourcehour_once")
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.hour:%Y-%m-%d %H:00}"


class MeterHour(models.Model):
    """What one meter (all versions, customers and dimensions) counted in one hour of usage."""

    hour = models.DateTimeField()
    meter_code = models.CharField(max_length=64)
    events = models.BigIntegerField()
    quantity = models.DecimalField(max_digits=50, decimal_places=12, help_text="In the meter's unit; to compare hours.")

    class Meta:
        db_table = "metering_meterhour"
        constraints: ClassVar = [models.UniqueConstraint(fields=["hour", "meter_code"], name="metering_meterhour_once")]

    def __str__(self) -> str:
        return f"{self.meter_code} {self.hour:%Y-%m-%d %H:00}"


class SeenValue(models.Model):
    """When a source, or a value of a meter's dimension, was first seen. `name` says whose value it is."""

    name = models.CharField(max_length=200)
    value = models.CharField(max_length=256)
    first_seen_at = models.DateTimeField()

    class Meta:
        db_table = "metering_seenvalue"
        constraints: ClassVar = [models.UniqueConstraint(fields=["name", "value"], name="metering_seenvalue_once")]

    def __str__(self) -> str:
        return f"{self.name} {self.value}"


class ObservationCursor(models.Model):
    """How far the hourly figures of sources have come: one row."""

    last_advance = models.BigIntegerField(help_text="Events of every advance up to this one are in the hourly figures.")

    class Meta:
        db_table = "metering_observationcursor"

    def __str__(self) -> str:
        return f"advance {self.last_advance}"
