"""Revenue and what was taken off it, month by month, as a page and as a file."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase

from billing.accounting import chart, queries
from billing.accounting.reports import documents
from billing.accounting.reports.choosing import MONTHS_SHOWN, Choice, IncomeForm, choose
from billing.accounting.reports.frame import Links, page, require_permission
from billing.accounting.reports.revenue import GROSS, NET, RESULT, CurrencyIncome, Income, Row
from billing.accounting.reports.tables import Cell, Table, TableRow, amount, names
from billing.charts import MONTHS, Chart, grouped_days, money_axis
from billing.figures import Figure
from billing.money_text import exact_text
from config import clock
from ledger import queries as ledger_queries
from ledger.downloads.answers import download
from ledger.downloads.document import Document

TOLD = (
    "Sales, what was taken off them, and what being paid cost, in each month of UTC, by the ledger's accounts; what "
    "takes away is below zero. Each figure is the difference of two trial balances."
)


def income_view(request: HttpRequest) -> HttpResponse:
    require_permission(request)
    choice = choose(IncomeForm, request.GET, now=clock.now())
    with ledger_queries.one_look():
        income = _asked(choice)
        codes = [chart.system(row.kind, of.currency) for of in income.currencies for row in of.rows if not row.is_sum]
        accounts = ledger_queries.account_ids(codes)
    links = Links(request.user.has_perm, choice)
    return page(
        request,
        here="income",
        title="Revenue by month",
        told=TOLD,
        choice=choice,
        row_count=sum(len(of.rows) for of in income.currencies),
        figures=_figures(income, choice),
        charts=[_chart(of, income.months) for of in income.currencies],
        tables=[_table(of, income, links, accounts) for of in income.currencies] or [_empty()],
    )


def income_download(request: HttpRequest, suffix: str) -> HttpResponseBase:
    require_permission(request)
    choice = choose(IncomeForm, request.GET, now=clock.now())
    if not choice.is_valid:
        return HttpResponseBadRequest("This report cannot be read. Choose its instants on its page.")
    name = documents.name_of("revenue", effective_at=choice.effective_at, known_at=choice.known_at)
    return download(suffix, name=name, make=lambda: income_document(choice))


def income_document(choice: Choice) -> Document:
    """Every line, with a column for each month."""
    return documents.of_income(_asked(choice), made_at=clock.now())


def _asked(choice: Choice) -> Income:
    income = queries.income_by_month(
        effective_at=choice.effective_at,
        known_at=choice.known_at,
        months=choice.asked.get("months", MONTHS_SHOWN),
    )
    currency = choice.asked.get("currency")
    return replace(income, currencies=tuple(of for of in income.currencies if currency in (None, of.currency)))


def _figures(income: Income, choice: Choice) -> list[Figure]:
    """The latest month."""
    latest = f"{income.months[-1]:%B %Y}"
    return [
        Figure(
            f"{NET}, {of.currency}",
            exact_text(round(of.row(NET).amounts[-1], 2), of.currency),
            latest,
            f"?{choice.query_with(currency=of.currency)}",
        )
        for of in income.currencies
    ]


def _chart(of: CurrencyIncome, months: tuple[date, ...]) -> Chart:
    def by_month(row: Row) -> Mapping[date, Decimal]:
        return dict(zip(months, row.amounts, strict=True))

    series = {name: by_month(of.row(name)) for name in (GROSS, NET, RESULT)}
    return grouped_days(
        title=f"Month by month, {of.currency}",
        days=months,
        series=series,
        axis_format=money_axis(of.currency),
        axis=MONTHS,
    )


def _table(of: CurrencyIncome, income: Income, links: Links, accounts: Mapping[str, int]) -> Table:
    rows = []
    for row in of.rows:
        account = accounts.get(chart.system(row.kind, of.currency))
        cells = [
            amount(value, of.currency, links.account(account, month=f"{month:%Y-%m}"))
            for month, value in zip(income.months, row.amounts, strict=True)
        ]
        named = [Cell(row.name), Cell(row.kind)]
        rows.append(TableRow([*named, *cells, amount(row.total, of.currency)], is_sum=row.is_sum))
    months = [(f"{month:%b %Y}", True) for month in income.months]
    return Table(of.currency, [*names("", "Accounts"), *months, ("Total", True)], rows)


def _empty() -> Table:
    return Table("Revenue", names(""), [], empty="Nothing was earned or spent in these months.")
