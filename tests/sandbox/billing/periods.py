"""Billing periods from an anchor: its day is kept, clamped to short months and restored after them. UTC, half-open."""

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime

DAY_SECONDS = 86_400
SECONDS = {"day": DAY_SECONDS, "week": 7 * DAY_SECONDS}
MONTHS = {"month": 1, "year": 12}


@dataclass(frozen=True, slots=True)
class Interval:
    """`count` times day, week, month or year."""

    unit: str
    count: int


def boundary(anchor: int, interval: Interval, steps: int) -> int:
    """The anchor moved by `steps` whole intervals (also negative), always counted from the anchor itself."""
    if interval.unit in SECONDS:
        return anchor + steps * interval.count * SECONDS[interval.unit]
    start = datetime.fromtimestamp(anchor, UTC)
    months = start.year * 12 + start.month - 1 + steps * interval.count * MONTHS[interval.unit]
    year, month = divmod(months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def boundary_after(anchor: int, interval: Interval, moment: int) -> int:
    """The first period boundary later than `moment`."""
    steps = _steps_near(anchor, interval, moment)
    while boundary(anchor, interval, steps) > moment:
        steps -= 1
    while boundary(anchor, interval, steps) <= moment:
        steps += 1
    return boundary(anchor, interval, steps)


def boundary_before(anchor: int, interval: Interval, moment: int) -> int:
    """The last period boundary earlier than `moment`."""
    steps = _steps_near(anchor, interval, moment)
    while boundary(anchor, interval, steps) < moment:
        steps += 1
    while boundary(anchor, interval, steps) >= moment:
        steps -= 1
    return boundary(anchor, interval, steps)


def _steps_near(anchor: int, interval: Interval, moment: int) -> int:
    days = interval.count * {"day": 1, "week": 7, "month": 30, "year": 365}[interval.unit]
    return (moment - anchor) // (days * DAY_SECONDS)
