"""What the ledger answers."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from ledger import queries
from ledger.operations import UnknownAccount, UnknownEntry, post_journal_entry
from ledger.queries import AccountBalance, JournalLine, TrialBalanceRow
from tests.ledger.chart import (
    FIRST,
    GRANT,
    OTHERS_UNBILLED,
    PROMOTIONS,
    RECEIVABLE,
    REVENUE,
    THIRD,
    UNBILLED,
    accrual,
    burn,
    issue,
    post,
)

pytestmark = pytest.mark.usefixtures("chart")


def test_balances_of_customer_are_his_alone() -> None:
    post(accrual("usage", "2"))
    post(accrual("others", "9", OTHERS_UNBILLED))

    assert queries.balances_of_customer("acme") == [
        AccountBalance(GRANT, "grant", "USD", "acme", Decimal(0)),
        AccountBalance(RECEIVABLE, "receivable", "USD", "acme", Decimal(0)),
        AccountBalance(UNBILLED, "unbilled", "USD", "acme", Decimal(2)),
    ]


def test_balance_at_tells_what_was_known_from_what_was_so() -> None:
    first, second, third = FIRST, FIRST + timedelta(days=1), THIRD
    post_journal_entry(replace(accrual("on time", "1"), effective_at=first), recorded_at=first)
    post_journal_entry(replace(accrual("late", "2"), effective_at=first), recorded_at=third)
    post_journal_entry(replace(accrual("new", "4"), effective_at=third), recorded_at=third)

    believed = {
        (known, effective): queries.balance_at(UNBILLED, effective_at=effective, known_at=known)
        for known in (second, third)
        for effective in (first, third)
    }
    assert believed == {(second, first): 1, (second, third): 1, (third, first): 3, (third, third): 7}


def test_balance_at_counts_in_the_normal_direction() -> None:
    post(issue("issue", "3"))

    assert queries.balance_at(GRANT, effective_at=FIRST, known_at=FIRST) == 3


def test_nothing_is_zero_on_either_side() -> None:
    """Not "-0", which an API and a file would show."""
    before = {"effective_at": FIRST - timedelta(days=1), "known_at": FIRST}
    for code in (GRANT, REVENUE, UNBILLED, PROMOTIONS):
        statement = queries.account_statement(code, queries.Span(FIRST, THIRD))
        held = (queries.balance_of(code), queries.balance_at(code, **before), statement.opening, statement.closing)
        assert [str(balance.normalize()) for balance in held] == ["0"] * 4


def test_lines_are_exact_to_the_last_digit() -> None:
    """Python's own arithmetic rounds to 28 digits, unary minus included."""
    long = "12345678901234567890123456.123456789012"
    post(accrual("long", long))

    (credited,) = queries.newest_lines([queries.find_account(REVENUE)], limit=1)
    held = queries.sums_by_kind(["revenue"])

    assert (credited.debit, credited.credit) == (None, Decimal(long))
    assert [of_kind.amount for of_kind in held] == [Decimal(long)]


def test_trial_balance_has_both_sides_of_every_account() -> None:
    post(issue("issue", "3"))
    post(burn("burn", "1"))

    assert queries.trial_balance() == [
        TrialBalanceRow(PROMOTIONS, "USD", Decimal(3), Decimal(0)),
        TrialBalanceRow(GRANT, "USD", Decimal(1), Decimal(3)),
        TrialBalanceRow(REVENUE, "USD", Decimal(0), Decimal(1)),
    ]


def test_trial_balance_at_two_times_is_what_was_believed_and_what_was_so() -> None:
    """docs/ledger-examples.md: usage of the 1st that arrived on the 3rd, after the books of the 1st had been read."""
    second = FIRST + timedelta(days=1)
    post_journal_entry(accrual("on time", "10"), recorded_at=FIRST)
    post_journal_entry(accrual("late", "2.5"), recorded_at=THIRD)
    post_journal_entry(replace(accrual("new", "4"), effective_at=THIRD), recorded_at=THIRD)

    def trial(effective_at: datetime | None, known_at: datetime | None) -> list[TrialBalanceRow]:
        return queries.trial_balance(effective_at=effective_at, known_at=known_at)

    def rows(amount: str) -> list[TrialBalanceRow]:
        return [
            TrialBalanceRow(REVENUE, "USD", Decimal(0), Decimal(amount)),
            TrialBalanceRow(UNBILLED, "USD", Decimal(amount), Decimal(0)),
        ]

    assert trial(second, second) == rows("10")
    assert trial(second, THIRD) == rows("12.5")
    assert trial(THIRD, second) == rows("10")
    assert trial(THIRD, THIRD) == trial(THIRD, None) == trial(None, THIRD) == trial(None, None) == rows("16.5")
    assert trial(second, None) == rows("12.5")
    assert trial(FIRST - timedelta(days=1), None) == []


@pytest.mark.parametrize(("code", "balances"), [(GRANT, [6, 7, 8, 9, 10]), (REVENUE, [None] * 4), (PROMOTIONS, [None])])
def test_the_newest_lines_are_read_page_by_page(code: str, balances: list[int | None]) -> None:
    post(issue("issue", "10"))
    for number in range(4):
        post(burn(f"burn:{number}", "1"))

    account = queries.find_account(code)
    read: list[JournalLine] = []
    before = None
    while page := queries.newest_lines([account], limit=2, before=before):
        read, before = read + page, page[-1].place

    assert [line.balance_after for line in read] == balances
    assert [line.entry_id for line in read] == sorted((line.entry_id for line in read), reverse=True)
    assert all((line.debit is None) != (line.credit is None) for line in read)


def test_postings_sum_meets_every_condition() -> None:
    post(issue("issue", "10"))
    post(burn("burn", "3"))
    post(replace(accrual("later", "4"), effective_at=THIRD))

    assert queries.postings_sum(codes=[REVENUE]) == {"USD": -7}
    assert queries.postings_sum(codes=[REVENUE], effective_before=THIRD) == {"USD": -3}
    assert queries.postings_sum(account_kinds=["revenue"], effective_from=THIRD) == {"USD": -4}
    assert queries.postings_sum(account_kinds=["grant"], entry_kinds=["grant_issued"]) == {"USD": -10}
    assert queries.postings_sum(codes=["nowhere"]) == {}
    assert queries.postings_sum() == {"USD": 0}


def test_entry_by_key() -> None:
    posted = post(accrual("usage", "1"))

    found = queries.entry_by_key("usage")

    assert found is not None
    assert found.id == posted.id
    assert queries.entry_by_key("other") is None


def test_unknown_names_are_refused() -> None:
    for ask in (queries.balance_of, queries.find_account):
        with pytest.raises(UnknownAccount):
            ask("nowhere")
    with pytest.raises(UnknownEntry):
        queries.entry(10**12)
