"""An account's page: its statement over a span, as known when, page by page."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from ledger.admin.balance_chart import POINTS_MAX, end_of_days
from ledger.models import Account
from ledger.operations import post_journal_entries, post_journal_entry
from ledger.queries import Span, account_statement
from tests.ledger.admin.conftest import Ask
from tests.ledger.chart import FIRST, GRANT, OTHERS_UNBILLED, REVENUE, THIRD, UNBILLED, accrual, burn, issue, post

pytestmark = pytest.mark.usefixtures("chart")
DAY = timedelta(days=1)
OCTOBER = {"month": "2026-10"}


def account_id(code: str) -> int:
    return Account.objects.get(code=code).pk


def amounts_in(page: str) -> list[str]:
    """The cells of the statement that hold amounts, without the blanks that align them."""
    cells = page.split('class="bb-number">')[1:]
    return [cell.split("<")[0].strip() for cell in cells]


def test_reads_like_a_statement(page_of: Ask) -> None:
    post(issue("issue", "1234.5"))
    posted = post(burn("burn", "0.000000000001"))

    page = page_of("account_change", account_id(GRANT))

    assert f'href="{reverse("admin:ledger_journalentry_change", args=[posted.id])}">#{posted.id}</a>' in page
    assert amounts_in(page) == [
        *("Debit", "Credit", "Balance"),
        "0.00",
        *("", "1,234.50", "1,234.50"),
        *("0.000000000001", "", "1,234.499999999999"),
        *("0.000000000001", "1,234.50", "1,234.499999999999"),
    ]


def test_opens_with_the_month_of_the_newest_entry(page_of: Ask) -> None:
    post(accrual("usage", "7"))

    page = page_of("account_change", account_id(UNBILLED))

    assert "<h2>October 2026</h2>" in page
    assert "?from=2026-09-01&amp;before=2026-10-01" in page
    assert "?from=2026-11-01&amp;before=2026-12-01" in page


def test_carries_what_was_there_before_the_span(page_of: Ask) -> None:
    post(accrual("usage", "7"))

    page = page_of("account_change", account_id(UNBILLED), month="2026-11")

    assert amounts_in(page)[3:] == ["7.00", "0.00", "0.00", "7.00"]
    assert "Nothing took effect on this account in this time." in page


def test_leaves_out_what_was_not_known(page_of: Ask) -> None:
    post_journal_entry(accrual("on time", "10"), recorded_at=FIRST)
    post_journal_entry(accrual("late", "2.5"), recorded_at=THIRD)

    now = page_of("account_change", account_id(UNBILLED), **OCTOBER)
    then = page_of("account_change", account_id(UNBILLED), known_at="2026-10-02T00:00:00", **OCTOBER)

    assert (amounts_in(now)[-1], amounts_in(then)[-1]) == ("12.50", "10.00")
    assert ("recorded <time" in now, "recorded <time" in then) == (True, False)
    assert "what was recorded later is left out" in then


def test_turns_its_pages(page_of: Ask) -> None:
    post(issue("issue", "1000"))
    post_journal_entries([burn(f"burn:{number}", "1") for number in range(150)], recorded_at=FIRST)

    first = page_of("account_change", account_id(GRANT), **OCTOBER)
    position = first.split("after_line=")[1].split('"')[0]
    second = page_of("account_change", account_id(GRANT), after_line=position, **OCTOBER)
    back_at = second.split("before_line=")[1].split('"')[0]
    back = page_of("account_change", account_id(GRANT), before_line=back_at, **OCTOBER)

    assert ("Lines 1 to 100 of 151" in first, "Lines 101 to 151 of 151" in second) == (True, True)
    assert ("Carried forward" in second, "Closing balance</td>" in first) == (True, False)
    assert amounts_in(second)[3] == amounts_in(first)[-1] == "901.00"
    assert amounts_in(second)[-1] == "850.00"
    assert amounts_in(back) == amounts_in(first)


def test_a_position_that_cannot_be_read_is_the_first_page(page_of: Ask) -> None:
    post(issue("issue", "1000"))

    assert "Lines 1 to 1 of 1" in page_of("account_change", account_id(GRANT), after_line="nonsense", **OCTOBER)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"from": "2026-10-01", "before": "2026-09-01"}, "Before (UTC): The span ends before it begins."),
        ({"from": "2026-10-01"}, "Before (UTC): Enter a day such as 2026-10-31."),
        ({"from": "x", "before": "2026-09-01"}, "From (UTC): Enter a day such as 2026-10-31."),
        ({"from": "0001-01-01", "before": "2026-09-01"}, "From (UTC): Choose a day between"),
        ({"from": "1900-01-01", "before": "2026-09-01"}, "Choose an earlier day."),
        ({"known_at": "x"}, "As known at (UTC): Enter an instant such as 2026-10-31 23:59:59, or nothing."),
    ],
)
def test_says_what_is_wrong_with_a_span(page_of: Ask, query: dict[str, str], error: str) -> None:
    post(issue("issue", "1000"))

    page = page_of("account_change", account_id(GRANT), status=422, **query)

    assert error in page
    assert "Shown is October 2026." in page


def test_shows_what_a_system_account_sums_to(page_of: Ask) -> None:
    post(accrual("usage", "7"))

    page = page_of("account_change", account_id(REVENUE))

    assert "System account" in page
    assert amounts_in(page)[-1] == "7.00"


def test_of_nothing_leads_back(staff: Client) -> None:
    assert staff.get(reverse("admin:ledger_account_change", args=["nowhere"])).status_code == 302


class TestChart:
    def test_has_the_balance_at_the_end_of_each_day(self) -> None:
        post(accrual("first", "1"))
        post(replace(accrual("second", "2"), effective_at=FIRST + DAY + timedelta(hours=23)))
        post(replace(accrual("after", "4"), effective_at=FIRST + 5 * DAY))

        points = end_of_days(account_statement(UNBILLED, Span(FIRST, FIRST + 3 * DAY)))

        assert points == [
            (FIRST.date(), Decimal(1)),
            ((FIRST + DAY).date(), Decimal(3)),
            ((FIRST + 2 * DAY).date(), Decimal(3)),
        ]

    def test_of_a_long_span_leaves_days_out_and_ends_with_the_last(self) -> None:
        post(accrual("first", "1"))
        statement = account_statement(UNBILLED, Span(FIRST - 4000 * DAY, FIRST + DAY))

        points = end_of_days(statement)

        assert len(points) <= POINTS_MAX
        assert points[-1] == (FIRST.date(), statement.closing)

    def test_is_not_drawn_where_nothing_moved(self, page_of: Ask) -> None:
        post(accrual("usage", "7"))

        assert "<canvas" not in page_of("account_change", account_id(OTHERS_UNBILLED))
        assert "<canvas" in page_of("account_change", account_id(UNBILLED))
