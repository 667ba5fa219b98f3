"""The trial balance as a document: every account by itself, also each customer's."""

from collections.abc import Sequence
from datetime import datetime

from ledger.downloads.document import Cell, Document, file_name, instant_in_name
from ledger.exact import less, total
from ledger.queries import TrialBalanceRow

_COLUMNS = ("Account", "Currency", "Debits", "Credits", "Debit balance", "Credit balance")


def name_of_trial_balance(*, effective_before: datetime | None, known_at: datetime | None) -> str:
    before = [] if effective_before is None else [f"before-{instant_in_name(effective_before)}"]
    known = [] if known_at is None else [f"known-{instant_in_name(known_at)}"]
    return file_name("trial-balance", *before, *known)


def of_trial_balance(
    rows: Sequence[TrialBalanceRow],
    *,
    effective_before: datetime | None,
    known_at: datetime | None,
    made_at: datetime,
) -> Document:
    """One row for each account that has postings, by code."""
    return Document(
        title="Trial balance",
        heading=[
            ("Trial balance", "every account that has postings"),
            ("With effect before (UTC)", "everything recorded" if effective_before is None else effective_before),
            ("As known at (UTC)", "everything recorded when this was made" if known_at is None else known_at),
            ("Made at (UTC)", made_at),
            ("Accounts", len(rows)),
            *_totals(rows),
        ],
        columns=_COLUMNS,
        rows=(
            (
                row.code,
                row.currency,
                row.debit,
                row.credit,
                less(row.debit, row.credit) if row.debit > row.credit else None,
                less(row.credit, row.debit) if row.credit > row.debit else None,
            )
            for row in rows
        ),
        row_count=len(rows),
    )


def _totals(rows: Sequence[TrialBalanceRow]) -> list[tuple[str, Cell]]:
    facts: list[tuple[str, Cell]] = []
    for currency in sorted({row.currency for row in rows}):
        of_currency = [row for row in rows if row.currency == currency]
        facts.append((f"Debits {currency}", total(row.debit for row in of_currency)))
        facts.append((f"Credits {currency}", total(row.credit for row in of_currency)))
    return facts
