"""A customer's statement: all accounts entry by entry, for who answers the customer and sees no other account."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from config import roles
from ledger.causes import cause_links, cause_permissions
from ledger.operations import AccountSpec, credit, debit, open_accounts
from tests.ledger.admin.conftest import Ask
from tests.ledger.admin.test_account_page import amounts_in
from tests.ledger.chart import GRANT, OTHERS_UNBILLED, RECEIVABLE, REVENUE, UNBILLED, accrual, burn, draft, issue, post

pytestmark = pytest.mark.usefixtures("chart")
OCTOBER = {"month": "2026-10"}


def rows_of(page: str) -> list[str]:
    """The amounts of the entries, below the head of the table: debits, credits, balances."""
    return amounts_in(page.split("<h2>Statement</h2>")[1])[3:]


def test_has_each_entry_with_its_lines_and_the_balance_of_all_accounts(page_of: Ask) -> None:
    post(issue("issue", "10"))
    post(draft("usage", debit(GRANT, Decimal(4)), debit(UNBILLED, Decimal(3)), credit(REVENUE, Decimal(7))))
    post(draft("invoice", debit(RECEIVABLE, Decimal(3)), credit(UNBILLED, Decimal(3))))
    post(accrual("others", "9", OTHERS_UNBILLED))

    page = page_of("customer_statement", "acme", **OCTOBER)

    assert rows_of(page) == [
        "0.00",
        *("−10.00", "", "10.00"),  # the grant: the customer is owed it
        *("−3.00", "4.00", "", "3.00", ""),
        *("−3.00", "3.00", "", "", "3.00"),
        *("10.00", "13.00", "−3.00"),
    ]
    assert page.count("owed to the customer</span>") == 1  # beside the closing balance
    assert OTHERS_UNBILLED not in page
    assert REVENUE not in page


def test_has_each_account_with_its_own_balances(page_of: Ask) -> None:
    post(issue("issue", "10"))
    post(burn("burn", "4"))

    table = page_of("customer_statement", "acme", **OCTOBER).split("<h2>By account</h2>")[1].split("</table>")[0]

    assert amounts_in(table)[4:] == [
        *("0.00", "4.00", "10.00", "6.00"),
        *("0.00", "", "", "0.00"),
        *("0.00", "", "", "0.00"),
        *("0.00", "4.00", "10.00", "−6.00"),
    ]


def test_has_a_page_for_each_currency(page_of: Ask) -> None:
    open_accounts([AccountSpec("unbilled:acme:EUR", "unbilled", "EUR", "D", "acme")])
    post(accrual("usage", "7"))

    dollars = page_of("customer_statement", "acme", currency="USD", **OCTOBER)
    euros = page_of("customer_statement", "acme", currency="EUR", **OCTOBER)

    assert (UNBILLED in dollars, UNBILLED in euros, "unbilled:acme:EUR" in euros) == (True, False, True)
    assert "currency=EUR" in dollars


def test_turns_its_pages_by_whole_entries(page_of: Ask) -> None:
    post(issue("issue", "1000"))
    for number in range(60):
        post(
            draft(f"usage:{number}", debit(GRANT, Decimal(1)), debit(UNBILLED, Decimal(1)), credit(REVENUE, Decimal(2)))
        )

    first = page_of("customer_statement", "acme", **OCTOBER)
    position = first.split("after_line=")[1].split("&")[0].split('"')[0]
    second = page_of("customer_statement", "acme", after_line=position, **OCTOBER)

    assert "Lines 1 to 101 of 121" in first
    assert "Lines 102 to 121 of 121" in second
    assert rows_of(first)[-5] == rows_of(second)[0] == "−900.00"
    assert rows_of(second)[-1] == "−880.00"


def test_of_a_customer_without_accounts_says_so(page_of: Ask) -> None:
    assert "no account of a customer with this key" in page_of("customer_statement", "nobody")


class TestWhoMaySeeIt:
    @pytest.fixture(autouse=True)
    def journal(self, chart: None, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("period", "payout"):
            monkeypatch.setitem(cause_links, name, lambda value: f"/{value}")
        monkeypatch.setitem(cause_permissions, "period", "billing.view_billingperiod")
        monkeypatch.setitem(cause_permissions, "payout", "ledger.view_account")
        lines = accrual("of", "7").lines
        self.entry = post(draft("usage", *lines, cause={"period": "p_1", "payout": "po_1", "event": "evt_1"}))

    def ask(self, client: Client) -> tuple[int, str]:
        answer = client.get(reverse("admin:ledger_customer_statement", args=["acme"]), OCTOBER)
        return answer.status_code, answer.content.decode()

    def test_customer_success_sees_it_without_a_way_into_the_ledger(self, sign_in: Callable[[str], Client]) -> None:
        client = sign_in(roles.CUSTOMER_SUCCESS)

        status, page = self.ask(client)

        assert status == 200
        assert rows_of(page)[-1] == "7.00"
        assert ('href="/p_1"' in page, 'href="/po_1"' in page, "po_1" in page) == (True, False, True)
        assert reverse("admin:ledger_journalentry_change", args=[self.entry.id]) not in page
        assert "/admin/ledger/account/1" not in page.replace("/admin/ledger/account/customers", "")
        assert client.get(reverse("admin:ledger_account_changelist")).status_code == 403
        assert client.get(reverse("admin:ledger_trial_balance")).status_code == 403
        assert client.get(reverse("admin:ledger_journalentry_change", args=[self.entry.id])).status_code == 403

    @pytest.mark.parametrize("role", [roles.FINANCE, roles.ENGINEERING])
    def test_who_sees_the_ledger_gets_to_entries_and_accounts(
        self, sign_in: Callable[[str], Client], role: str
    ) -> None:
        status, page = self.ask(sign_in(role))

        assert status == 200
        assert reverse("admin:ledger_journalentry_change", args=[self.entry.id]) in page
        assert 'href="/po_1"' in page

    def test_nobody_unknown_does(self, client: Client) -> None:
        assert self.ask(client)[0] == 302
