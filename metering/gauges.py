"""The time-weighted average of a gauge: pure arithmetic over what its windows keep.

The rule is Lago's weighted sum with a value that is carried over
(https://doc.getlago.com/guide/billable-metrics/aggregation-types/weighted-sum-aggregation): a value holds from its
event to the next one, whatever hours or periods end between them, and the average of a range is the sum of each value
times the time it held, divided by the length of the range. Before the first event ever the value is 0. Time is counted
in microseconds: with milliseconds, an event within the millisecond of a boundary falls on its wrong side (lago-api
5104).
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal

_EXACT = Context(prec=200)
_MICROSECOND = timedelta(microseconds=1)
_TWELVE_PLACES = Decimal("1e-12")


@dataclass(frozen=True, slots=True)
class GaugePart:
    """Some neighbouring events of one series, as a whole: the first and last of them, and the integral from the one to
    the other in value × microseconds. It lies between two neighbouring boundaries."""

    first_time: datetime
    last_time: datetime
    last_value: Decimal
    integral: Decimal


def integrate(
    parts: Sequence[GaugePart], boundaries: Sequence[datetime], *, until: datetime | None = None
) -> list[Decimal]:
    """The integral of one series over each span between neighbouring boundaries, in value × microseconds, exact.

    `parts` are in order of time; those before the first boundary say which value it begins with. From `until` on the
    series holds nothing any more, as a later version of the meter took over.
    """
    sums = [Decimal(0)] * (len(boundaries) - 1)
    end = boundaries[-1] if until is None else min(until, boundaries[-1])
    at, value = boundaries[0], Decimal(0)
    for part in parts:
        if part.first_time >= end:
            break
        if part.last_time >= boundaries[0]:
            _hold(sums, boundaries, at, part.first_time, value)
            place = bisect_right(boundaries, part.first_time) - 1
            sums[place] = _EXACT.add(sums[place], part.integral)
            at = part.last_time
        value = part.last_value
    _hold(sums, boundaries, at, end, value)
    return sums


def _hold(sums: list[Decimal], boundaries: Sequence[datetime], start: datetime, end: datetime, value: Decimal) -> None:
    """Add a value that holds from start to end to the spans it reaches into."""
    place = bisect_right(boundaries, start) - 1
    while start < end and value:
        stop = min(end, boundaries[place + 1])
        sums[place] = _EXACT.fma(value, Decimal((stop - start) // _MICROSECOND), sums[place])
        start, place = stop, place + 1


def add(one: Decimal, other: Decimal) -> Decimal:
    """The sum of two integrals, exact: they have more digits than Decimal's context keeps unasked."""
    return _EXACT.add(one, other)


def average(integral: Decimal, start: datetime, end: datetime) -> Decimal:
    """The average over [start, end), rounded once, half away from zero, to 12 places."""
    length = Decimal((end - start) // _MICROSECOND)
    return _EXACT.divide(integral, length).quantize(_TWELVE_PLACES, ROUND_HALF_UP, _EXACT)
