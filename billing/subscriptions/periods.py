"""
Where billing periods begin and end. Pure: instants in UTC, half-open intervals, no clock.

A boundary keeps the anchor's day and time; in a month that is too short it falls on the last day, and the next long
month has the anchor's day again (field.md, "anchor 29/30/31"). Every boundary is counted from the anchor itself, never
from the boundary before it: otherwise one February would pull all later ones to the 28th. Years are twelve months, so
a 29th of February comes back every fourth year (Zulip's is the 28th for ever).

An anchor counts in UTC, as Stripe does. A calendar's day, week, month or year begins at midnight in its own zone,
whatever the clocks do there: the boundary is worked out on the zone's wall and turned into an instant last.
"""

import calendar
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from billing.catalog.models import Alignment

MICROSECOND = timedelta(microseconds=1)
MONTHS_PER_YEAR = 12
_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "year": MONTHS_PER_YEAR}
INTERVALS = (*_DAYS, *_MONTHS)
# ISO weeks begin on Monday. Two-week periods of the calendar are counted from this one, as are those of any count.
_FIRST_MONDAY = date(1, 1, 1)


@dataclass(frozen=True, slots=True)
class Cadence:
    """
    How the boundaries of a subscription follow each other: every `count` days, weeks, months or years.

    With `zone` they are those of the calendar there and the anchor only says where counting begins; without, they are
    the anchor's day and time in UTC. Raises ValueError for an anchor that is not in UTC, a count below one, an unknown
    interval, and a zone that is not known.
    """

    anchor_at: datetime
    interval: str = "month"
    count: int = 1
    zone: str | None = None

    def __post_init__(self) -> None:
        _in_utc(self.anchor_at)
        if self.interval not in INTERVALS:
            raise ValueError(f"interval is {self.interval!r}; it must be one of {', '.join(INTERVALS)}")
        if self.count < 1:
            raise ValueError(f"interval_count is {self.count}; it must be at least 1")
        if self.zone is not None:
            zone_of(self.zone)

    def boundary(self, number: int) -> datetime:
        """
        Return the boundary `number` (any sign) after the anchor: number 0 is the anchor itself, or the last boundary of
        the calendar at or before it.
        """
        if self.zone is not None:
            return self._of_calendar(self._calendar_number(self.anchor_at) + number)
        if self.interval in _DAYS:
            return _in_utc(self.anchor_at) + timedelta(days=self._days * number)
        return boundary(self.anchor_at, self._months * number)

    def number_at(self, at: datetime) -> int:
        """Return the number of the last boundary at or before the instant."""
        at = _in_utc(at)
        if self.zone is not None:
            return self._calendar_number(at) - self._calendar_number(self.anchor_at)
        anchor = _in_utc(self.anchor_at)
        if self.interval in _DAYS:
            return (at - anchor) // timedelta(days=self._days)
        months = (at.year - anchor.year) * MONTHS_PER_YEAR + at.month - anchor.month
        if boundary(anchor, months) > at:
            months -= 1
        return months // self._months

    def containing(self, at: datetime) -> tuple[datetime, datetime]:
        """Return the one interval [start, end) between two neighbouring boundaries that holds `at`."""
        number = self.number_at(at)
        return self.boundary(number), self.boundary(number + 1)

    def after(self, at: datetime) -> datetime:
        """Return the first boundary after the instant, which may itself be one."""
        return self.boundary(self.number_at(at) + 1)

    def nearest(self, at: datetime) -> datetime:
        """Return the boundary that is closest to the instant; of two the earlier."""
        start, end = self.containing(at)
        return start if at - start <= end - at else end

    @property
    def _days(self) -> int:
        return _DAYS[self.interval] * self.count

    @property
    def _months(self) -> int:
        return _MONTHS[self.interval] * self.count

    def _calendar_number(self, at: datetime) -> int:
        """Return which of the calendar's periods, counted from its beginning, holds the instant."""
        here = at.astimezone(zone_of(self.zone or "UTC")).date()
        number = self._number_of_day(here)
        # A zone that turns its clocks at midnight has days that begin late: the wall's midnight is not this day's then.
        while self._of_calendar(number + 1) <= at:
            number += 1
        while self._of_calendar(number) > at:
            number -= 1
        return number

    def _number_of_day(self, day: date) -> int:
        if self.interval in _DAYS:
            return (day - _FIRST_MONDAY).days // self._days
        return (day.year * MONTHS_PER_YEAR + day.month - 1) // self._months

    def _of_calendar(self, number: int) -> datetime:
        if self.interval in _DAYS:
            day = _FIRST_MONDAY + timedelta(days=self._days * number)
        else:
            year, month = divmod(self._months * number, MONTHS_PER_YEAR)
            day = date(year, month + 1, 1)
        return start_of_day(day, self.zone or "UTC")


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open interval of a subscription, and what it is: regular, trial or paused."""

    starts_at: datetime
    ends_at: datetime
    kind: str


def cadence_of(*, interval: str, interval_count: int, alignment: str, time_zone: str, anchor_at: datetime) -> Cadence:
    """Return the cadence that a plan version's terms and a subscription's anchor come to. Raises as Cadence does."""
    zone = time_zone if alignment == Alignment.CALENDAR else None
    return Cadence(anchor_at, interval, interval_count, zone)


def timeline(
    cadence: Cadence,
    *,
    starts_at: datetime,
    until: datetime,
    trial_ends_at: datetime | None = None,
    pauses: Sequence[tuple[datetime, datetime]] = (),
) -> Iterator[Span]:
    """
    Yield what a subscription consists of from `starts_at` on, up to the span that holds `until`: half-open, without gap
    or overlap.

    A trial is one span. A pause cuts the period in which it begins and is a span of its own; when it ends, the rest of
    the period goes on, so boundaries stay where they were. Raises ValueError for pauses that are empty, overlap or come
    before the trial is over.
    """
    at = _in_utc(starts_at)
    if trial_ends_at is not None:
        if trial_ends_at <= at:
            raise ValueError("a trial ends after it has begun")
        yield Span(at, trial_ends_at, "trial")
        at = trial_ends_at
    for pause_starts, pause_ends in sorted(pauses):
        if not at <= pause_starts < pause_ends:
            raise ValueError("a pause must have a length, and may not overlap another one or the trial")
        while at < pause_starts and at <= until:
            ends_at = min(cadence.after(at), pause_starts)
            yield Span(at, ends_at, "regular")
            at = ends_at
        if at > until:
            return
        yield Span(pause_starts, pause_ends, "paused")
        at = pause_ends
    while at <= until:
        ends_at = cadence.after(at)
        yield Span(at, ends_at, "regular")
        at = ends_at


def boundary(anchor_at: datetime, months: int) -> datetime:
    """
    Return the instant `months` (any sign) after the anchor, clamped to the last day of its month.

    Raises ValueError when the anchor is not in UTC: a month of another zone would begin at another instant.
    """
    anchor = _in_utc(anchor_at)
    years, month_index = divmod(anchor.month - 1 + months, MONTHS_PER_YEAR)
    year, month = anchor.year + years, month_index + 1
    day = min(anchor.day, calendar.monthrange(year, month)[1])
    return anchor.replace(year=year, month=month, day=day)


def start_of_day(day: date, zone: str) -> datetime:
    """
    Return the instant, in UTC, of a day's midnight in a zone.

    Where midnight happens twice it is the first. Where clocks jump over it, it is the jump: `fold` 0 counts with the
    offset before (PEP 495), so the wall's 00:00 is the very instant at which it shows 01:00.
    """
    return datetime(day.year, day.month, day.day, tzinfo=zone_of(zone)).astimezone(UTC)


def floor_hour(at: datetime) -> datetime:
    """Return the full hour, in UTC, in which `at` lies."""
    return _in_utc(at).replace(minute=0, second=0, microsecond=0)


def last_instant(ends_at: datetime) -> datetime:
    """Return the last representable instant before the exclusive end of a period."""
    return ends_at - MICROSECOND


def zone_of(name: str) -> ZoneInfo:
    """Return a zone by its IANA name. Raises ValueError where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; name one such as Europe/Paris") from error


def _in_utc(at: datetime) -> datetime:
    """Return the instant with UTC itself as its zone; arithmetic on a zone that is UTC only in winter would drift."""
    if at.utcoffset() != timedelta(0):
        raise ValueError(f"{at!r} is not an instant in UTC")
    return at.astimezone(UTC)
