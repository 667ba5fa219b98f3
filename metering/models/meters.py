"""What is measured, and for whom."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Func, Q


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
