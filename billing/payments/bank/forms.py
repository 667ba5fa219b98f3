"""What is typed about the bank, read strictly; whether it is right, reading and the operations say."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminFileFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from billing.payments.bank.camt import CamtRules
from billing.payments.bank.reading import COLUMNS, DATE_FORMATS, DECIMALS, DELIMITERS, ENCODINGS, Rules
from billing.payments.bank.statements import AnyRules, NewAccount
from billing.payments.deciding_admin import RefusableForm

UPLOAD_MAX = 1024 * 1024
CSV, CAMT, CAMT_BY_ID = "csv", "camt.053", "camt.053 by id"
FORMATS = (
    (CSV, "CSV with a header"),
    (CAMT, "camt.053 (ISO 20022 XML)"),
    (CAMT_BY_ID, "camt.053, lines told apart by the bank's reference (AcctSvcrRef)"),
)


def _choice(values: Sequence[str], label: str, help_text: str = "") -> forms.ChoiceField:
    return forms.ChoiceField(
        choices=[(value, value) for value in values], widget=UnfoldAdminSelectWidget, label=label, help_text=help_text
    )


def _text(label: str, help_text: str = "", *, limit: int, required: bool = False) -> forms.CharField:
    return forms.CharField(
        label=label, help_text=help_text, max_length=limit, required=required, widget=UnfoldAdminTextInputWidget
    )


class StatementForm(RefusableForm):
    """A file and how it is read. After the first look the file comes back in `content`, so that what is confirmed is
    what was seen."""

    account = _text(
        "Account", "Its name here. An account that is not known yet needs a currency below.", limit=100, required=True
    )
    new_currency = _text("Currency of a new account", "Empty: the account is known. Such as EUR.", limit=3)
    file = forms.FileField(
        required=False,
        widget=UnfoldAdminFileFieldWidget,
        max_length=255,
        help_text="At most 1 MiB; larger ones by manage.py import_bank_statement. Whole days only.",
    )
    file_format = forms.ChoiceField(
        choices=FORMATS,
        required=False,
        widget=UnfoldAdminSelectWidget,
        label="What it is",
        help_text="All below is of CSV; camt.053 says it by itself.",
    )
    columns = forms.CharField(
        max_length=2_000,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6}),
        help_text=f"One a line, such as booked=Buchungstag. There are {', '.join(COLUMNS)}.",
    )
    date_format = _choice(tuple(DATE_FORMATS), "Dates are written")
    decimal = _choice(tuple(DECIMALS), "Decimal sign")
    delimiter = _choice(tuple(DELIMITERS), "Columns are parted by")
    encoding = _choice(ENCODINGS, "Encoding")
    header_line = forms.IntegerField(
        initial=1,
        min_value=1,
        max_value=100,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="What is above is left out.",
    )
    opening = _text("Balance before", "As it is written on the statement; empty: not checked.", limit=40)
    closing = _text("Balance after", "With the balance before it, the lines have to come to it.", limit=40)
    content = forms.CharField(required=False, widget=forms.HiddenInput)
    file_name = forms.CharField(required=False, max_length=255, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        told: dict[str, Any] = super().clean() or {}
        told["bytes"] = self._bytes(told)
        told["file_format"] = told.get("file_format") or CSV
        told["pairs"] = self._pairs(told.get("columns", "")) if told["file_format"] == CSV else {}
        if told["file_format"] == CSV and not told["pairs"] and "columns" not in self.errors:
            self.add_error("columns", "Say which column is what.")
        return told

    def _bytes(self, told: dict[str, Any]) -> bytes:
        file = told.get("file")
        if file is not None:
            if file.size > UPLOAD_MAX:
                self.add_error("file", "The file is larger than 1 MiB: use manage.py import_bank_statement, or cut it.")
                return b""
            told["file_name"] = file.name
            content: bytes = file.read()
            return content
        try:
            seen = base64.b64decode(told.get("content", ""), validate=True)
        except (binascii.Error, ValueError):
            seen = b""
        if not seen:
            self.add_error("file", "Choose the file.")
        return seen

    def _pairs(self, text: str) -> dict[str, str]:
        pairs: dict[str, str] = {}
        for line in filter(None, (line.strip() for line in text.splitlines())):
            name, _, column = (part.strip() for part in line.partition("="))
            if not column or name in pairs:
                self.add_error("columns", f"{line[:80]!r}: write what=column, each once.")
            pairs[name] = column
        return pairs

    def rules(self) -> AnyRules:
        told = self.cleaned_data
        if told["file_format"] != CSV:
            return CamtRules(by_id=told["file_format"] == CAMT_BY_ID)
        names = ("date_format", "decimal", "delimiter", "encoding", "header_line", "opening", "closing")
        return Rules(columns=told["pairs"], **{name: told[name] for name in names})

    def new_account(self) -> NewAccount | None:
        currency = self.cleaned_data["new_currency"].upper()
        return NewAccount(currency) if currency else None

    def seen(self) -> dict[str, str]:
        """What goes back to the reader in hidden fields, to be confirmed."""
        told = self.cleaned_data
        given = {name: str(told[name]) for name in self.fields if name not in ("file", "content", "file_name")}
        return {**given, "content": base64.b64encode(told["bytes"]).decode(), "file_name": told["file_name"]}


class WhyForm(RefusableForm):
    reason = forms.CharField(
        label="Why",
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="For whoever asks later. It is kept.",
    )


class CloseForm(WhyForm):
    """The last day of an account; none: it is open."""

    closed_on = forms.DateField(
        label="Last day",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
        help_text="Empty: the account is open after all.",
    )
    field_order = ("closed_on", "reason")


class MatchForm(WhyForm):
    """Which of the other side it is."""

    chosen = forms.MultipleChoiceField(label="It is", widget=UnfoldAdminCheckboxSelectMultipleWidget)
    difference = forms.IntegerField(required=False, widget=forms.HiddenInput)
    field_order = ("chosen", "reason")

    def __init__(self, *args: Any, choices: Sequence[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["chosen"].choices = choices  # type: ignore[attr-defined]
