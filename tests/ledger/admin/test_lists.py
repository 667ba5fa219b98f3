"""The lists of accounts and entries, and that nothing can be changed through any page of the ledger."""

from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from ledger.admin.read_only import LargeTablePaginator
from ledger.models import Account, JournalEntry
from ledger.showing import aligned, places_of, shown
from tests.ledger.admin.conftest import Ask
from tests.ledger.chart import GRANT, REVENUE, UNBILLED, accrual, burn, issue, post

pytestmark = pytest.mark.usefixtures("chart")


class TestAccounts:
    def test_are_searched_and_filtered(self, page_of: Ask) -> None:
        found = page_of("account_changelist", q="acme")
        grants = page_of("account_changelist", kind="grant")

        assert (UNBILLED in found, REVENUE in found) == (True, False)
        assert (GRANT in grants, UNBILLED in grants) == (True, False)

    def test_show_balances_also_of_system_accounts(self, page_of: Ask) -> None:
        post(accrual("usage", "7.123"))

        assert page_of("account_changelist").count(">7.123<") == 2


class TestEntries:
    @pytest.mark.parametrize("query", [{"q": "issue"}, {"kind": "grant_issued"}])
    def test_are_searched_and_filtered(self, page_of: Ask, query: dict[str, str]) -> None:
        issued, used = post(issue("issue", "1")), post(burn("burn", "1"))

        page = page_of("journalentry_changelist", **query)

        assert f">{issued.id}</a>" in page
        assert f">{used.id}</a>" not in page

    def test_are_found_by_number(self, page_of: Ask) -> None:
        first, second = post(issue("issue", "1")), post(burn("burn", "1"))

        page = page_of("journalentry_changelist", q=str(first.id))

        assert f">{first.id}</a>" in page
        assert f">{second.id}</a>" not in page

    def test_few_are_counted_exactly(self) -> None:
        post(issue("issue", "1"))

        assert LargeTablePaginator(JournalEntry.objects.order_by("id"), 50).count == 1


@pytest.mark.parametrize("model", ["account", "journalentry"])
def test_offer_neither_adding_nor_deleting(staff: Client, page_of: Ask, model: str) -> None:
    posted = post(issue("issue", "1"))
    pk = posted.id if model == "journalentry" else Account.objects.get(code=GRANT).pk

    assert staff.get(reverse(f"admin:ledger_{model}_add")).status_code == 403
    assert staff.post(reverse(f"admin:ledger_{model}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    assert staff.post(reverse(f"admin:ledger_{model}_change", args=[pk]), {"memo": "x"}).status_code == 403
    assert 'name="action"' not in page_of(f"{model}_changelist")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("-1234567.5", "−1,234,567.50"),
        ("0.000000000001", "0.000000000001"),
        ("99999999999999999999999999.999999999999", "99,999,999,999,999,999,999,999,999.999999999999"),
    ],
)
def test_amounts_are_shown_to_the_last_digit(amount: str, text: str) -> None:
    assert shown(Decimal(amount)) == text


def test_points_stand_below_each_other() -> None:
    column = [Decimal("1.5"), Decimal("-0.123456"), None]

    assert [aligned(amount, places_of(column)) for amount in column] == [
        "1.50\u2007\u2007\u2007\u2007",
        "−0.123456",
        "",
    ]
