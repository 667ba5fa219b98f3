"""
Days and instants as people enter them on forms and in addresses: the fields that read them, and the days of months.

All of it is UTC, and lies where a span around it can still be reckoned with.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms

EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class Moment(forms.DateTimeInput):
    """The browser's own picker; what it sends is read as UTC, as everything in the admin is."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(attrs={"class": "bb-input", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")


class Day(forms.DateInput):
    input_type = "date"

    def __init__(self) -> None:
        super().__init__(attrs={"class": "bb-input"}, format="%Y-%m-%d")


class InstantField(forms.DateTimeField):
    """An instant that may be left out."""

    widget = Moment
    default_error_messages = {"invalid": "Enter an instant such as 2026-10-31 23:59:59, or nothing."}

    def __init__(self, label: str) -> None:
        super().__init__(label=label, required=False)

    def to_python(self, value: Any) -> datetime | None:
        instant = super().to_python(value)
        if instant is None:
            return None
        if not EARLIEST <= instant <= LATEST:
            raise forms.ValidationError(f"Choose an instant between {EARLIEST:%Y} and {LATEST:%Y}.")
        return instant.astimezone(UTC)


class DayField(forms.DateField):
    widget = Day
    default_error_messages = dict.fromkeys(("invalid", "required"), "Enter a day such as 2026-10-31.")

    def __init__(self, label: str) -> None:
        super().__init__(label=label)

    def to_python(self, value: Any) -> date | None:
        day = super().to_python(value)
        if day is not None and not EARLIEST.date() <= day <= LATEST.date():
            raise forms.ValidationError(f"Choose a day between {EARLIEST:%Y-%m-%d} and {LATEST:%Y-%m-%d}.")
        return day


def midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)


def month_of(day: date) -> tuple[date, date]:
    """
    Its first day, and the first of the month after.

    :raises OverflowError: in December of 9999.
    """
    first = day.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)
