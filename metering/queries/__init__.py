"""Everything that is asked of metering from outside. Reads only; quantities are exact Decimals, times are UTC."""

from metering.queries.totals import (
    Conservation,
    DailyTotal,
    MeterTotal,
    conservation,
    daily_totals,
    totals,
    totals_from_events,
)
from metering.queries.windows import (
    NEVER,
    Window,
    aggregated_through,
    count_windows,
    customers_with_changes_since,
    ingest_lag_seconds,
    verify_windows,
    windows_for,
    windows_for_many,
)
from metering.windows import WindowFigures, WindowMismatch

__all__ = [
    "NEVER",
    "Conservation",
    "DailyTotal",
    "MeterTotal",
    "Window",
    "WindowFigures",
    "WindowMismatch",
    "aggregated_through",
    "conservation",
    "count_windows",
    "customers_with_changes_since",
    "daily_totals",
    "ingest_lag_seconds",
    "totals",
    "totals_from_events",
    "verify_windows",
    "windows_for",
    "windows_for_many",
]
