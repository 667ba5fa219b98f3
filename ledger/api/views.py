"""
GET only, each a constant number of queries: the key, then one to three of the ledger.

A service's key needs the scope billing:read; a person who is signed in needs to be staff who may see the ledger.
"""

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode

import msgspec
from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.views import APIView

from ledger import queries
from ledger.api import bodies, parameters
from ledger.api import schema as described
from ledger.api.cursors import cursor_after, place_of
from ledger.api.parameters import PointInTime
from ledger.api.refusals import NotThere, Refusal
from ledger.errors import UnknownAccount
from ledger.models import Account

SEES_THE_LEDGER = "ledger.view_posting"


class LedgerView(APIView):
    """What all have in common: who may read, which parameters there are, and how a refusal is told."""

    required_scopes: ClassVar = {"GET": "billing:read"}
    takes: ClassVar[frozenset[str]] = frozenset()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.auth is None and not request.user.has_perm(SEES_THE_LEDGER):
            self.permission_denied(request, message="Your role may not see the ledger.")
        parameters.require_known(request.query_params, self.takes)

    def handle_exception(self, exc: Exception) -> Any:
        return exc.answer() if isinstance(exc, Refusal) else super().handle_exception(exc)


def _json(body: bodies.Body) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(body), content_type="application/json")


def _accounts_of(customer_key: str) -> list[Account]:
    accounts = queries.accounts_of_customer(customer_key) if customer_key.isprintable() else []
    if not accounts:
        raise NotThere("customer_key", f"The ledger has no accounts of a customer {customer_key!r}. Check the key.")
    return accounts


def _account(code: str) -> Account:
    try:
        return queries.find_account(code if code.isprintable() else "")
    except UnknownAccount:
        raise NotThere("account", f"There is no account {code!r}. Check its code and its currency.") from None


class CustomerBalances(LedgerView):
    takes = frozenset({"currency", "kind", "effective_at", "known_at"})

    @described.customer_balances
    def get(self, request: Request, customer_key: str) -> HttpResponse:
        point = parameters.point_in_time(request.query_params)
        currency, kind = parameters.currency(request.query_params), parameters.kind(request.query_params)
        accounts = [
            account
            for account in _accounts_of(customer_key)
            if currency in (None, account.currency) and kind in (None, account.kind)
        ]
        held = queries.balances_at(accounts, effective_at=point.effective_at, known_at=point.known_at)
        rows = [
            bodies.balance_body(
                account=account.code, kind=account.kind, currency=account.currency, balance=held[account.pk]
            )
            for account in accounts
        ]
        return _json({"customer_key": customer_key, **bodies.point_body(point), "balances": rows})


class AccountBalance(LedgerView):
    takes = frozenset({"effective_at", "known_at"})

    @described.account_balance
    def get(self, request: Request, code: str) -> HttpResponse:
        point = parameters.point_in_time(request.query_params)
        account = _account(code)
        held = queries.balances_at([account], effective_at=point.effective_at, known_at=point.known_at)
        balance = bodies.balance_body(
            account=account.code, kind=account.kind, currency=account.currency, balance=held[account.pk]
        )
        return _json({"customer_key": account.customer_key, **bodies.point_body(point), **balance})


class Statement(LedgerView):
    """A page of lines and where it goes on, of the accounts a subclass names."""

    def page(
        self, request: Request, accounts: Sequence[Account], *, point: PointInTime, filters: Sequence[str | None]
    ) -> bodies.Body:
        limit, cursor = parameters.limit(request.query_params), request.query_params.get("cursor")
        this_list = [
            request.path,
            *filters,
            bodies.instant_text(point.effective_at),
            bodies.instant_text(point.known_at),
        ]
        lines = queries.newest_lines(
            accounts,
            limit=limit + 1,
            before=None if cursor is None else place_of(cursor, of=this_list),
            effective_at=point.effective_at,
            known_at=point.known_at,
        )
        shown = lines[:limit]
        following = cursor_after(shown[-1].place, of=this_list) if len(lines) > limit else None
        return {"lines": [bodies.line_body(line) for line in shown], "next": _next_url(request, following)}


def _next_url(request: Request, cursor: str | None) -> str | None:
    if cursor is None:
        return None
    query = {**request.query_params.dict(), "cursor": cursor}
    return str(request.build_absolute_uri(f"{request.path}?{urlencode(query)}"))


class CustomerStatement(Statement):
    takes = frozenset({"currency", "kind", "effective_at", "known_at", "limit", "cursor"})

    @described.customer_statement
    def get(self, request: Request, customer_key: str) -> HttpResponse:
        point = parameters.point_in_time(request.query_params)
        currency, kind = parameters.currency(request.query_params), parameters.kind(request.query_params)
        accounts = [
            account
            for account in _accounts_of(customer_key)
            if currency in (None, account.currency) and kind in (None, account.kind)
        ]
        page = self.page(request, accounts, point=point, filters=[currency, kind])
        return _json({"customer_key": customer_key, **bodies.point_body(point), **page})


class AccountStatement(Statement):
    takes = frozenset({"effective_at", "known_at", "limit", "cursor"})

    @described.account_statement
    def get(self, request: Request, code: str) -> HttpResponse:
        point = parameters.point_in_time(request.query_params)
        account = _account(code)
        page = self.page(request, [account], point=point, filters=[])
        about = {"account": account.code, "kind": account.kind, "currency": account.currency}
        return _json({"customer_key": account.customer_key, **about, **bodies.point_body(point), **page})


def _entry_url(request: Request, entry_id: int | None) -> str | None:
    if entry_id is None:
        return None
    return str(request.build_absolute_uri(reverse("ledger-api:entry", args=[entry_id])))


def _entry(request: Request, entry: queries.Entry) -> HttpResponse:
    addresses = {
        "self": _entry_url(request, entry.id),
        "reverses": _entry_url(request, entry.reverses),
        "reversed_by": _entry_url(request, entry.reversed_by),
    }
    return _json(bodies.entry_body(entry, addresses=addresses))


class EntryById(LedgerView):
    @described.entry_by_id
    def get(self, request: Request, entry_id: int) -> HttpResponse:
        found = queries.find_entry(entry_id)
        if found is None:
            raise NotThere("entry", f"There is no entry {entry_id}.")
        return _entry(request, found)


class EntryByKey(LedgerView):
    takes = frozenset({"idempotency_key"})

    @described.entry_by_key
    def get(self, request: Request) -> HttpResponse:
        key = parameters.idempotency_key(request.query_params)
        found = queries.entry_by_key(key)
        if found is None:
            raise NotThere("idempotency_key", f"No entry was recorded under the key {key!r}.")
        return _entry(request, found)


class TrialBalance(LedgerView):
    takes = frozenset({"effective_at", "known_at"})

    @described.trial_balance
    def get(self, request: Request) -> HttpResponse:
        point = parameters.point_in_time(request.query_params)
        rows = queries.trial_balance(effective_at=point.effective_at, known_at=point.known_at)
        return _json(bodies.trial_balance_body(rows, point=point))
