"""How old events were when a stage had done with them, and what became of the events that were not accepted."""

from typing import ClassVar

from django.db import models
from django.db.models import Q


class FreshnessCount(models.Model):
    """Events of one minute whose age at a stage lay in one step of the scale (`metering.freshness`).

    Rows are added and never updated, so two commits of one minute do not wait for each other; a daily job adds them up.
    """

    stage = models.CharField(max_length=16)
    minute = models.DateTimeField(help_text="When the stage had done; to the hour once it is some days old.")
    step = models.SmallIntegerField(help_text="Place of the age on the logarithmic scale.")
    events = models.BigIntegerField()
    span_seconds = models.SmallIntegerField(default=60, help_text="60 for a minute, 3600 once it was added up.")
    longest_us = models.BigIntegerField(help_text="The longest of these ages, in microseconds, exact.")

    class Meta:
        db_table = "metering_freshness"
        verbose_name_plural = "lag"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(events__gt=0, step__gte=0, longest_us__gte=0), name="metering_freshness_counts"
            )
        ]
        indexes: ClassVar = [models.Index(fields=["stage", "minute"], name="metering_freshness_minute")]

    def __str__(self) -> str:
        return f"{self.stage} {self.minute:%Y-%m-%d %H:%M}"


class OutcomeCount(models.Model):
    """Events of one batch that were not accepted, by what became of them. Added and never updated, as above."""

    hour = models.DateTimeField()
    outcome = models.CharField(max_length=16)
    events = models.BigIntegerField()

    class Meta:
        db_table = "metering_outcomecount"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(events__gt=0, outcome__in=["duplicate", "conflict", "quarantined", "refused"]),
                name="metering_outcome_counts",
            )
        ]
        indexes: ClassVar = [models.Index(fields=["hour"], name="metering_outcome_hour")]

    def __str__(self) -> str:
        return f"{self.outcome} {self.hour:%Y-%m-%d %H:00}"
