"""A customer's usage on a meter, added up for people to see: over a whole range, or by the hour or day."""

import hashlib

from tests.sandbox.billing.prices.metering import WINDOW_SECONDS, aggregated
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

MINUTE = 60


def summaries(
    world: World, meter: StripeObject, customer_id: str, *, period: tuple[int, int], window: str | None
) -> list[StripeObject]:
    """Summaries of [start, end) in Unix seconds, newest first: one, or with `window` one for each hour or day.

    Windows without events have none (assumption). Raises `StripeError` for times that are not on the boundaries of
    minutes, or of the window, in UTC.
    """
    start, end = period
    _check(start, end, window)
    step = WINDOW_SECONDS[window] if window else end - start
    found: list[StripeObject] = []
    for window_start in range(start, end, step):
        events = world.meter_events.between(meter["id"], customer_id, window_start, window_start + step)
        if window is None or events:
            value = aggregated(meter, events)
            summary = _summary(meter, customer_id, (window_start, window_start + step), int(value))
            found.append(summary)
    return found[::-1]


def _check(start: int, end: int, window: str | None) -> None:
    if start >= end:
        raise StripeError("`start_time` must be before `end_time`.", param="start_time")
    alignment, boundaries = (WINDOW_SECONDS[window], f"UTC {window}") if window else (MINUTE, "minute")
    for name, moment in (("start_time", start), ("end_time", end)):
        if moment % alignment:
            raise StripeError(f"`{name}` must be aligned with {boundaries} boundaries. Got {moment}.", param=name)


def _summary(meter: StripeObject, customer_id: str, period: tuple[int, int], value: int) -> StripeObject:
    """An answer and no stored object. The same meter, customer and range have the same id, so that pages can go on."""
    name = f"{meter['id']} {customer_id} {period[0]} {period[1]}"
    return {
        "id": f"mtrusg_{hashlib.sha256(name.encode()).hexdigest()[:24]}",
        "object": "billing.meter_event_summary",
        "aggregated_value": value,
        "end_time": period[1],
        "livemode": False,
        "meter": meter["id"],
        "start_time": period[0],
    }
