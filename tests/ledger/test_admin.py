"""The ledger's pages: they load with a fixed number of queries, show both columns, and change nothing."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from ledger.admin import LargeTablePaginator, shown
from ledger.causes import cause_links
from ledger.models import Account, JournalEntry
from ledger.operations import post_journal_entries, reverse_journal_entry
from tests.ledger.chart import FIRST, GRANT, REVENUE, THIRD, UNBILLED, accrual, burn, draft, issue, post

pytestmark = pytest.mark.usefixtures("chart")
QueryCount = Callable[[int], Any]


@pytest.fixture
def staff(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_superuser("finance", password="x"))
    return client


def page_of(staff: Client, name: str, *arguments: object, **query: str) -> str:
    response = staff.get(reverse(f"admin:ledger_{name}", args=arguments), query)
    assert response.status_code == 200
    return response.content.decode()


def account_id(code: str) -> int:
    return Account.objects.get(code=code).pk


def queries_of(staff: Client, count: QueryCount, expected: int, name: str, *arguments: object) -> str:
    page_of(staff, name, *arguments)  # fills the caches that a process fills once

    with count(expected):
        return page_of(staff, name, *arguments)


@pytest.mark.parametrize("entries", [1, 30])
class TestQueryCounts:
    """The same for one entry and for thirty."""

    @pytest.fixture(autouse=True)
    def journal(self, chart: None, staff: Client, entries: int) -> None:
        post_journal_entries([issue("issue", "1000")], recorded_at=FIRST)
        post_journal_entries([burn(f"burn:{number}", "1") for number in range(entries)], recorded_at=FIRST)

    def test_of_the_list_of_accounts(self, staff: Client, django_assert_num_queries: QueryCount) -> None:
        queries_of(staff, django_assert_num_queries, 7, "account_changelist")

    def test_of_an_account_with_its_statement(self, staff: Client, django_assert_num_queries: QueryCount) -> None:
        queries_of(staff, django_assert_num_queries, 5, "account_change", account_id(GRANT))

    def test_of_a_system_account(self, staff: Client, django_assert_num_queries: QueryCount) -> None:
        queries_of(staff, django_assert_num_queries, 6, "account_change", account_id(REVENUE))

    def test_of_the_list_of_entries(self, staff: Client, django_assert_num_queries: QueryCount) -> None:
        queries_of(staff, django_assert_num_queries, 6, "journalentry_changelist")

    def test_of_an_entry_with_its_postings(self, staff: Client, django_assert_num_queries: QueryCount) -> None:
        newest = JournalEntry.objects.latest("id").pk
        queries_of(staff, django_assert_num_queries, 6, "journalentry_change", newest)


class TestAccountPage:
    def test_reads_like_a_statement(self, staff: Client) -> None:
        post(issue("issue", "1234.5"))
        posted = post(burn("burn", "0.000000000001"))

        page = page_of(staff, "account_change", account_id(GRANT))

        entry_page = reverse("admin:ledger_journalentry_change", args=[posted.id])
        assert f'href="{entry_page}">#{posted.id}</a>' in page
        for figure in ("1,234.50", "0.000000000001", "1,234.499999999999"):
            assert figure in page

    def test_turns_its_pages(self, staff: Client) -> None:
        post(issue("issue", "100"))
        post_journal_entries([burn(f"burn:{number}", "1") for number in range(60)], recorded_at=FIRST)
        oldest_shown = JournalEntry.objects.get(idempotency_key="burn:10").pk

        first = page_of(staff, "account_change", account_id(GRANT))
        second = page_of(staff, "account_change", account_id(GRANT), before=f"{oldest_shown}-1")

        assert f"?before={oldest_shown}-1" in first
        assert "?before=" not in second
        assert ">#{}<".format(JournalEntry.objects.get(idempotency_key="issue").pk) in second

    def test_shows_what_a_system_account_sums_to(self, staff: Client) -> None:
        post(accrual("usage", "7"))

        assert "7.00 USD" in page_of(staff, "account_change", account_id(REVENUE))

    def test_of_nothing_leads_back(self, staff: Client) -> None:
        response = staff.get(reverse("admin:ledger_account_change", args=["nowhere"]))

        assert response.status_code == 302


class TestEntryPage:
    def test_shows_both_columns_and_their_sum(self, staff: Client) -> None:
        posted = post(accrual("usage", "7.25"))

        page = page_of(staff, "journalentry_change", posted.id)

        assert page.count("7.25") == 4
        assert f'href="{reverse("admin:ledger_account_change", args=[account_id(UNBILLED)])}">{UNBILLED}</a>' in page

    def test_links_what_caused_it(self, staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(cause_links, "invoice", lambda value: f"/invoices/{value}")
        lines = accrual("usage", "1").lines
        posted = post(draft("usage", *lines, cause={"invoice": "in_<1>", "window": "w_1"}))

        page = page_of(staff, "journalentry_change", posted.id)

        assert 'invoice <a class="text-primary-600 underline" href="/invoices/in_&lt;1&gt;">in_&lt;1&gt;</a>' in page
        assert "window w_1" in page

    def test_leads_to_its_reversal_and_back(self, staff: Client) -> None:
        posted = post(accrual("usage", "1"))
        reversal = reverse_journal_entry(
            entry_id=posted.id, effective_at=THIRD, recorded_at=THIRD, actor="user:7", memo="", cause={}
        )

        assert f">#{reversal.id}</a>" in page_of(staff, "journalentry_change", posted.id)
        assert f">#{posted.id}</a>" in page_of(staff, "journalentry_change", reversal.id)


class TestLists:
    def test_of_accounts_is_searched_and_filtered(self, staff: Client) -> None:
        found = page_of(staff, "account_changelist", q="acme")
        grants = page_of(staff, "account_changelist", kind="grant")

        assert (UNBILLED in found, REVENUE in found) == (True, False)
        assert (GRANT in grants, UNBILLED in grants) == (True, False)

    @pytest.mark.parametrize("query", [{"q": "issue"}, {"kind": "grant_issued"}])
    def test_of_entries_is_searched_and_filtered(self, staff: Client, query: dict[str, str]) -> None:
        issued, used = post(issue("issue", "1")), post(burn("burn", "1"))

        page = page_of(staff, "journalentry_changelist", **query)

        assert f">{issued.id}</a>" in page
        assert f">{used.id}</a>" not in page

    def test_of_entries_finds_one_by_number(self, staff: Client) -> None:
        first, second = post(issue("issue", "1")), post(burn("burn", "1"))

        page = page_of(staff, "journalentry_changelist", q=str(first.id))

        assert f">{first.id}</a>" in page
        assert f">{second.id}</a>" not in page

    def test_of_few_entries_is_counted_exactly(self) -> None:
        post(issue("issue", "1"))

        assert LargeTablePaginator(JournalEntry.objects.order_by("id"), 50).count == 1


class TestReadOnly:
    @pytest.mark.parametrize("model", ["account", "journalentry"])
    def test_offers_neither_adding_nor_deleting(self, staff: Client, model: str) -> None:
        posted = post(issue("issue", "1"))
        pk = posted.id if model == "journalentry" else account_id(GRANT)

        assert staff.get(reverse(f"admin:ledger_{model}_add")).status_code == 403
        assert staff.post(reverse(f"admin:ledger_{model}_delete", args=[pk]), {"post": "yes"}).status_code == 403
        assert staff.post(reverse(f"admin:ledger_{model}_change", args=[pk]), {"memo": "x"}).status_code == 403
        assert 'name="action"' not in page_of(staff, f"{model}_changelist")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("-1234567.5", "-1,234,567.50"),
        ("0.000000000001", "0.000000000001"),
        ("99999999999999999999999999.999999999999", "99,999,999,999,999,999,999,999,999.999999999999"),
    ],
)
def test_amounts_are_shown_to_the_last_digit(amount: str, text: str) -> None:
    assert shown(Decimal(amount)) == text
