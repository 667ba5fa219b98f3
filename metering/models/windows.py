"""What events add up to, and how far that has come."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from metering.models.meters import Meter


class AggregationWindow(models.Model):
    """One hour of one customer, meter and set of dimension values.

    `quantity` is the meter's aggregation over the hour's events; only `queries.usage` may combine it over longer
    ranges. A window whose events were all voided stays, with 0 events and quantity 0.
    """

    window_start = models.DateTimeField(help_text="Start of the hour, UTC; the window ends before the next hour.")
    customer_key = models.CharField(max_length=128)
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="+")
    dimensions = models.JSONField()
    quantity = models.DecimalField(max_digits=38, decimal_places=12, help_text="In the meter's unit, exact.")
    event_count = models.BigIntegerField()
    fingerprint = models.DecimalField(
        max_digits=38,
        decimal_places=0,
        help_text="Sum over its events of a 60-bit hash of source, id, time and value; their order does not matter.",
    )
    updated_at = models.DateTimeField()

    class Meta:
        managed = False  # made by SQL in migrations 0002 and 0003
        db_table = "metering_window"
        permissions: ClassVar = [("repair_aggregationwindow", "Can repair aggregation windows")]

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
    excluded_filtered = models.BigIntegerField(default=0, help_text="The event matches none of the meter's filters.")
    marks = models.BigIntegerField(default=0, help_text="Events voided or restored.")
    mark_pairs = models.BigIntegerField(default=0, help_text="Each mark, once for every meter of its event.")
    voided = models.BigIntegerField(default=0, help_text="Counted pairs taken out of their windows again.")
    restored = models.BigIntegerField(default=0, help_text="Voided pairs brought back into their windows.")
    mark_excluded = models.BigIntegerField(default=0, help_text="Pairs that were excluded, so a mark changes nothing.")
    windows = models.BigIntegerField(help_text="Windows made or changed.")
    oldest_received_at = models.DateTimeField(null=True, help_text="None where only marks were taken.")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(pairs=F("counted") + F("excluded_absent") + F("excluded_invalid") + F("excluded_filtered")),
                name="metering_advance_conservation",
            ),
            models.CheckConstraint(
                condition=Q(mark_pairs=F("voided") + F("restored") + F("mark_excluded")),
                name="metering_advance_marks_conserved",
            ),
        ]

    def __str__(self) -> str:
        return f"advance {self.change_seq}"


class WindowRepair(models.Model):
    """A window set right after it was found to differ from its events. Append-only; None stands for no such window."""

    window_start = models.DateTimeField()
    customer_key = models.CharField(max_length=128)
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="+")
    dimensions = models.JSONField()
    quantity_before = models.DecimalField(max_digits=38, decimal_places=12, null=True, help_text="In the meter's unit.")
    events_before = models.BigIntegerField(null=True)
    fingerprint_before = models.DecimalField(max_digits=38, decimal_places=0, null=True)
    kept_before = models.TextField(blank=True, help_text="What the window kept beside its figures.")
    quantity_after = models.DecimalField(max_digits=38, decimal_places=12, help_text="In the meter's unit.")
    events_after = models.BigIntegerField()
    fingerprint_after = models.DecimalField(max_digits=38, decimal_places=0)
    kept_after = models.TextField(blank=True)
    reason = models.CharField(max_length=500)
    actor = models.CharField(max_length=150)
    repaired_at = models.DateTimeField()
    change_seq = models.BigIntegerField(help_text="The change under which rating sees it.")

    class Meta:
        db_table = "metering_window_repair"
        indexes: ClassVar = [
            models.Index(fields=["customer_key", "window_start"], name="metering_repair_window"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(reason="") & ~Q(actor=""), name="metering_repair_says_why"),
        ]

    def __str__(self) -> str:
        return f"{self.customer_key} {self.window_start:%Y-%m-%d %H:00}"
