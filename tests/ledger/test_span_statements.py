"""Statements over a span, against a fold over all postings in plain Python."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from itertools import accumulate
from typing import Any

import pytest
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from ledger import queries
from ledger.errors import UnknownAccount
from ledger.models import Posting
from ledger.operations import AccountSpec, JournalEntryDraft, credit, debit, open_accounts, post_journal_entries
from ledger.queries import Position, Span
from tests.ledger.chart import FIRST, GRANT, REVENUE, THIRD, UNBILLED, accrual, burn, draft, issue, post

MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)
# On, just before and just after three midnights: what a half-open span has to get right.
INSTANTS = [FIRST + day * DAY + step * MICROSECOND for day in (0, 1, 40) for step in (-1, 0, 1)]
DOLLARS = ("unbilled:c:USD", "receivable:c:USD", "grant:c:USD", "revenue:USD", "unbilled:d:USD")
EUROS = ("unbilled:c:EUR", "balance:c:EUR", "revenue:EUR")
DEBIT_KINDS = ("unbilled", "receivable")

instants = st.sampled_from(INSTANTS)
# Up to 37 digits: more than Python's arithmetic keeps by itself.
amounts = st.one_of(st.integers(1, 10**15), st.integers(10**34, 10**36)).map(lambda units: Decimal(f"{units}E-12"))
EXACT = Context(prec=80)
entries = st.one_of(
    *(
        st.tuples(st.lists(st.sampled_from(codes), min_size=2, max_size=4), amounts, instants, instants)
        for codes in (DOLLARS, EUROS)
    )
)
histories = st.lists(entries, max_size=10)
spans = st.builds(
    lambda bounds, known_at: Span(min(bounds), max(bounds), known_at),
    st.tuples(instants, instants),
    st.none() | instants,
)
Row = dict[str, Any]


@contextmanager
def taken_back() -> Iterator[None]:
    """Each example begins with an empty journal."""
    point = transaction.savepoint()
    try:
        yield
    finally:
        transaction.savepoint_rollback(point)


def record(history: list[tuple[list[str], Decimal, datetime, datetime]]) -> list[Row]:
    """Open the accounts, post each entry (one line debits what the others are credited), return all raw postings."""
    specs = [
        AccountSpec(
            code,
            kind := code.split(":")[0],
            code[-3:],
            "D" if kind in DEBIT_KINDS else "C",
            "" if kind == "revenue" else code.split(":")[1],
            keeps_balance=kind != "revenue",
        )
        for code in (*DOLLARS, *EUROS)
    ]
    open_accounts(specs)
    for number, ((first, *others), amount, effective_at, recorded_at) in enumerate(history):
        lines = (debit(first, EXACT.multiply(amount, len(others))), *(credit(code, amount) for code in others))
        entry = JournalEntryDraft(f"entry:{number}", "test", lines, effective_at, "system:test")
        post_journal_entries([entry], recorded_at=recorded_at)
    columns = ("account__code", "account__customer_key", "account__normal_side", "account__currency")
    of_entry = ("entry__effective_at", "entry__recorded_at", "entry_id", "line_no", "amount")
    rows = Posting.objects.values(*columns, *of_entry)
    return [{**row, "amount": Fraction(row["amount"])} for row in rows]


def known(rows: list[Row], span: Span) -> list[Row]:
    known_rows = [row for row in rows if span.known_at is None or row["entry__recorded_at"] <= span.known_at]
    return sorted(known_rows, key=lambda row: (row["entry__effective_at"], row["entry_id"], row["line_no"]))


def folded(rows: list[Row], span: Span) -> tuple[Fraction, list[Row]]:
    """The sum before the span, and the rows in it; debits above zero. Fractions keep every digit."""
    before = [row for row in known(rows, span) if row["entry__effective_at"] < span.effective_from]
    within = [
        row for row in known(rows, span) if span.effective_from <= row["entry__effective_at"] < span.effective_before
    ]
    return sum((row["amount"] for row in before), Fraction(0)), within


@pytest.mark.django_db
class TestAgainstTheFold:
    @given(histories, spans, st.sampled_from(DOLLARS + EUROS))
    def test_of_an_account(
        self, history: list[tuple[list[str], Decimal, datetime, datetime]], span: Span, code: str
    ) -> None:
        with taken_back():
            rows = [row for row in record(history) if row["account__code"] == code]
            opening, within = folded(rows, span)
            sign = 1 if code.split(":", maxsplit=1)[0] in DEBIT_KINDS else -1

            statement = queries.account_statement(code, span)
            lines = list(queries.stream_lines(statement))

            assert Fraction(statement.opening) == sign * opening
            assert Fraction(statement.debit) == sum(row["amount"] for row in within if row["amount"] > 0)
            assert Fraction(statement.credit) == -sum(row["amount"] for row in within if row["amount"] < 0)
            assert Fraction(statement.closing) == sign * (opening + sum(row["amount"] for row in within))
            assert statement.line_count == len(within)
            assert [(line.entry_id, line.line_no, Fraction(line.amount)) for line in lines] == [
                (row["entry_id"], row["line_no"], row["amount"]) for row in within
            ]
            running = list(accumulate((row["amount"] for row in within), initial=opening))[1:]
            balances = [Fraction(statement.balance_when(line.moved)) for line in lines]
            assert balances == [sign * amount for amount in running]
            assert read_by_pages(statement) == lines

    @given(histories, spans, st.sampled_from(["USD", "EUR"]))
    def test_of_a_customer(
        self, history: list[tuple[list[str], Decimal, datetime, datetime]], span: Span, currency: str
    ) -> None:
        with taken_back():
            rows = [
                row
                for row in record(history)
                if (row["account__customer_key"], row["account__currency"]) == ("c", currency)
            ]
            opening, within = folded(rows, span)

            statement = queries.customer_statement("c", currency, span)
            groups = list(queries.stream_entries(statement))

            assert Fraction(statement.opening) == opening
            assert Fraction(statement.closing) == opening + sum(row["amount"] for row in within)
            assert statement.line_count == len(within)
            assert [
                (line.entry_id, line.line_no, statement.code_of(line), Fraction(line.amount))
                for group in groups
                for line in group.lines
            ] == [(row["entry_id"], row["line_no"], row["account__code"], row["amount"]) for row in within]
            assert len({group.entry.entry_id for group in groups}) == len(groups)
            running = accumulate((Fraction(group.amount) for group in groups), initial=Fraction(0))
            assert [0, *(Fraction(group.moved) for group in groups)] == list(running)
            assert read_by_pages_of_entries(statement) == groups

    @given(histories, spans)
    def test_accounts_and_days_add_up_to_the_whole(
        self, history: list[tuple[list[str], Decimal, datetime, datetime]], span: Span
    ) -> None:
        with taken_back():
            record(history)

            statement = queries.customer_statement("c", "USD", span)

            for of in statement.accounts:
                assert sum(Fraction(day.debit) for day in of.days) == Fraction(of.debit)
                assert sum(Fraction(day.credit) for day in of.days) == Fraction(of.credit)
                assert all(span.effective_from.date() <= day.day <= span.effective_before.date() for day in of.days)
            closings = [Fraction(of.account.normal(of.closing)) for of in statement.accounts]
            assert Fraction(statement.closing) == sum(closings)


def read_by_pages(statement: queries.AccountStatement) -> list[queries.SpanLine]:
    """Two lines a page; and back again, which gives the same."""
    read: list[queries.SpanLine] = []
    after = None
    while page := queries.statement_page(statement, limit=2, after=after):
        read, after = read + page, Position.parse(str(page[-1].position))
    back: list[queries.SpanLine] = []
    before = None if not read else Position(read[-1].effective_at, read[-1].entry_id, 10**4)
    while before is not None and (page := queries.statement_page(statement, limit=2, before=before)):
        back, before = page + back, page[0].position
    assert back == read
    return read


def read_by_pages_of_entries(statement: queries.CustomerStatement) -> list[queries.EntryGroup]:
    read: list[queries.EntryGroup] = []
    after = None
    while page := queries.entry_page(statement, limit=2, after=after):
        read, after = read + page, page[-1].entry.position
    back: list[queries.EntryGroup] = []
    before = None if not read else Position(read[-1].entry.effective_at, read[-1].entry.entry_id + 1, 0)
    while before is not None and (page := queries.entry_page(statement, limit=2, before=before)):
        back, before = page + back, page[0].entry.position
    assert back == read
    return read


@pytest.mark.usefixtures("chart")
class TestOneAccount:
    def test_tells_what_each_line_was(self) -> None:
        post(draft("usage", *accrual("of", "7").lines, cause={"period": "3"}))
        statement = queries.account_statement(UNBILLED, Span(FIRST, THIRD))

        (line,) = queries.statement_page(statement)

        assert (line.number, line.kind, line.cause, line.effective_at, line.recorded_at) == (
            1,
            "usage_accrued",
            {"period": "3"},
            FIRST,
            FIRST,
        )
        assert (line.debit, line.credit) == (Decimal(7), None)

    @pytest.mark.parametrize("code", [GRANT, REVENUE])
    def test_running_balance_is_in_the_normal_direction(self, code: str) -> None:
        post(issue("issue", "10"))
        post(burn("burn", "4"))
        statement = queries.account_statement(code, Span(FIRST, THIRD))

        balances = [statement.balance_when(line.moved) for line in queries.statement_page(statement)]

        assert balances == ([10, 6] if code == GRANT else [4])
        assert statement.closing == queries.balance_of(code)

    def test_an_unknown_one_is_refused(self) -> None:
        with pytest.raises(UnknownAccount):
            queries.account_statement("nowhere", Span(FIRST, THIRD))

    def test_an_empty_span_has_what_was_there(self) -> None:
        post(accrual("usage", "7"))

        statement = queries.account_statement(UNBILLED, Span(THIRD, THIRD))

        assert (statement.opening, statement.closing) == (Decimal(7), Decimal(7))
        assert statement.line_count == 0
        assert queries.statement_page(statement) == []


@pytest.mark.usefixtures("chart")
def test_a_customer_without_accounts_has_an_empty_statement() -> None:
    statement = queries.customer_statement("nobody", "USD", Span(FIRST, THIRD))

    assert not statement.accounts
    assert (statement.opening, statement.closing) == (Decimal(0), Decimal(0))
    assert (queries.entry_page(statement), list(queries.stream_entries(statement))) == ([], [])


@pytest.mark.parametrize(
    ("start", "end"), [(THIRD, FIRST), (FIRST.replace(tzinfo=None), THIRD), (FIRST, THIRD.replace(tzinfo=None))]
)
def test_a_span_needs_an_order_and_zones(start: datetime, end: datetime) -> None:
    with pytest.raises((ValueError, TypeError)):
        Span(start, end)


@pytest.mark.parametrize("text", ["", "2026-10-01_1", "x_1_1", "2026-10-01T00:00:00_1_1", "2026-10-01T00:00:00Z_a_1"])
def test_a_position_that_was_not_written_here_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (int's, or the instant's own)
        Position.parse(text)
