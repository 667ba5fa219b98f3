"""The reports as documents to download: every row there is, every digit, and what they were asked for."""

from collections.abc import Sequence
from datetime import UTC, datetime

from billing.accounting.reports.ageing import Ageing
from billing.accounting.reports.credit import CreditMovement, OutstandingCredit
from billing.accounting.reports.revenue import Income
from ledger.downloads.document import Cell, Document, file_name, instant_in_name
from ledger.queries import AccountBalance

_MOVEMENT = ("opening", "issued", "burnt", "expired", "voided", "given_back", "corrections", "closing")


def name_of(report: str, *, effective_at: datetime, known_at: datetime) -> str:
    return file_name(report, instant_in_name(effective_at), f"known-{instant_in_name(known_at)}")


def of_ageing(ageing: Ageing, *, made_at: datetime) -> Document:
    """One row for each open item."""
    return Document(
        title="Ageing",
        heading=[
            ("Ageing of receivables", "what is open of each invoice, and how long past due"),
            *_instants(ageing.effective_at, ageing.known_at, made_at=made_at),
            *((f"Total {aged.currency}", aged.total) for aged in ageing.by_currency()),
        ],
        columns=("Customer", "Currency", "Invoice", "Number", "Due at (UTC)", "Days past due", "Age", "Open"),
        rows=(
            (
                item.customer_key,
                item.currency,
                item.stripe_invoice_id or None,
                item.invoice.number if item.invoice else None,
                item.due_at,
                item.days_past_due,
                str(item.age),
                item.amount,
            )
            for item in ageing.items
        ),
        row_count=len(ageing.items),
    )


def of_credit(credit: OutstandingCredit, others: Sequence[AccountBalance], *, made_at: datetime) -> Document:
    """One row for each grant that is not used up, and for each of the `others`, accounts of another kind of credit."""
    rows: list[Sequence[Cell]] = [
        (
            grant.kind,
            grant.currency,
            grant.customer_key,
            grant.grant_id,
            grant.name,
            grant.expires_at,
            str(grant.ends),
            grant.amount,
        )
        for grant in credit.grants
    ]
    rows += [
        (account.kind, account.currency, account.customer_key, None, None, None, None, account.balance)
        for account in others
    ]
    return Document(
        title="Outstanding credit",
        heading=[
            ("Outstanding credit", "what is owed to customers in credit; below zero is owed by them"),
            *_instants(credit.effective_at, credit.known_at, made_at=made_at),
            *((f"Total {currency}", total) for currency, total in credit.totals().items()),
        ],
        columns=("Kind", "Currency", "Customer", "Grant", "Name", "Ends at (UTC)", "Ends within", "Outstanding"),
        rows=rows,
        row_count=len(rows),
    )


def of_movement(movement: CreditMovement, *, made_at: datetime) -> Document:
    """One row for each kind of grant; the other kinds below, which are only added to and taken from."""
    rows: list[Sequence[Cell]] = [
        (row.kind, row.currency, *(getattr(row, column) for column in _MOVEMENT), None, None) for row in movement.grants
    ]
    rows += [
        (row.kind, row.currency, row.opening, *[None] * 6, row.closing, row.added, row.taken) for row in movement.others
    ]
    return Document(
        title="Movement of credit",
        heading=[
            ("Movement of credit", f"{movement.starts_at.astimezone(UTC):%B %Y}"),
            ("Grants", "opening + issued - burnt - expired - voided - given back + corrections = closing"),
            ("Other kinds", "opening + added - taken = closing"),
            ("From (UTC)", movement.starts_at),
            ("Before (UTC)", movement.ends_at),
            ("As known at (UTC)", movement.known_at),
            ("Made at (UTC)", made_at),
        ],
        columns=("Kind", "Currency", *(name.replace("_", " ").capitalize() for name in _MOVEMENT), "Added", "Taken"),
        rows=rows,
        row_count=len(rows),
    )


def of_income(income: Income, *, made_at: datetime) -> Document:
    """One row for each line of the page, one column for each month."""
    rows: list[Sequence[Cell]] = [
        (page.currency, row.name, row.kind or None, *row.amounts, row.total)
        for page in income.currencies
        for row in page.rows
    ]
    return Document(
        title="Revenue by month",
        heading=[
            ("Revenue by month", "what takes away is below zero"),
            *_instants(income.effective_at, income.known_at, made_at=made_at),
        ],
        columns=("Currency", "Line", "Accounts", *(f"{month:%Y-%m}" for month in income.months), "Total"),
        rows=rows,
        row_count=len(rows),
    )


def _instants(effective_at: datetime, known_at: datetime, *, made_at: datetime) -> list[tuple[str, Cell]]:
    return [
        ("With effect up to, included (UTC)", effective_at),
        ("As known at, included (UTC)", known_at),
        ("Made at (UTC)", made_at),
    ]
