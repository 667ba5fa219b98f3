"""No page of the ledger asks once per row: as many queries for two hundred entries as for one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from ledger.models import Account, JournalEntry
from ledger.operations import post_journal_entries
from ledger.periods import close_periods
from tests.ledger.chart import FIRST, GRANT, REVENUE, THIRD, burn, issue

QueryCount = Callable[[int], Any]


@pytest.fixture(params=[1, 200])
def journal(request: pytest.FixtureRequest, chart: None) -> None:
    post_journal_entries([issue("issue", "1000")], recorded_at=FIRST)
    post_journal_entries([burn(f"burn:{number}", "1") for number in range(request.param)], recorded_at=FIRST)
    for number in range(min(request.param, 20)):
        day = THIRD.replace(day=3 + number)
        close_periods(before=day, decided_at=day, actor="user:fiona", reason="Reported")


# Two of each are the session and its user; superusers need no permissions read.
@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("account_changelist", 9),
        ("journalentry_changelist", 6),
        ("customer_statement", 10),
        ("trial_balance", 4),
        ("periodclosing_changelist", 3),
        ("seal_changelist", 10),
    ],
)
def test_of_lists(staff: Client, django_assert_num_queries: QueryCount, name: str, expected: int) -> None:
    arguments = ["acme"] if name == "customer_statement" else []
    _assert_queries(staff, django_assert_num_queries, expected, name, arguments)


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize(("code", "expected"), [(GRANT, 10), (REVENUE, 11)])
def test_of_an_account(staff: Client, django_assert_num_queries: QueryCount, code: str, expected: int) -> None:
    account = Account.objects.get(code=code)
    _assert_queries(staff, django_assert_num_queries, expected, "account_change", [account.pk])


@pytest.mark.usefixtures("journal")
def test_of_an_entry(staff: Client, django_assert_num_queries: QueryCount) -> None:
    newest = JournalEntry.objects.latest("id").pk
    _assert_queries(staff, django_assert_num_queries, 7, "journalentry_change", [newest])


@pytest.mark.usefixtures("journal")
def test_of_a_trial_balance_beside_another(staff: Client, django_assert_num_queries: QueryCount) -> None:
    _assert_queries(staff, django_assert_num_queries, 6, "trial_balance", [], {"then": "2026-10-02T00:00:00"})


def _assert_queries(
    staff: Client,
    count: QueryCount,
    expected: int,
    name: str,
    arguments: Sequence[object],
    query: Mapping[str, str] | None = None,
) -> None:
    address = reverse(f"admin:ledger_{name}", args=arguments)
    staff.get(address, query)  # fills the caches that a process fills once

    with count(expected):
        assert staff.get(address, query).status_code == 200
