"""Statements as documents."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from ledger import queries
from ledger.downloads.document import Cell, Document, file_name, instant_in_name
from ledger.queries import AccountStatement, CustomerStatement, Span

_ACCOUNT_COLUMNS = (
    "Effective at (UTC)",
    "Recorded at (UTC)",
    "Entry",
    "Line",
    "Kind",
    "Memo",
    "Cause",
    "Debit",
    "Credit",
    "Balance",
)
_CUSTOMER_COLUMNS = (
    "Effective at (UTC)",
    "Recorded at (UTC)",
    "Entry",
    "Line",
    "Kind",
    "Memo",
    "Cause",
    "Account",
    "Debit",
    "Credit",
    "Balance of all accounts",
)


def name_of_account_statement(code: str, span: Span) -> str:
    return file_name("statement", code, *_span_in_name(span))


def name_of_customer_statement(customer_key: str, currency: str, span: Span) -> str:
    return file_name("statement", "customer", customer_key, currency, *_span_in_name(span))


def of_account(statement: AccountStatement, *, made_at: datetime) -> Document:
    """One row for each line, in its order. To be read inside `one_look`, as the statement was."""
    account = statement.account
    return Document(
        title=account.code,
        heading=[
            ("Statement of account", account.code),
            ("Customer", account.customer_key or None),
            ("Currency", account.currency),
            ("Balance grows by", "debits" if account.normal_side == "D" else "credits"),
            *_span_facts(statement.span, made_at=made_at),
            ("Lines", statement.line_count),
            ("Opening balance", statement.opening),
            ("Debits", statement.debit),
            ("Credits", statement.credit),
            ("Closing balance", statement.closing),
        ],
        columns=_ACCOUNT_COLUMNS,
        rows=_account_rows(statement),
        row_count=statement.line_count,
    )


def of_customer(statement: CustomerStatement, *, made_at: datetime) -> Document:
    """One row for each line, the lines of an entry together. To be read inside `one_look`, as the statement was."""
    return Document(
        title=f"{statement.customer_key} {statement.currency}",
        heading=[
            ("Statement of customer", statement.customer_key),
            ("Currency", statement.currency),
            ("Balance", "of all accounts together: above zero the customer owes, below zero the customer is owed"),
            *_span_facts(statement.span, made_at=made_at),
            ("Lines", statement.line_count),
            ("Opening balance", statement.opening),
            ("Debits", statement.debit),
            ("Credits", statement.credit),
            ("Closing balance", statement.closing),
        ],
        columns=_CUSTOMER_COLUMNS,
        rows=_customer_rows(statement),
        row_count=statement.line_count,
    )


def _account_rows(statement: AccountStatement) -> Iterator[Sequence[Cell]]:
    for line in queries.stream_lines(statement):
        yield (
            line.effective_at,
            line.recorded_at,
            line.entry_id,
            line.line_no,
            line.kind,
            line.memo,
            _cause(line.cause),
            line.debit,
            line.credit,
            statement.balance_when(line.moved),
        )


def _customer_rows(statement: CustomerStatement) -> Iterator[Sequence[Cell]]:
    for group in queries.stream_entries(statement):
        for line in group.lines:
            yield (
                line.effective_at,
                line.recorded_at,
                line.entry_id,
                line.line_no,
                line.kind,
                line.memo,
                _cause(line.cause),
                statement.code_of(line),
                line.debit,
                line.credit,
                statement.balance_when(line.moved),
            )


def _span_facts(span: Span, *, made_at: datetime) -> list[tuple[str, Cell]]:
    return [
        ("From (UTC)", span.effective_from),
        ("Before (UTC)", span.effective_before),
        ("As known at (UTC)", "everything recorded when this was made" if span.known_at is None else span.known_at),
        ("Made at (UTC)", made_at),
    ]


def _span_in_name(span: Span) -> list[str]:
    known = [] if span.known_at is None else [f"known-{instant_in_name(span.known_at)}"]
    return [instant_in_name(span.effective_from), instant_in_name(span.effective_before), *known]


def _cause(cause: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in cause.items())
