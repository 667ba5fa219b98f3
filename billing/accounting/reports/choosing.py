"""
What a report is asked for: read from the address, so that a page can be sent to somebody and shows them the same.

`before=2026-11-01T00:00:00`: with effect up to then, without that instant; `known_at=…`: as known then, included. In
UTC. Left out, both are now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import QueryDict

from billing.accounting.reports.ageing import Age
from ledger.instants import EARLIEST, LATEST, InstantField, midnight

INSTANT = timedelta(microseconds=1)
MONTHS_SHOWN, MONTHS_MAX = 6, 24
KEY_LENGTH_MAX = 64


class ReportForm(forms.Form):
    """What every report is asked for. The names are those of the address."""

    before = InstantField("With effect before (UTC)")
    known_at = InstantField("As known at (UTC)")


class CurrencyField(forms.RegexField):
    def __init__(self) -> None:
        super().__init__(
            r"\A[A-Z]{3}\Z",
            label="Currency",
            required=False,
            widget=forms.TextInput(attrs={"class": "bb-input", "size": 4, "maxlength": 3, "placeholder": "all"}),
            error_messages={"invalid": "Give three capital letters, such as USD."},
        )


class AgeingForm(ReportForm):
    customer = forms.CharField(
        label="Customer key",
        required=False,
        max_length=KEY_LENGTH_MAX,
        widget=forms.TextInput(attrs={"class": "bb-input", "size": 14, "placeholder": "all"}),
    )
    currency = CurrencyField()
    age = forms.ChoiceField(
        label="Past due",
        required=False,
        choices=[("", "all"), *((age.name.lower(), str(age)) for age in Age)],
        widget=forms.Select(attrs={"class": "bb-input"}),
    )


class CreditForm(ReportForm):
    month = forms.RegexField(
        r"\A[0-9]{4}-(0[1-9]|1[0-2])\Z",
        label="Movement of",
        required=False,
        widget=forms.TextInput(attrs={"class": "bb-input", "type": "month"}),
        error_messages={"invalid": "Give a month, such as 2026-10."},
    )
    currency = CurrencyField()
    kind = forms.SlugField(
        label="Kind",
        required=False,
        widget=forms.TextInput(attrs={"class": "bb-input", "size": 12, "placeholder": "all"}),
    )

    def clean_month(self) -> str:
        month: str = self.cleaned_data["month"]
        if month and not EARLIEST.year <= int(month[:4]) < LATEST.year:
            raise forms.ValidationError(f"Choose a month between {EARLIEST:%Y} and {LATEST:%Y}.")
        return month


class IncomeForm(ReportForm):
    months = forms.IntegerField(
        label="Months",
        required=False,
        min_value=1,
        max_value=MONTHS_MAX,
        widget=forms.NumberInput(attrs={"class": "bb-input", "placeholder": MONTHS_SHOWN}),
    )
    currency = CurrencyField()


@dataclass(frozen=True, slots=True)
class Choice:
    """
    The instants to show, both included, and the other things asked for, by name. An address that cannot be read shows
    the report of now, and what is wrong on the form.
    """

    form: ReportForm
    effective_at: datetime
    known_at: datetime
    asked: Mapping[str, Any]

    @property
    def is_valid(self) -> bool:
        return not self.form.errors

    @property
    def is_of_the_past(self) -> bool:
        """Whether something that is recorded by now may be left out."""
        return "known_at" in self.asked

    @property
    def query(self) -> str:
        """The same report again."""
        return self.query_with()

    def query_with(self, **changed: object) -> str:
        """The same instants, with other things asked for; "" leaves one out."""
        parts = {name: _text(value) for name, value in {**self.asked, **changed}.items()}
        return urlencode({name: text for name, text in parts.items() if text})

    def presets(self, now: datetime) -> list[tuple[str, str]]:
        """Words, and the address of what they say."""
        this_month = midnight(now.date().replace(day=1))
        month_before = midnight((this_month - timedelta(days=1)).date().replace(day=1))
        instants = (this_month, month_before)
        return [
            ("Now", self.query_with(before="", known_at="")),
            *((f"End of {instant - INSTANT:%B %Y}", self.query_with(before=instant)) for instant in instants),
        ]

    @property
    def as_known_now(self) -> str:
        return self.query_with(known_at="")


def choose(form_class: type[ReportForm], query: QueryDict, *, now: datetime) -> Choice:
    """What the address asks for, at `now`."""
    form = form_class(query)
    asked = {name: value for name, value in form.cleaned_data.items() if value} if form.is_valid() else {}
    before = asked.get("before")
    return Choice(
        form=form,
        effective_at=before - INSTANT if before else now,
        known_at=asked.get("known_at", now),
        asked=asked,
    )


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat()
    return str(value)
