"""Metering's tables. All writes are in `metering.operations` and the modules below it."""

from metering.models.events import EventConflict, EventKey, QuarantinedEvent, UsageEvent
from metering.models.imports import ImportRun
from metering.models.meters import Meter, Subject
from metering.models.windows import AggregationAdvance, AggregationCursor, AggregationWindow, CustomerChange

__all__ = [
    "AggregationAdvance",
    "AggregationCursor",
    "AggregationWindow",
    "CustomerChange",
    "EventConflict",
    "EventKey",
    "ImportRun",
    "Meter",
    "QuarantinedEvent",
    "Subject",
    "UsageEvent",
]
