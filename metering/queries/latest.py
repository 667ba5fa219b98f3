"""The latest usage there is."""

from dataclasses import dataclass
from datetime import datetime

from metering.models import AggregationWindow


@dataclass(frozen=True, slots=True)
class LatestUsage:
    """The latest window, of one customer or of all: its hour and its meter."""

    window_start: datetime
    meter_code: str


def latest_usage(customer_key: str | None) -> LatestUsage | None:
    """The latest window of this customer, or of anybody; None where there is none."""
    windows = AggregationWindow.objects.select_related("meter").order_by("-window_start", "-customer_key", "meter_id")
    found = (windows if customer_key is None else windows.filter(customer_key=customer_key)).first()
    return None if found is None else LatestUsage(found.window_start, found.meter.code)
