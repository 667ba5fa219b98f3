"""The trial balance at any pair of instants, and beside what was known at another."""

from dataclasses import replace
from decimal import Decimal

import pytest
from django.urls import reverse

from ledger import periods, queries
from ledger.models import Account
from ledger.operations import AccountSpec, credit, debit, open_accounts, post_journal_entry
from tests.ledger.admin.conftest import Ask
from tests.ledger.admin.test_account_page import amounts_in
from tests.ledger.chart import (
    FIRST,
    FX_EUR,
    FX_USD,
    OTHERS_UNBILLED,
    REVENUE,
    THIRD,
    UNBILLED,
    accrual,
    draft,
    post,
)

pytestmark = pytest.mark.usefixtures("chart")
SECOND, FOURTH = "2026-10-02T00:00:00", "2026-10-04T00:00:00"


@pytest.fixture
def late_usage(chart: None) -> int:
    """docs/ledger-examples.md, example 8: usage of the 1st that was written down on the 3rd."""
    post_journal_entry(accrual("on time", "10"), recorded_at=FIRST)
    late = post_journal_entry(accrual("late", "2.5"), recorded_at=THIRD)
    post_journal_entry(replace(accrual("new", "4"), effective_at=THIRD), recorded_at=THIRD)
    return late.id


def totals_of(page: str) -> list[str]:
    return amounts_in(page.split("<tfoot>")[1].split("</tfoot>", maxsplit=1)[0])


@pytest.mark.usefixtures("late_usage")
class TestExampleEight:
    @pytest.mark.parametrize(
        ("before", "known_at", "balance"),
        [(SECOND, SECOND, "10.00"), (SECOND, FOURTH, "12.50"), (FOURTH, SECOND, "10.00"), (FOURTH, FOURTH, "16.50")],
    )
    def test_what_was_believed_and_what_was_so(self, page_of: Ask, before: str, known_at: str, balance: str) -> None:
        page = page_of("trial_balance", before=before, known_at=known_at)

        assert totals_of(page) == [balance] * 4
        assert "debits equal credits" in page

    def test_both_beside_each_other(self, page_of: Ask, late_usage: int) -> None:
        page = page_of("trial_balance", before=SECOND, then=SECOND)

        body = page.split("<tbody>")[1].split("</tbody>")[0]
        assert amounts_in(body) == [
            *("", "10.00", "", "12.50", "2.50 credit"),
            *("10.00", "", "12.50", "", "2.50 debit"),
        ]
        assert totals_of(page) == ["10.00", "10.00", "12.50", "12.50"]
        assert "2 changed since" in page
        learned = page.split("What was learned since")[1]
        assert f">#{late_usage}</a>" in learned
        assert learned.count("<tr>") == 2

    def test_says_where_nothing_changed(self, page_of: Ask) -> None:
        page = page_of("trial_balance", before=SECOND, then=FOURTH)

        assert "nothing changed since" in page
        assert "Nothing that takes effect in this time was recorded after that." in page


def test_an_entry_exactly_at_the_instant_is_left_out(page_of: Ask) -> None:
    post_journal_entry(replace(accrual("new", "4"), effective_at=THIRD), recorded_at=THIRD)

    assert "Nothing had been recorded" in page_of("trial_balance", before="2026-10-03T00:00:00")
    assert totals_of(page_of("trial_balance", before="2026-10-03T00:00:01"))[0] == "4.00"


def test_adds_up_customers_by_kind_and_names_system_accounts(page_of: Ask) -> None:
    post(accrual("usage", "7"))
    post(accrual("others", "5", OTHERS_UNBILLED))

    page = page_of("trial_balance")

    assert "unbilled, 2 accounts of customers</a>" in page
    assert f"{reverse('admin:ledger_account_changelist')}?kind=unbilled&amp;currency=USD" in page
    assert reverse("admin:ledger_account_change", args=[Account.objects.get(code=REVENUE).pk]) in page
    assert UNBILLED not in page


def test_currencies_stand_apart(page_of: Ask) -> None:
    open_accounts([AccountSpec(f"bank:{currency}", "bank", currency, "D") for currency in ("USD", "EUR")])
    dollars = (debit("bank:USD", Decimal(3)), credit(FX_USD, Decimal(3)))
    euros = (debit(FX_EUR, Decimal(2)), credit("bank:EUR", Decimal(2)))
    post(draft("fx", *dollars, *euros, kind="fx"))

    page = page_of("trial_balance")

    assert page.count("debits equal credits") == 2
    assert totals_of(page) == ["2.00"] * 4


def test_agrees_with_the_balances_of_all_accounts() -> None:
    post(accrual("usage", "7"))
    post(accrual("others", "5", OTHERS_UNBILLED))

    by_kind = {line.kind: line.balance for line in queries.trial_lines()}

    assert by_kind == {"revenue": Decimal(-12), "unbilled": Decimal(12)}
    assert sum(row.debit - row.credit for row in queries.trial_balance()) == 0


def test_offers_what_changed_since_the_books_were_closed(page_of: Ask) -> None:
    periods.close_periods(before=THIRD, decided_at=THIRD, actor="user:fiona", reason="Reported")

    page = page_of("trial_balance")

    assert "?before=2026-10-03T00%3A00%3A00&amp;then=2026-10-03T00%3A00%3A00" in page


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"before": "x"}, "With effect before (UTC): Enter an instant such as"),
        ({"known_at": SECOND, "then": FOURTH}, "Choose an earlier instant than the one as known at."),
    ],
)
def test_says_what_is_wrong_with_an_instant(page_of: Ask, query: dict[str, str], error: str) -> None:
    assert error in page_of("trial_balance", status=422, **query)
