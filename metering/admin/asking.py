"""
What the address of a usage page asks for, read and checked: a span of time and the zone it is written and shown in.

Everything is in the address, so that a page can be sent to somebody. The zone chosen last is remembered for the next
page that is opened without one.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.http import HttpRequest, QueryDict

from metering.instants import EXAMPLE, read_instant, zone_names, zone_of

ZONE_KEPT = "metering_zone"
TEXT_MAX = 256


def text_field(label: str, *, placeholder: str = "", max_length: int = TEXT_MAX) -> forms.CharField:
    widget = forms.TextInput(attrs={"class": "bb-input", "placeholder": placeholder, "autocomplete": "off"})
    return forms.CharField(label=label, required=False, max_length=max_length, widget=widget, strip=False)


def choice_field(label: str, choices: list[tuple[str, str]]) -> forms.ChoiceField:
    widget = forms.Select(attrs={"class": "bb-input"})
    return forms.ChoiceField(label=label, required=False, choices=choices, widget=widget)


class SpanForm(forms.Form):
    """`from` (included), `before` (not included) and `zone`. `cleaned_data` has `start` and `end` in UTC, or None."""

    zone_choices = staticmethod(zone_names)

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__(data)
        # "from" is a word of Python's, so the fields are given by name.
        self.fields["from"] = text_field("From", placeholder="2026-10-03 10:00")
        self.fields["before"] = text_field("Before", placeholder="2026-10-04 00:00:00.000001")
        self.fields["zone"] = text_field("Time zone", placeholder="UTC")
        self.fields["zone"].widget.attrs.update({"list": "mt-zones", "data-zone-input": ""})
        for name in ("from", "before"):
            self.fields[name].widget.attrs["title"] = f"A day, or {EXAMPLE}"

    @property
    def zone(self) -> ZoneInfo:
        """The zone asked for; UTC where it cannot be read."""
        self.is_valid()  # reads the fields, where nobody asked yet
        return self.cleaned_data.get("zone") or ZoneInfo("UTC")

    def clean_zone(self) -> ZoneInfo:
        try:
            return zone_of(self.cleaned_data["zone"].strip() or "UTC")
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        start, end = self._instant("from"), self._instant("before")
        if start is not None and end is not None and start >= end:
            self.add_error("before", "The span ends before it begins. Choose a later instant.")
        return {**cleaned, "start": start, "end": end}

    def _instant(self, name: str) -> datetime | None:
        text = self.cleaned_data.get(name, "")
        if not text.strip():
            return None
        try:
            return read_instant(text, self.zone)
        except ValueError as error:
            self.add_error(name, str(error))
            return None


def asked_of(request: HttpRequest) -> QueryDict:
    """The query of the address, with the zone that the reader chose last where it names none."""
    asked = request.GET.copy()
    if "zone" not in asked:
        asked["zone"] = request.session.get(ZONE_KEPT, "UTC")
    return asked


def keep_zone(request: HttpRequest, form: SpanForm) -> None:
    """Remember the zone for the next page. Nothing is written where it is the one remembered already."""
    if form.is_valid() and request.session.get(ZONE_KEPT, "UTC") != form.zone.key:
        request.session[ZONE_KEPT] = form.zone.key
