"""What events add up to, and how far that has come."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from metering.models.meters import Meter


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
