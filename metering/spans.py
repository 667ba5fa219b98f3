"""Ranges of usage, parted into hours, days and months of a time zone. Pure; instants in and out are aware, out UTC."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

WindowSize = Literal["hour", "day", "month", "total"]
WINDOW_SIZES: tuple[WindowSize, ...] = ("hour", "day", "month", "total")
MAX_SPANS = 10_000
_HOUR = timedelta(hours=1)
_YEARS = (1970, 2199)
_SHORTEST = {"hour": timedelta(minutes=30), "day": timedelta(hours=22), "month": timedelta(days=27)}


class InvalidRange(ValueError):
    """Usage was asked for a range, a size or a zone that there is not; the text says which and what to give."""


def zone_named(name: str) -> tzinfo:
    """Raises InvalidRange for a name that is no zone of the IANA database."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidRange(f"There is no time zone {name!r}; give a name such as Europe/Berlin.") from error


def boundaries(start: datetime, end: datetime, size: WindowSize, zone: tzinfo) -> list[datetime]:
    """The instants that part [start, end) into hours, days or months of the zone's wall clock, first and last
    included.

    A day is from one local midnight to the next and has 23 or 25 hours where clocks change; an hour that comes twice is
    two hours, told apart by their instants (Flexprice 74a058381 merged them). Raises InvalidRange.
    """
    if start.tzinfo is None or end.tzinfo is None:
        raise InvalidRange("The start and the end of a range need an offset from UTC, such as Z.")
    if start.year < _YEARS[0] or end.year > _YEARS[1]:
        raise InvalidRange(f"A range lies between the years {_YEARS[0]} and {_YEARS[1]}.")
    first, last = start.astimezone(UTC), end.astimezone(UTC)
    if first >= last:
        raise InvalidRange(f"The range ends at {end.isoformat()}, which is not after its start, {start.isoformat()}.")
    if size not in WINDOW_SIZES:
        raise InvalidRange(f"The window size is one of {', '.join(WINDOW_SIZES)}, not {size!r}.")
    if size == "total":
        return [first, last]
    if (last - first) / _SHORTEST[size] > MAX_SPANS * 2:
        raise InvalidRange(f"More than {MAX_SPANS:,} rows of one {size} each: ask for a shorter range.")
    instants = [first]
    while (following := _next(instants[-1], size, zone)) < last:
        instants.append(following)
    if len(instants) > MAX_SPANS:
        raise InvalidRange(f"More than {MAX_SPANS:,} rows of one {size} each: ask for a shorter range.")
    return [*instants, last]


def cut_hours(instants: Sequence[datetime]) -> list[datetime]:
    """The starts of the UTC hours that any of the instants lies inside of, each once, in order."""
    found = {hour_of(instant) for instant in instants if instant != hour_of(instant)}
    return sorted(found)


def hour_of(instant: datetime) -> datetime:
    """The start of the UTC hour that holds the instant."""
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _next(instant: datetime, size: WindowSize, zone: tzinfo) -> datetime:
    """The first start of a local hour, day or month after the instant."""
    local = instant.astimezone(zone)
    if size == "hour":
        return _next_hour(instant, zone)
    day = local.date() + timedelta(days=1) if size == "day" else _month_after(local.date())
    return _midnight(day, zone)


def _month_after(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _midnight(day: date, zone: tzinfo) -> datetime:
    """The instant at which a local day begins. Where clocks skip midnight, that is when they skip it: a time in the
    gap, taken with the offset from before, is that instant."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _next_hour(instant: datetime, zone: tzinfo) -> datetime:
    """One hour on, on the full hour of the wall clock. Where clocks change by half an hour (Lord Howe), an hour of the
    wall clock has 30 or 90 minutes, or begins with the change."""
    candidate = instant + _HOUR
    local = candidate.astimezone(zone)
    aligned = candidate - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    same_offset = aligned.astimezone(zone).utcoffset() == local.utcoffset()
    return aligned if same_offset and aligned > instant else candidate


def spans(instants: Sequence[datetime]) -> list[tuple[datetime, datetime]]:
    """The half-open spans between neighbouring instants."""
    return list(pairwise(instants))
