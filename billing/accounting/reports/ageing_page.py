"""The ageing of receivables, as a page and as a file."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase

from billing.accounting import chart, queries
from billing.accounting.reports import documents
from billing.accounting.reports.ageing import Age, AgedSum, Ageing, OpenItem
from billing.accounting.reports.choosing import AgeingForm, Choice, choose
from billing.accounting.reports.frame import Links, customer_names, page, require_permission
from billing.accounting.reports.month_ends import month_end_chart
from billing.accounting.reports.revenue import months_until
from billing.accounting.reports.tables import NOTHING, Cell, Table, TableRow, amount, names, numbers
from billing.charts import Chart
from billing.figures import Figure
from billing.money_text import exact_text
from config import clock
from ledger import queries as ledger_queries
from ledger.downloads.answers import download
from ledger.downloads.document import Document

CUSTOMERS_SHOWN, ITEMS_SHOWN, MONTHS_DRAWN = 50, 100, 12
TOLD = (
    "What is open of each invoice by the ledger's receivable accounts, aged by days past due. An invoice that is "
    "charged automatically is due when it is finalised."
)
_AGES = [(str(age), True) for age in Age]


def ageing_view(request: HttpRequest) -> HttpResponse:
    require_permission(request)
    choice = choose(AgeingForm, request.GET, now=clock.now())
    with ledger_queries.one_look():
        ageing = _asked(choice)
        customers = ageing.by_customer()[:CUSTOMERS_SHOWN]
        items = sorted(ageing.items, key=_oldest_first)[:ITEMS_SHOWN]
        whose = {(aged.customer_key, aged.currency) for aged in customers}
        whose |= {(item.customer_key, item.currency) for item in items}
        called = customer_names(customer_key for customer_key, _ in whose)
        accounts = ledger_queries.account_ids(chart.receivable(*account) for account in whose)
        drawn = _chart(choice, ageing)
    links = Links(request.user.has_perm, choice)
    totals = ageing.by_currency()
    return page(
        request,
        here="ageing",
        title="Ageing of receivables",
        told=TOLD,
        choice=choice,
        row_count=len(ageing.items),
        figures=_figures(totals, choice),
        chart=drawn,
        tables=[
            _by_currency(totals, choice, links),
            _by_customer(customers, ageing, choice, links, called=called, accounts=accounts),
            _by_invoice(items, ageing, links, called=called, accounts=accounts),
        ],
    )


def ageing_download(request: HttpRequest, suffix: str) -> HttpResponseBase:
    require_permission(request)
    choice = choose(AgeingForm, request.GET, now=clock.now())
    if not choice.is_valid:
        return HttpResponseBadRequest("These instants cannot be read. Choose them on the report's page.")
    name = documents.name_of("ageing", effective_at=choice.effective_at, known_at=choice.known_at)
    return download(suffix, name=name, make=lambda: ageing_document(choice))


def ageing_document(choice: Choice) -> Document:
    """Every open item that the choice names."""
    return documents.of_ageing(_asked(choice), made_at=clock.now())


def _asked(choice: Choice) -> Ageing:
    """The open items that the choice names."""
    customer_key = choice.asked.get("customer")
    ageing = queries.receivables_ageing(
        effective_at=choice.effective_at, known_at=choice.known_at, customer_key=customer_key
    )
    currency, age = choice.asked.get("currency"), choice.asked.get("age")
    return replace(
        ageing,
        items=tuple(
            item for item in ageing.items if currency in (None, item.currency) and age in (None, item.age.name.lower())
        ),
    )


def _oldest_first(item: OpenItem) -> tuple[bool, int, str]:
    """What has no age comes first: somebody has to look at it."""
    return (item.days_past_due is not None, -(item.days_past_due or 0), item.stripe_invoice_id)


def _chart(choice: Choice, ageing: Ageing) -> Chart | None:
    """All that was open at the end of each month, in one currency; only of all customers and ages together."""
    if choice.asked.get("customer") or choice.asked.get("age"):
        return None
    currencies = [aged.currency for aged in ageing.by_currency()]
    currency = choice.asked.get("currency") or max(
        currencies, key=lambda name: sum(1 for item in ageing.items if item.currency == name), default=""
    )
    held = queries.balances_at_month_ends(["receivable"], effective_at=choice.effective_at, known_at=choice.known_at)
    months: tuple[date, ...] = months_until(choice.effective_at.date(), count=MONTHS_DRAWN)
    series = {"open": held.get(("receivable", currency), {})}
    return month_end_chart(f"Open at the end of each month, {currency}", series, months=months, currency=currency)


def _figures(totals: Sequence[AgedSum], choice: Choice) -> list[Figure]:
    """Rounded for the eye; the tables below have every place."""
    figures = []
    for aged in totals:
        url = f"?{choice.query_with(currency=aged.currency)}"
        figures += [
            Figure(f"Open, {aged.currency}", exact_text(round(aged.total, 2), aged.currency), url=url),
            Figure(
                f"Past due, {aged.currency}",
                exact_text(round(aged.past_due, 2), aged.currency),
                url=url,
                tone="bad" if aged.past_due > 0 else "plain",
            ),
        ]
    return figures


def _amounts(aged: AgedSum, choice: Choice, total_url: str, **whose: str) -> list[Cell]:
    """The amount of each age, which leads to its invoices, and the total, which leads to the account."""
    cells = [
        amount(value, aged.currency, f"?{choice.query_with(currency=aged.currency, age=age.name.lower(), **whose)}")
        for age, value in aged.by_age.items()
    ]
    return [*cells, amount(aged.total, aged.currency, total_url)]


def _by_currency(totals: Sequence[AgedSum], choice: Choice, links: Links) -> Table:
    return Table(
        "By currency",
        [*names("Currency"), *_AGES, *numbers("Total")],
        [
            TableRow(
                [Cell(aged.currency), *_amounts(aged, choice, links.accounts("receivable", aged.currency))], is_sum=True
            )
            for aged in totals
        ],
        empty="Nothing is open.",
    )


def _by_customer(
    shown: Sequence[AgedSum],
    ageing: Ageing,
    choice: Choice,
    links: Links,
    *,
    called: dict[str, str],
    accounts: dict[str, int],
) -> Table:
    count = len({(item.customer_key, item.currency) for item in ageing.items})
    rows = []
    for aged in shown:
        key, account = aged.customer_key, accounts.get(chart.receivable(aged.customer_key, aged.currency))
        who = Cell(called.get(key, key), links.customer(key), note=key)
        rows.append(TableRow([who, *_amounts(aged, choice, links.account(account), customer=key)]))
    return Table(
        "By customer",
        [*names("Customer"), *_AGES, *numbers("Total")],
        rows,
        note=_left_out(len(shown), count, "The largest {shown} of {count}; the file has all."),
        empty="Nobody owes anything.",
    )


def _by_invoice(
    shown: Sequence[OpenItem], ageing: Ageing, links: Links, *, called: dict[str, str], accounts: dict[str, int]
) -> Table:
    rows = []
    for item in shown:
        key, account = item.customer_key, accounts.get(chart.receivable(item.customer_key, item.currency))
        cells = [
            _invoice(item, links),
            Cell(called.get(key, key), links.customer(key)),
            Cell(f"{item.due_at:%d %b %Y}" if item.due_at else NOTHING),
            Cell(str(item.days_past_due) if item.days_past_due is not None else NOTHING, is_number=True),
            Cell(str(item.age)),
            amount(item.amount, item.currency, links.account(account)),
        ]
        rows.append(TableRow(cells))
    return Table(
        "By invoice",
        [*names("Invoice", "Customer", "Due"), *numbers("Days past due"), *names("Age"), *numbers("Open")],
        rows,
        note=_left_out(len(shown), len(ageing.items), "The oldest {shown} of {count}; the file has all."),
        empty="No invoice is open.",
    )


def _invoice(item: OpenItem, links: Links) -> Cell:
    if item.invoice is None:
        return Cell(item.stripe_invoice_id or "names no invoice", note="" if item.stripe_invoice_id else "unallocated")
    return Cell(item.invoice.number or item.stripe_invoice_id, links.invoice(item.invoice.invoice_id))


def _left_out(shown: int, count: int, words: str) -> str:
    return words.format(shown=f"{shown:,}", count=f"{count:,}") if shown < count else ""
