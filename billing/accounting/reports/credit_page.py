"""Outstanding credit and its movement over a month, as a page and as files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase
from django.urls import reverse

from billing.accounting import queries
from billing.accounting.reports import documents
from billing.accounting.reports.choosing import Choice, CreditForm, choose
from billing.accounting.reports.credit import (
    CreditMovement,
    Ends,
    GrantLeft,
    GrantMovement,
    OtherMovement,
    OutstandingCredit,
)
from billing.accounting.reports.frame import Links, customer_names, page, require_permission
from billing.accounting.reports.month_ends import month_end_chart
from billing.accounting.reports.revenue import months_until
from billing.accounting.reports.tables import NOTHING, Cell, Table, TableRow, amount, names, numbers
from billing.charts import Chart
from billing.figures import Figure
from billing.money_text import exact_text
from config import clock
from ledger import queries as ledger_queries
from ledger.downloads.answers import download, formats
from ledger.downloads.document import Document
from promotions.queries import grant_account

GRANTS_SHOWN, MONTHS_DRAWN = 100, 12
TOLD = (
    "What the house owes to customers in credit: what is left of grants, balances in their favour, prepaid credit that "
    "is not paid yet, refunds promised."
)
NAMES = {
    "promotional": "Promotional grants",
    "goodwill": "Goodwill grants",
    "paid": "Paid grants",
    "unknown": "Grants without terms",
    "grant": "Grants",
    "balance": "Customer balances",
    "balance_owed": "Owed on customer balances",
    "prepaid_pending": "Prepaid, not paid yet",
    "refund_due": "Refunds promised",
}


def credit_view(request: HttpRequest) -> HttpResponse:
    require_permission(request)
    choice = choose(CreditForm, request.GET, now=clock.now())
    with ledger_queries.one_look():
        credit = _outstanding(choice)
        movement = _movement(choice)
        grants = sorted(credit.grants, key=lambda grant: (-abs(grant.amount), grant.grant_id))[:GRANTS_SHOWN]
        called = customer_names(grant.customer_key for grant in grants)
        accounts = ledger_queries.account_ids(grant_account(grant.grant_id) for grant in grants)
        drawn = _chart(choice, credit)
    links = Links(request.user.has_perm, choice)
    movement_files = reverse("reports:movement-download", args=["csv"]).removesuffix("csv")
    return page(
        request,
        here="credit",
        title="Outstanding credit",
        told=TOLD,
        choice=choice,
        row_count=len(credit.grants),
        figures=_figures(credit, choice),
        chart=drawn,
        tables=[
            _by_kind(credit, choice, links),
            *_moved(movement, links),
            _by_grant(grants, len(credit.grants), links, called=called, accounts=accounts),
        ],
        more_downloads=[
            (f"Movement of {movement.starts_at:%B %Y}", formats(movement_files, query=choice.query, line_count=0))
        ],
    )


def credit_download(request: HttpRequest, suffix: str) -> HttpResponseBase:
    require_permission(request)
    choice = choose(CreditForm, request.GET, now=clock.now())
    if not choice.is_valid:
        return _unreadable()
    name = documents.name_of("credit", effective_at=choice.effective_at, known_at=choice.known_at)
    return download(suffix, name=name, make=lambda: credit_document(choice))


def credit_document(choice: Choice) -> Document:
    """What is outstanding, grant by grant and account by account."""
    others = (
        account
        for kind in queries.OTHER_CREDIT
        for account in ledger_queries.balances_of_kind(kind, effective_at=choice.effective_at, known_at=choice.known_at)
    )
    wanted = [account for account in others if _is_asked(choice, currency=account.currency, kind=account.kind)]
    return documents.of_credit(_outstanding(choice), wanted, made_at=clock.now())


def movement_download(request: HttpRequest, suffix: str) -> HttpResponseBase:
    require_permission(request)
    choice = choose(CreditForm, request.GET, now=clock.now())
    if not choice.is_valid:
        return _unreadable()
    name = f"credit-movement_{_month(choice):%Y-%m}_known-{choice.known_at:%Y-%m-%dT%H%M%SZ}"
    return download(suffix, name=name, make=lambda: movement_document(choice))


def movement_document(choice: Choice) -> Document:
    """How credit moved within the month."""
    return documents.of_movement(_movement(choice), made_at=clock.now())


def _unreadable() -> HttpResponse:
    return HttpResponseBadRequest("This report cannot be read. Choose its instants and its month on its page.")


def _month(choice: Choice) -> date:
    asked = choice.asked.get("month")
    return date.fromisoformat(f"{asked}-01") if asked else choice.effective_at.astimezone(UTC).date()


def _is_asked(choice: Choice, *, currency: str, kind: str) -> bool:
    return choice.asked.get("currency") in (None, currency) and choice.asked.get("kind") in (None, kind)


def _outstanding(choice: Choice) -> OutstandingCredit:
    credit = queries.outstanding_credit(effective_at=choice.effective_at, known_at=choice.known_at)
    return replace(
        credit,
        grants=tuple(g for g in credit.grants if _is_asked(choice, currency=g.currency, kind=g.kind)),
        others=tuple(c for c in credit.others if _is_asked(choice, currency=c.currency, kind=c.kind)),
    )


def _movement(choice: Choice) -> CreditMovement:
    movement = queries.credit_movement(month=_month(choice), known_at=choice.known_at)
    return replace(
        movement,
        grants=tuple(row for row in movement.grants if _is_asked(choice, currency=row.currency, kind=row.kind)),
        others=tuple(row for row in movement.others if _is_asked(choice, currency=row.currency, kind=row.kind)),
    )


def _figures(credit: OutstandingCredit, choice: Choice) -> list[Figure]:
    """Rounded for the eye; the tables below have every place."""
    return [
        Figure(
            f"Outstanding, {currency}",
            exact_text(round(total, 2), currency),
            url=f"?{choice.query_with(currency=currency)}",
        )
        for currency, total in sorted(credit.totals().items())
    ]


def _chart(choice: Choice, credit: OutstandingCredit) -> Chart | None:
    if choice.asked.get("kind"):
        return None
    counted = [found.currency for found in credit.grants] or [found.currency for found in credit.others]
    currency = choice.asked.get("currency") or max(sorted(set(counted)), key=counted.count, default="")
    kinds = ("grant", *queries.OTHER_CREDIT)
    held = queries.balances_at_month_ends(kinds, effective_at=choice.effective_at, known_at=choice.known_at)
    series = {NAMES[kind]: held[kind, currency] for kind in kinds if (kind, currency) in held}
    months = months_until(choice.effective_at.astimezone(UTC).date(), count=MONTHS_DRAWN)
    return month_end_chart(
        f"Outstanding at the end of each month, {currency}", series, months=months, currency=currency
    )


def _by_kind(credit: OutstandingCredit, choice: Choice, links: Links) -> Table:
    rows = []
    for found in credit.by_kind():
        url = links.accounts(found.kind.removesuffix("_owed"), found.currency)
        if found.kind not in (*queries.OTHER_CREDIT, queries.BALANCE_OWED):
            url = f"?{choice.query_with(kind=found.kind, currency=found.currency)}"
        cells = [amount(found.by_end[ends], found.currency, url) for ends in Ends]
        named = [Cell(NAMES.get(found.kind, found.kind)), Cell(found.currency)]
        rows.append(TableRow([*named, *cells, amount(found.total, found.currency, url)]))
    return Table(
        "By kind, and when it ends",
        [*names("Kind", "Currency"), *((str(ends), True) for ends in Ends), *numbers("Total")],
        rows,
        foot=[
            TableRow([Cell("Σ"), Cell(currency), *[Cell("")] * len(Ends), amount(total, currency)], is_sum=True)
            for currency, total in sorted(credit.totals().items())
        ],
        empty="No credit is outstanding.",
    )


def _moved(movement: CreditMovement, links: Links) -> list[Table]:
    month = f"{movement.starts_at:%B %Y}"
    return [
        Table(
            f"Grants in {month}",
            [
                *names("Kind", "Currency"),
                *numbers("Opening", "+ Issued", "− Burnt", "− Expired", "− Voided", "− Given back", "± Corrections"),
                *numbers("= Closing"),
            ],
            [_grant_row(row, links) for row in movement.grants],
            note=_proof(movement.grants),
            empty=f"No grant was there in {month}.",
        ),
        Table(
            f"Other credit in {month}",
            [*names("Kind", "Currency"), *numbers("Opening", "+ Added", "− Taken", "= Closing")],
            [_other_row(row, links) for row in movement.others],
            note=_proof(movement.others),
            empty=f"Nothing was there in {month}.",
        ),
    ]


def _proof(rows: Sequence[GrantMovement] | Sequence[OtherMovement]) -> str:
    """That the rows add up is worked out, not said."""
    if not rows:
        return ""
    broken = [f"{row.kind} {row.currency}" for row in rows if row.unexplained]
    if broken:
        return f"Does not add up: {', '.join(broken)}. The ledger's verification says which entry."
    return "Each row adds up to the accounts' closing balances."


def _grant_row(row: GrantMovement, links: Links) -> TableRow:
    figures = (row.opening, row.issued, row.burnt, row.expired, row.voided, row.given_back, row.corrections)
    url = links.accounts("grant", row.currency)
    return TableRow(
        [
            Cell(NAMES.get(row.kind, row.kind)),
            Cell(row.currency),
            *(amount(figure, row.currency, url) for figure in (*figures, row.closing)),
        ]
    )


def _other_row(row: OtherMovement, links: Links) -> TableRow:
    url = links.accounts(row.kind, row.currency)
    figures = (row.opening, row.added, row.taken, row.closing)
    return TableRow(
        [
            Cell(NAMES.get(row.kind, row.kind)),
            Cell(row.currency),
            *(amount(figure, row.currency, url) for figure in figures),
        ]
    )


def _by_grant(
    shown: Iterable[GrantLeft], count: int, links: Links, *, called: Mapping[str, str], accounts: Mapping[str, int]
) -> Table:
    rows = []
    for grant in shown:
        ends = f"{grant.expires_at:%d %b %Y}" if grant.expires_at else NOTHING
        cells = [
            Cell(
                grant.name or f"#{grant.grant_id}", links.grant(grant.grant_id), note=NAMES.get(grant.kind, grant.kind)
            ),
            Cell(called.get(grant.customer_key, grant.customer_key), links.customer(grant.customer_key)),
            Cell(ends),
            Cell(str(grant.ends)),
            amount(grant.amount, grant.currency, links.account(accounts.get(grant_account(grant.grant_id)))),
        ]
        rows.append(TableRow(cells))
    note = f"The largest {len(rows):,} of {count:,}; the file has all." if len(rows) < count else ""
    return Table(
        "By grant",
        [*names("Grant", "Customer", "Ends", "Within"), *numbers("Left")],
        rows,
        note=note,
        empty="Nothing is left of any grant.",
    )
