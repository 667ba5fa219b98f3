"""
Where billing periods begin and end. Pure: instants in UTC, half-open intervals, no clock.

A monthly boundary keeps the anchor's day and time; in a month that is too short it falls on the last day, and the
next long month has the anchor's day again (field.md, "anchor 29/30/31"). Every boundary is counted from the anchor
itself, never from the boundary before it: otherwise one February would pull all later ones to the 28th.
"""

import calendar
from datetime import UTC, datetime, timedelta

MONTHS_PER_YEAR = 12


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


def period_containing(anchor_at: datetime, at: datetime) -> tuple[datetime, datetime]:
    """Return the one interval [start, end) between two neighbouring boundaries that holds `at`."""
    anchor, at = _in_utc(anchor_at), _in_utc(at)
    months = (at.year - anchor.year) * MONTHS_PER_YEAR + at.month - anchor.month
    if boundary(anchor_at, months) > at:
        months -= 1
    return boundary(anchor_at, months), boundary(anchor_at, months + 1)


def floor_hour(at: datetime) -> datetime:
    """Return the full hour, in UTC, in which `at` lies."""
    return _in_utc(at).replace(minute=0, second=0, microsecond=0)


def last_instant(ends_at: datetime) -> datetime:
    """Return the last representable instant before the exclusive end of a period."""
    return ends_at - timedelta(microseconds=1)


def _in_utc(at: datetime) -> datetime:
    """Return the instant with UTC itself as its zone; arithmetic on a zone that is UTC only in winter would drift."""
    if at.utcoffset() != timedelta(0):
        raise ValueError(f"{at!r} is not an instant in UTC")
    return at.astimezone(UTC)
