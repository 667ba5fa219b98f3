"""What customers used: how meter events add up over a period."""

from collections.abc import Sequence
from decimal import Decimal

from tests.sandbox.core.meter_events import MeterEvent
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

WINDOW_SECONDS = {"hour": 3600, "day": 86_400}


def usage_of(world: World, price: StripeObject, customer_id: str, start: int, end: int) -> Decimal:
    """The customer's usage to bill by the meter of a metered `price`, in [start, end) of Unix seconds.

    Stripe bills a negative usage as 0.
    """
    meter = world.store.get("billing.meter", price["recurring"]["meter"])
    events = world.meter_events.between(meter["id"], customer_id, start, end)
    return max(Decimal(0), aggregated(meter, events))


def aggregated(meter: StripeObject, events: Sequence[MeterEvent]) -> Decimal:
    """The meter's `default_aggregation` of events in the order of their timestamps: count, sum or last value."""
    if meter["event_time_window"] is not None:
        events = _latest_of_each(events, WINDOW_SECONDS[meter["event_time_window"]])
    match meter["default_aggregation"]["formula"]:
        case "count":
            return Decimal(len(events))
        case "last":
            return events[-1].value if events else Decimal(0)
        case _:
            return sum((event.value for event in events), Decimal(0))


def _latest_of_each(events: Sequence[MeterEvent], seconds: int) -> list[MeterEvent]:
    """Events that were added up before they were sent: of each hour or day in UTC the one that came last counts."""
    latest: dict[int, MeterEvent] = {}
    for event in events:
        window = event.timestamp // seconds
        if window not in latest or event.place > latest[window].place:
            latest[window] = event
    return [latest[window] for window in sorted(latest)]
