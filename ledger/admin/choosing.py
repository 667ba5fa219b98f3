"""
Which span a statement shows, and as known when: read from the address, so that a page can be sent to somebody.

`month=2026-10`, or `from=2026-10-01&before=2026-11-01` (days, the second one not included), and `known_at=…`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode

from django import forms
from django.http import QueryDict

from ledger.instants import DayField, InstantField, midnight, month_of
from ledger.queries import Span

DAYS_MAX = 36_525


class SpanForm(forms.Form):
    """What the address says, as the page shows it again."""

    # "from" is a word of Python's, so the fields are given by name.
    before = DayField("Before (UTC)")
    known_at = InstantField("As known at (UTC)")
    field_order = ["from", "before", "known_at"]

    def __init__(self, data: Mapping[str, str]) -> None:
        super().__init__(data)
        self.fields["from"] = DayField("From (UTC)")
        self.order_fields(self.field_order)

    def clean(self) -> dict[str, object]:
        cleaned = self.cleaned_data
        if not self.errors and cleaned["from"] > cleaned["before"]:
            self.add_error("before", "The span ends before it begins. Choose a later day.")
        elif not self.errors and (cleaned["before"] - cleaned["from"]).days > DAYS_MAX:
            self.add_error("before", "The span is longer than a hundred years. Choose an earlier day.")
        return cleaned


@dataclass(frozen=True, slots=True)
class Preset:
    label: str
    query: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """The span to show. `query` says it in an address, `earlier` and `later` say the months or spans beside it."""

    span: Span
    label: str
    form: SpanForm
    query: str
    as_known_now: str
    earlier: str
    later: str
    presets: tuple[Preset, ...]

    @property
    def is_valid(self) -> bool:
        return not self.form.errors


def choose(asked: QueryDict, *, now: datetime, latest: datetime | None) -> Choice:
    """
    The span asked for; without one the month of `latest`, the newest thing there is to see, or of now.

    What cannot be read is said on the form, and that month is shown.
    """
    first, last = month_of((latest or now).astimezone(UTC).date())
    data = {"from": first.isoformat(), "before": last.isoformat(), "known_at": asked.get("known_at", "")}
    month = _month_asked(asked.get("month", ""))
    if month is not None:
        data["from"], data["before"] = (day.isoformat() for day in month)
    elif asked.get("month"):
        data["from"], data["before"] = asked.get("month", ""), ""
    elif "from" in asked or "before" in asked:
        data["from"], data["before"] = asked.get("from", ""), asked.get("before", "")
    form = SpanForm(data)
    known_at = None
    if form.is_valid():
        first, last, known_at = form.cleaned_data["from"], form.cleaned_data["before"], form.cleaned_data["known_at"]
    return Choice(
        span=Span(midnight(first), midnight(last), known_at),
        label=label_of(first, last),
        form=form,
        query=_query(first, last, known_at),
        as_known_now=_query(first, last, None),
        earlier=_query(*_beside(first, last, step=-1), known_at),
        later=_query(*_beside(first, last, step=1), known_at),
        presets=tuple(
            Preset(label, _query(*days, known_at), days == (first, last)) for label, days in _presets(now.date())
        ),
    )


def label_of(first: date, before: date) -> str:
    """As a heading has it: "October 2026", "2026", or both days, the last one included."""
    if (first, before) == month_of(first):
        return f"{first:%B %Y}"
    if (first, before) == _year_of(first):
        return f"{first:%Y}"
    if first >= before:
        return f"{first.day} {first:%B %Y}, nothing"
    last = before - timedelta(days=1)
    return f"{first.day} {first:%B %Y} to {last.day} {last:%B %Y}"


def _presets(today: date) -> list[tuple[str, tuple[date, date]]]:
    this_month = month_of(today)
    this_year = _year_of(today)
    return [
        ("This month", this_month),
        ("Last month", month_of(this_month[0] - timedelta(days=1))),
        ("Last twelve months", (_a_year_before(this_month[1]), this_month[1])),
        ("This year", this_year),
        ("Last year", _year_of(this_year[0] - timedelta(days=1))),
    ]


def _beside(first: date, before: date, *, step: int) -> tuple[date, date]:
    """The month beside a month, the year beside a year, else as many days."""
    if (first, before) == month_of(first):
        return month_of(before if step > 0 else first - timedelta(days=1))
    if (first, before) == _year_of(first):
        return _year_of(before if step > 0 else first - timedelta(days=1))
    length = before - first
    return (before, before + length) if step > 0 else (first - length, first)


def _year_of(day: date) -> tuple[date, date]:
    return day.replace(month=1, day=1), day.replace(year=day.year + 1, month=1, day=1)


def _a_year_before(day: date) -> date:
    return day.replace(year=day.year - 1)


def _month_asked(text: str) -> tuple[date, date] | None:
    try:
        return month_of(date.fromisoformat(f"{text}-01"))
    except (ValueError, OverflowError):
        return None


def _query(first: date, before: date, known_at: datetime | None) -> str:
    parts = {"from": first.isoformat(), "before": before.isoformat()}
    if known_at is not None:
        parts["known_at"] = known_at.astimezone(UTC).replace(tzinfo=None).isoformat()
    return urlencode(parts)
