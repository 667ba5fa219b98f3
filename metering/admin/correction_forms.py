"""The forms of corrections. They read what was typed; whether it can be done, the operations say, field by field.

The idempotency key is made when a form is first shown and travels with it: however often it is sent, it drafts once.
"""

import uuid
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from metering.correction_store import Selection
from metering.event_keys import event_key
from metering.import_rules import BadRule, ImportRules, check_rules, decode_json_line, split_pairs
from metering.instants import EXAMPLE, read_instant
from metering.models import Correction
from metering.operations import Asked, CorrectionRefused

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_NAMED = 5_000
_KEY_PREFIX = "admin-correction"
_INSTANT = f"A day, or {EXAMPLE}; UTC without an offset."


def _text(label: str, help_text: str = "", *, required: bool = False, rows: int = 0, limit: int = 500) -> Any:
    widget = UnfoldAdminTextareaWidget(attrs={"rows": rows}) if rows else UnfoldAdminTextInputWidget()
    return forms.CharField(label=label, help_text=help_text, required=required, max_length=limit, widget=widget)


class Refusable(forms.Form):
    """A form that can show what an operation refused, at the field to mend."""

    def show(self, refusal: CorrectionRefused) -> None:
        self.add_error(refusal.field if refusal.field in self.fields else None, str(refusal))


class AskingForm(Refusable):
    """What every correction says: why. Subclasses add which events."""

    reason_code = forms.ChoiceField(label="Reason", choices=Correction.REASONS, widget=UnfoldAdminSelectWidget)
    reason = _text("Why", "For whoever asks later. It stays with the correction.", required=True, rows=3)
    idempotency_key = forms.RegexField(regex=rf"^{_KEY_PREFIX}:[0-9a-f-]{{36}}$", widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("idempotency_key", f"{_KEY_PREFIX}:{uuid.uuid4()}")

    def asked(self, actor: str) -> Asked:
        """Why, by whom, under which key. Only of a valid form."""
        told = self.cleaned_data
        return Asked(told["reason_code"], told["reason"], actor, told["idempotency_key"])


class SelectionForm(AskingForm):
    """Events by their names, or all of a range that fit."""

    events = _text(
        "Events",
        "One a line: its key, or source and id with a space between. Leave it empty to choose by what follows.",
        rows=4,
        limit=MAX_NAMED * 520,
    )
    customer_key = _text("Customer key", limit=128)
    event_type = _text("Type", "Such as llm.request; empty: every type.", limit=128)
    source = _text("Source", "Such as import/october.csv; empty: every source.", limit=256)
    start = _text("From", _INSTANT, limit=64)
    end = _text("Before", "Not included.", limit=64)
    where = _text("Dimensions", "One a line, such as model=claude-opus-4-1. Several of one name: any of them.", rows=2)
    field_order = (
        "events",
        "customer_key",
        "event_type",
        "source",
        "start",
        "end",
        "where",
        "reason_code",
        "reason",
        "idempotency_key",
    )

    def clean_events(self) -> list[str]:
        lines = [line.strip() for line in self.cleaned_data["events"].splitlines() if line.strip()]
        if len(lines) > MAX_NAMED:
            raise forms.ValidationError(f"At most {MAX_NAMED:,} events by name. Choose more by their range.")
        return [self._key(line) for line in lines]

    def _key(self, line: str) -> str:
        try:
            return uuid.UUID(line).hex
        except ValueError:
            source, space, event_id = line.partition(" ")
        if not space:
            raise forms.ValidationError(f"{line[:80]!r} is no key. Write source and id with a space between.")
        return event_key(source, event_id)

    def clean_start(self) -> datetime | None:
        return _instant(self.cleaned_data["start"])

    def clean_end(self) -> datetime | None:
        return _instant(self.cleaned_data["end"])

    def clean_where(self) -> dict[str, list[str]]:
        where: dict[str, list[str]] = {}
        for line in self.cleaned_data["where"].splitlines():
            if line.strip():
                path, equals, text = line.strip().partition("=")
                if not (path and equals):
                    raise forms.ValidationError(f"{line.strip()[:80]!r}: write name=value.")
                where.setdefault(path.strip().removeprefix("data."), []).append(text.strip())
        return where

    def selection(self) -> Selection:
        """What was chosen. Only of a valid form; names win over a range."""
        told = self.cleaned_data
        if told["events"]:
            return Selection(keys=told["events"])
        names = ("start", "end", "customer_key", "event_type", "source", "where")
        return Selection(**{name: told[name] for name in names})


class AmendForm(AskingForm):
    """What takes an event's place: the same until it is changed."""

    event_type = _text("Type", required=True, limit=128)
    customer_key = _text("Customer key", required=True, limit=128)
    time = _text("Time", "RFC 3339, such as 2026-10-03T10:00:00.123456Z.", required=True, limit=64)
    data = _text(
        "Data", "A JSON object; numbers stay exactly as they are written.", required=True, rows=8, limit=65_536
    )
    field_order = ("event_type", "customer_key", "time", "data", "reason_code", "reason", "idempotency_key")

    def clean_data(self) -> Any:
        try:
            return decode_json_line(self.cleaned_data["data"].encode(errors="surrogatepass"))
        except ValueError as error:
            raise forms.ValidationError(f"This is no JSON object: {error}.") from None


class BackfillForm(AskingForm):
    file = forms.FileField(
        label="File",
        widget=UnfoldAdminFileFieldWidget,
        max_length=255,
        help_text=f"CSV with a header, or JSON lines; at most {MAX_FILE_BYTES // 2**20} MiB.",
    )
    columns = _text(
        "Columns",
        "One a line, such as time=created_at or data.input_tokens=tokens_in. JSON lines that are events need none.",
        rows=5,
        limit=4_000,
    )
    constants = _text("Where a row has none", "One a line, such as type=llm.request.", rows=2, limit=4_000)
    source = _text(
        "Source", "Empty: backfill/ and the file's name. Rows without an id get one of their line.", limit=256
    )
    time_zone = _text("Zone of times without an offset", "Such as UTC or Europe/Berlin; empty refuses them.", limit=64)
    field_order = (
        "file",
        "columns",
        "constants",
        "source",
        "time_zone",
        "reason_code",
        "reason",
        "idempotency_key",
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > MAX_FILE_BYTES:
            raise forms.ValidationError("The file is too large. Cut it into several, or use manage.py import_usage.")
        return file

    def clean(self) -> dict[str, Any]:
        told: dict[str, Any] = super().clean() or {}
        if not self.errors:
            try:
                told["rules"] = self._rules(told)
            except BadRule as error:
                self.add_error("columns", str(error))
        return told

    def _rules(self, told: dict[str, Any]) -> ImportRules:
        def pairs(name: str) -> dict[str, str]:
            lines = [line.strip() for line in told[name].splitlines() if line.strip()]
            return split_pairs(lines, str(self.fields[name].label))

        rules = ImportRules(
            source=told["source"] or f"backfill/{told['file'].name}",
            columns=pairs("columns"),
            constants=pairs("constants"),
            time_zone=told["time_zone"],
        )
        check_rules(rules)
        return rules


class WordsForm(Refusable):
    words = _text("Why", "For whoever asks later. It stays with the correction.", required=True, rows=3)


def _instant(text: str) -> datetime | None:
    if not text.strip():
        return None
    try:
        return read_instant(text, ZoneInfo("UTC")).astimezone(UTC)
    except ValueError as error:
        raise forms.ValidationError(str(error)) from None
