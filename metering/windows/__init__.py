"""Aggregation windows: the SQL that fills them and the SQL that proves them, sharing one definition of what counts."""

from metering.windows.advance import TransactionCounterWentBack, WindowAdvance, advance
from metering.windows.figures import sum_events
from metering.windows.marks import WindowMissing
from metering.windows.pairs import WINDOW
from metering.windows.proof import WindowFigures, WindowMismatch, mismatches, require_whole_hours
from metering.windows.repair import RepairedWindow, repair

__all__ = [
    "WINDOW",
    "RepairedWindow",
    "TransactionCounterWentBack",
    "WindowAdvance",
    "WindowFigures",
    "WindowMismatch",
    "WindowMissing",
    "advance",
    "mismatches",
    "repair",
    "require_whole_hours",
    "sum_events",
]
