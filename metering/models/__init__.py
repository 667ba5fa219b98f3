"""Metering's tables. All writes are in `metering.operations` and the modules below it."""

from metering.models.alarms import Alarm, MeterHour, ObservationCursor, SeenValue, SourceHour
from metering.models.corrections import (
    Correction,
    CorrectionEvent,
    CorrectionLine,
    CorrectionPreview,
    CorrectionReject,
    CorrectionStep,
    CorrectionWindow,
)
from metering.models.events import EventConflict, EventKey, QuarantinedEvent, UsageEvent
from metering.models.freshness import FreshnessCount, OutcomeCount
from metering.models.imports import ImportRun
from metering.models.lifecycle import ArchiveVerification, EventArchive, KeyForgetting, PartitionMove, Retention
from metering.models.marks import EventMark
from metering.models.meters import Meter, MeterTally, Subject
from metering.models.windows import (
    AggregationAdvance,
    AggregationCursor,
    AggregationWindow,
    CustomerChange,
    WindowRepair,
)

__all__ = [
    "AggregationAdvance",
    "AggregationCursor",
    "AggregationWindow",
    "Alarm",
    "ArchiveVerification",
    "Correction",
    "CorrectionEvent",
    "CorrectionLine",
    "CorrectionPreview",
    "CorrectionReject",
    "CorrectionStep",
    "CorrectionWindow",
    "CustomerChange",
    "EventArchive",
    "EventConflict",
    "EventKey",
    "EventMark",
    "FreshnessCount",
    "ImportRun",
    "KeyForgetting",
    "Meter",
    "MeterHour",
    "MeterTally",
    "ObservationCursor",
    "OutcomeCount",
    "PartitionMove",
    "QuarantinedEvent",
    "Retention",
    "SeenValue",
    "SourceHour",
    "Subject",
    "UsageEvent",
    "WindowRepair",
]
