"""
The trial balance at any pair of instants, and beside what was known at another: what changed since it was reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from config import clock
from ledger import queries
from ledger.downloads import trial_balances as documents
from ledger.downloads.answers import download, formats
from ledger.downloads.document import Document
from ledger.exact import less, total
from ledger.instants import InstantField, midnight, month_of
from ledger.queries import TrialLine
from ledger.showing import account_url, places_of

VIEW_PERMISSION = "ledger.view_account"
TEMPLATE = "admin/ledger/trial_balance.html"
ENTRIES_SHOWN = 50
_MICROSECOND = timedelta(microseconds=1)


class InstantsForm(forms.Form):
    before = InstantField("With effect before (UTC)")
    known_at = InstantField("As known at (UTC)")
    then = InstantField("Beside what was known at (UTC)")

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        then, known_at = cleaned.get("then"), cleaned.get("known_at")
        if then is not None and known_at is not None and then >= known_at:
            self.add_error("then", "Choose an earlier instant than the one as known at.")
        return cleaned


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the page: an account, what it is now, and what it was as known then (None: nothing compared)."""

    name: str
    url: str
    now: TrialLine
    then: TrialLine | None

    @property
    def difference(self) -> Decimal:
        """Debits above zero."""
        return less(self.now.balance, self.then.balance if self.then else Decimal(0))


@dataclass(frozen=True, slots=True)
class Section:
    """One currency, with its totals: either column adds up to the same."""

    currency: str
    rows: tuple[Row, ...]

    def _sum(self, side: str, column: str) -> Decimal:
        lines = [getattr(row, side) for row in self.rows]
        return total(getattr(line, column) for line in lines if line is not None)

    @property
    def totals(self) -> dict[str, Decimal]:
        return {
            f"{side}_{column}": self._sum(side, column)
            for side in ("now", "then")
            for column in ("debit", "credit", "debit_balance", "credit_balance")
        }

    @property
    def places(self) -> int:
        of_rows = (
            getattr(line, column)
            for row in self.rows
            for line in (row.now, row.then)
            if line is not None
            for column in ("debit", "credit", "balance")
        )
        return places_of((*of_rows, *self.totals.values()))

    @property
    def changed(self) -> int:
        return sum(1 for row in self.rows if row.difference)


def trial_balance_view(request: HttpRequest) -> HttpResponse:
    _require_permission(request)
    form = InstantsForm(request.GET)
    asked: Mapping[str, Any] = form.cleaned_data if form.is_valid() else {}
    before, known_at, then = asked.get("before"), asked.get("known_at"), asked.get("then")
    with queries.one_look():
        now_lines = queries.trial_lines(effective_before=before, known_at=known_at)
        then_lines = queries.trial_lines(effective_before=before, known_at=then) if then else None
        learned = (
            queries.entries_learned(after=then, until=known_at, effective_before=before, limit=ENTRIES_SHOWN + 1)
            if then
            else []
        )
        closing = queries.last_closing()
    query = urlencode({name: _text(value) for name, value in asked.items() if value is not None})
    address = reverse("admin:ledger_trial_balance_download", args=["csv"]).removesuffix("csv")
    context = {
        **admin.site.each_context(request),
        "title": "Trial balance",
        "form": form,
        "before": before,
        "known_at": known_at,
        "then": then,
        "sections": sections_of(now_lines, then_lines),
        "learned": learned[:ENTRIES_SHOWN],
        "more_learned": len(learned) > ENTRIES_SHOWN,
        "presets": _presets(clock.now(), closing),
        # A workbook of more accounts than it can hold says so when it is asked for.
        "downloads": formats(address, query=query, line_count=len(now_lines)),
    }
    return TemplateResponse(request, TEMPLATE, context, status=422 if form.errors else 200)


def download_view(request: HttpRequest, suffix: str) -> HttpResponseBase:
    _require_permission(request)
    form = InstantsForm(request.GET)
    if not form.is_valid():
        return HttpResponseBadRequest("These instants cannot be read. Choose them on the trial balance's page.")
    before, known_at = form.cleaned_data["before"], form.cleaned_data["known_at"]

    def make() -> Document:
        rows = queries.trial_balance(effective_at=before and before - _MICROSECOND, known_at=known_at)
        return documents.of_trial_balance(rows, effective_before=before, known_at=known_at, made_at=clock.now())

    name = documents.name_of_trial_balance(effective_before=before, known_at=known_at)
    return download(suffix, name=name, make=make)


def sections_of(now: Sequence[TrialLine], then: Sequence[TrialLine] | None) -> list[Section]:
    """
    By currency. With something to compare each row has both; a line that was not known then was at zero, and one that
    is not known any more cannot be: nothing is taken back.
    """
    before = {(line.currency, line.kind, line.code): line for line in then or ()}
    rows: dict[str, list[Row]] = {}
    for line in now:
        compared = before.get((line.currency, line.kind, line.code)) if then is not None else None
        if then is not None and compared is None:
            compared = _at_zero(line)
        rows.setdefault(line.currency, []).append(Row(_name(line), _url(line), line, compared))
    return [Section(currency, tuple(of_currency)) for currency, of_currency in rows.items()]


def _at_zero(line: TrialLine) -> TrialLine:
    return TrialLine(line.currency, line.kind, line.account_id, line.code, 0, Decimal(0), Decimal(0))


def _name(line: TrialLine) -> str:
    accounts = "1 customer's account" if line.account_count == 1 else f"{line.account_count:,} accounts of customers"
    return line.code or f"{line.kind}, {accounts}"


def _url(line: TrialLine) -> str:
    if line.account_id is not None:
        return account_url(line.account_id)
    return f"{reverse('admin:ledger_account_changelist')}?{urlencode({'kind': line.kind, 'currency': line.currency})}"


def _require_permission(request: HttpRequest) -> None:
    if not request.user.has_perm(VIEW_PERMISSION):
        raise PermissionDenied


def _presets(now: datetime, closing: queries.Closing | None) -> list[tuple[str, str]]:
    """Words and the address of what people ask for most."""
    this_month = midnight(month_of(now.date())[0])
    last_month = midnight(month_of((this_month - timedelta(days=1)).date())[0])
    presets = [
        ("Everything", ""),
        (f"End of {this_month - timedelta(days=1):%B}", urlencode({"before": _text(this_month)})),
        (f"End of {last_month - timedelta(days=1):%B}", urlencode({"before": _text(last_month)})),
    ]
    if closing is not None:
        instants = {"before": _text(closing.closed_before), "then": _text(closing.decided_at)}
        presets.append(("What changed since the books were closed", urlencode(instants)))
    return presets


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat()
