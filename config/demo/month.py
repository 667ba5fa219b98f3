"""The calendar month the demo lives through."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_FORM = re.compile(r"^(\d{4})-(\d{2})$")


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC: the half-open interval [starts_at, ends_at)."""

    starts_at: datetime
    ends_at: datetime

    def __str__(self) -> str:
        return f"{self.starts_at:%Y-%m}"

    @property
    def hours(self) -> int:
        return int((self.ends_at - self.starts_at).total_seconds()) // 3600


def _first_of(year: int, month: int) -> datetime:
    """Return the first instant of a month; 13 is January of the next year."""
    return datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC)


def parse_month(text: str) -> Month:
    """Return the month named YYYY-MM. Raises ValueError with a sentence for the user."""
    match = _FORM.match(text)
    if match is None or not 1 <= int(match[2]) <= 12 or int(match[1]) < 2000:
        message = f"MONTH must look like 2026-10, not {text!r}."
        raise ValueError(message)
    year, month = int(match[1]), int(match[2])
    return Month(_first_of(year, month), _first_of(year, month + 1))


def last_complete_month(now: datetime) -> Month:
    """Return the calendar month before the one `now` lies in."""
    year, month = (now.year, now.month - 1) if now.month > 1 else (now.year - 1, 12)
    return Month(_first_of(year, month), _first_of(year, month + 1))
