"""Everything that writes to metering. Quantities are Decimal, times are aware; nothing here reads a clock."""

from metering.admission import EventOutcome
from metering.events import BatchError, NotJSON, Refusal, TooManyEvents, UsageEventInput, decode_batch
from metering.operations.aggregation import WindowsLagBehind, advance_windows, catch_up_windows
from metering.operations.ingest import IngestResult, ingest_events, register_subjects
from metering.operations.meters import DefinedMeter, InvalidMeter, define_meter
from metering.operations.partitions import ensure_partitions
from metering.operations.quarantine import ReplayResult, replay_quarantine
from metering.windows import TransactionCounterWentBack, WindowAdvance

__all__ = [
    "BatchError",
    "DefinedMeter",
    "EventOutcome",
    "IngestResult",
    "InvalidMeter",
    "NotJSON",
    "Refusal",
    "ReplayResult",
    "TooManyEvents",
    "TransactionCounterWentBack",
    "UsageEventInput",
    "WindowAdvance",
    "WindowsLagBehind",
    "advance_windows",
    "catch_up_windows",
    "decode_batch",
    "define_meter",
    "ensure_partitions",
    "ingest_events",
    "register_subjects",
    "replay_quarantine",
]
