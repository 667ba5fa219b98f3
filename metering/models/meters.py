"""What is measured, and for whom."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q

AGGREGATION_CODES = ("sum", "count", "max", "min", "last", "unique_count", "time_weighted_average", "window_max")


class Meter(models.Model):
    """What is measured: which event type, which value in it, how values add up, and what they are told apart by.

    The definition of a version is frozen (`metering_meter_version_is_frozen`): only its end may be written.
    """

    SUM = "sum"
    COUNT = "count"
    MAX = "max"
    MIN = "min"
    LAST = "last"
    UNIQUE_COUNT = "unique_count"
    TIME_WEIGHTED_AVERAGE = "time_weighted_average"
    WINDOW_MAX = "window_max"
    AGGREGATIONS: ClassVar = [
        (SUM, "Sum"),
        (COUNT, "Count"),
        (MAX, "Maximum"),
        (MIN, "Minimum"),
        (LAST, "Last value"),
        (UNIQUE_COUNT, "Number of different values"),
        (TIME_WEIGHTED_AVERAGE, "Time-weighted average"),
        (WINDOW_MAX, "Sum of the hours' maxima"),
    ]

    code = models.CharField(max_length=64, help_text="The name prices refer to. Versions of one meter share it.")
    version = models.PositiveIntegerField(default=1)
    event_type = models.CharField(max_length=128)
    value_path = models.CharField(max_length=200, blank=True, help_text="Such as data.input_tokens; empty for a count.")
    aggregation = models.CharField(max_length=32, choices=AGGREGATIONS)
    filters = models.JSONField(
        default=list,
        blank=True,
        help_text="Alternatives, each paths below data with the texts allowed there. An event that matches any of them"
        " counts, once. None: every event of the type.",
    )
    dimensions = ArrayField(
        models.CharField(max_length=64), default=list, blank=True, help_text="Paths below data, such as model."
    )
    unit = models.CharField(max_length=32, help_text="What one of the quantity is, such as token.")
    active = models.BooleanField(default=True)
    defined_at = models.DateTimeField(
        db_default=Func(function="now"), editable=False, help_text="From here on the definition of this version stands."
    )
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
            models.CheckConstraint(condition=Q(aggregation__in=AGGREGATION_CODES), name="metering_meter_aggregation"),
            models.CheckConstraint(
                condition=Q(aggregation="count", value_path="")
                | (~Q(aggregation="count") & Q(value_path__startswith="data.")),
                name="metering_meter_value_path",
            ),
            models.CheckConstraint(
                condition=Q(active=True, counts_before_xid=None) | Q(active=False, counts_before_xid__isnull=False),
                name="metering_meter_end_when_inactive",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} v{self.version}"


class MeterTally(models.Model):
    """What became of all (event, meter) pairs of one meter version so far. Marks are counted apart: a voided pair stays
    counted, and `voided` less `restored` is what its windows hold less."""

    meter = models.OneToOneField(Meter, on_delete=models.PROTECT, primary_key=True, related_name="tally")
    pairs = models.BigIntegerField()
    counted = models.BigIntegerField()
    excluded_absent = models.BigIntegerField()
    excluded_invalid = models.BigIntegerField()
    excluded_filtered = models.BigIntegerField()
    voided = models.BigIntegerField()
    restored = models.BigIntegerField()

    class Meta:
        db_table = "metering_meter_tally"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(pairs=F("counted") + F("excluded_absent") + F("excluded_invalid") + F("excluded_filtered")),
                name="metering_tally_conservation",
            )
        ]

    def __str__(self) -> str:
        return f"{self.pairs} pairs"


class Subject(models.Model):
    """A customer key that usage may be recorded for. Registered by whoever owns customers; never taken away."""

    customer_key = models.CharField(max_length=128, primary_key=True)
    registered_at = models.DateTimeField(db_default=Func(function="now"))

    def __str__(self) -> str:
        return self.customer_key
