"""Marks on events: which of them count. Made by SQL in migration 0003."""

from typing import ClassVar

from django.db import models


class EventMark(models.Model):
    """An event was taken out of usage (sign -1, odd position) or brought back (sign +1, even position). Append-only.

    An event is void while its latest mark has an odd position. The event itself never changes.
    """

    id = models.BigAutoField(primary_key=True)
    key = models.UUIDField(help_text="The event's key.")
    event_time = models.DateTimeField(help_text="The event's time, which finds it in its partition.")
    position = models.SmallIntegerField(help_text="1 is the first mark of this event.")
    sign = models.SmallIntegerField(help_text="What is added to its windows: -1 void, +1 restored.")
    correction_id = models.BigIntegerField(help_text="The correction that set it.")
    marked_at = models.DateTimeField()
    recorded_xid = models.BigIntegerField(editable=False, help_text="Set by the database; aggregation goes by it.")

    class Meta:
        managed = False
        db_table = "metering_event_mark"
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.key} #{self.position}"
