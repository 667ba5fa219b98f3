"""
A customer's statement: all accounts of the customer in one currency, entry by entry.

It needs a permission of its own, not that of the whole ledger: who answers customers sees this one customer's account.
"""

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from config import clock
from ledger import queries
from ledger.admin.choosing import choose
from ledger.admin.paging import LINES_A_PAGE, pages, turn_asked
from ledger.admin.read_only import is_text
from ledger.downloads import statements as documents
from ledger.downloads.answers import download, formats
from ledger.downloads.document import Document
from ledger.exact import less
from ledger.showing import places_of

VIEW_PERMISSION = "ledger.view_customer_statement"
TEMPLATE = "admin/ledger/customer_statement.html"


def statement_view(request: HttpRequest, customer_key: str) -> HttpResponse:
    """The page. A customer without accounts has an empty one: whether there is such a customer, billing knows."""
    _require_permission(request)
    _require_key(customer_key)
    with queries.one_look():
        context = _page(request, customer_key)
    status = 200 if context["choice"].is_valid else 422
    return TemplateResponse(request, TEMPLATE, {**admin.site.each_context(request), **context}, status=status)


def download_view(request: HttpRequest, customer_key: str, suffix: str) -> HttpResponseBase:
    _require_permission(request)
    _require_key(customer_key)
    choice = choose(request.GET, now=clock.now(), latest=None)
    currency = request.GET.get("currency", "")
    if not choice.is_valid or currency not in queries.currencies_of_customer(customer_key):
        return HttpResponseBadRequest("This span or currency cannot be read. Choose it on the statement's page.")

    def make() -> Document:
        statement = queries.customer_statement(customer_key, currency, choice.span)
        return documents.of_customer(statement, made_at=clock.now())

    name = documents.name_of_customer_statement(customer_key, currency, choice.span)
    return download(suffix, name=name, make=make)


def _require_permission(request: HttpRequest) -> None:
    if not request.user.has_perm(VIEW_PERMISSION):
        raise PermissionDenied


def _require_key(customer_key: str) -> None:
    if not is_text(customer_key):
        raise Http404("No customer has such a key.")


def _page(request: HttpRequest, customer_key: str) -> dict[str, Any]:
    currencies = queries.currencies_of_customer(customer_key)
    asked_for = request.GET.get("currency", "")
    currency = asked_for if asked_for in currencies else next(iter(currencies), "")
    choice = choose(
        request.GET, now=clock.now(), latest=queries.newest_effect_on_customer(customer_key, currency=currency)
    )
    query = f"{choice.query}&currency={currency}"
    statement = queries.customer_statement(customer_key, currency, choice.span)
    turn = turn_asked(request.GET)
    groups = queries.entry_page(statement, limit=LINES_A_PAGE, after=turn.after, before=turn.before)
    address = reverse("admin:ledger_customer_statement_download", args=[customer_key, "csv"]).removesuffix("csv")
    moved_before = less(groups[0].moved, groups[0].amount) if groups else Decimal(0)
    lines = [line for group in groups for line in group.lines]
    balances = [statement.balance_when(group.moved) for group in groups]
    sums = (statement.opening, statement.debit, statement.credit, statement.closing)
    of_accounts = [amount for of in statement.accounts for amount in (of.opening, of.debit, of.credit, of.closing)]
    return {
        "title": f"Statement of {customer_key}",
        "customer_key": customer_key,
        "currencies": currencies,
        "currency": currency,
        "choice": choice,
        "statement": statement,
        "carried": statement.balance_when(moved_before),
        "groups": [
            (group, [(line, statement.code_of(line)) for line in group.lines], balance)
            for group, balance in zip(groups, balances, strict=True)
        ],
        "places": places_of((*sums, *balances, *of_accounts, *(line.amount for line in lines))),
        "pages": pages(lines, count=statement.line_count, query=f"?{query}"),
        "downloads": formats(address, query=query, line_count=statement.line_count),
    }
