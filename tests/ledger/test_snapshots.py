"""Snapshots of system accounts: always the sum of all postings, whoever is still writing while they are taken."""

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from itertools import count

import psycopg
import pytest
from django.core.management import call_command
from django.db import transaction
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from config.celery import app
from ledger import queries
from ledger.models import Account, BalanceSnapshot, Posting, SnapshotMark
from ledger.operations import AccountSpec, JournalEntryDraft, close_account, credit, debit, open_accounts
from ledger.snapshots import take_snapshots
from ledger.tasks import task_take_snapshots
from tests.ledger.chart import (
    FIRST,
    FX_EUR,
    GRANT,
    OTHERS_UNBILLED,
    PROMOTIONS,
    REVENUE,
    THIRD,
    UNBILLED,
    accrual,
    burn,
    draft,
    issue,
    post,
)
from tests.ledger.test_races import WAIT_SECONDS, Elsewhere, poster
from tests.ledger.test_verification import verified
from tests.plugin import admin_url
from tests.settled import wait_until_settled

EUROS = "revenue:usage:EUR"
SYSTEM = (REVENUE, PROMOTIONS, FX_EUR, EUROS)


@pytest.fixture
def world(committed_chart: None) -> Iterator[None]:
    """The chart, and a second account in euros. Afterwards every balance is the sum of its postings."""
    open_accounts([AccountSpec(EUROS, "revenue", "EUR", "C", keeps_balance=False)])
    yield
    assert_balances_are_sums()
    assert verified() == []


@pytest.fixture
def other(world: None) -> Iterator[Elsewhere]:
    with Elsewhere() as elsewhere:
        yield elsewhere


def assert_balances_are_sums() -> None:
    accounts = list(Account.objects.filter(code__in=SYSTEM))
    sums = {
        account.pk: Posting.objects.filter(account=account).aggregate(net=Sum("amount"))["net"] or 0
        for account in accounts
    }
    sums = {account.pk: sums[account.pk] * (1 if account.normal_side == "D" else -1) for account in accounts}
    assert queries.current_balances(accounts) == sums


def euros(key: str, amount: str) -> JournalEntryDraft:
    return draft(key, debit(FX_EUR, Decimal(amount)), credit(EUROS, Decimal(amount)))


def snapshot() -> int:
    """Mark, wait until the mark is settled, take; how many were taken."""
    first = take_snapshots(taken_at=THIRD, min_postings=1)
    wait_until_settled()
    return first.snapshot_count + take_snapshots(taken_at=THIRD, min_postings=1).snapshot_count


def taken() -> dict[str, list[Decimal]]:
    """Debits less credits of every snapshot, by account, in order."""
    found: dict[str, list[Decimal]] = {}
    for row in BalanceSnapshot.objects.select_related("account").order_by("through_entry"):
        found.setdefault(row.account.code, []).append(row.debit - row.credit)
    return found


def test_a_snapshot_holds_both_sides_of_every_system_account(world: None) -> None:
    post(issue("issue", "10"))
    post(burn("burn", "3"))
    post(draft("back", debit(REVENUE, Decimal(1)), credit(PROMOTIONS, Decimal(1))))
    last = post(euros("euros", "5"))
    assert snapshot() == 4

    rows = {row.account.code: row for row in BalanceSnapshot.objects.select_related("account")}

    assert {code: (row.debit, row.credit, row.posting_count) for code, row in rows.items()} == {
        PROMOTIONS: (Decimal(10), Decimal(1), 2),
        REVENUE: (Decimal(1), Decimal(3), 2),
        FX_EUR: (Decimal(5), Decimal(0), 1),
        EUROS: (Decimal(0), Decimal(5), 1),
    }
    assert {row.through_entry for row in rows.values()} == {last.id}


def test_a_balance_is_the_snapshot_and_what_came_after(world: None) -> None:
    post(issue("issue", "10"))
    post(burn("before", "3"))
    snapshot()
    post(burn("after", "0.000000000001"))
    post(burn("late", "2"))  # effective on the 1st, recorded after the snapshot: it counts from now on

    assert queries.balance_of(REVENUE) == Decimal("5.000000000001")
    assert queries.balance_of(PROMOTIONS) == 10
    assert taken() == {REVENUE: [-3], PROMOTIONS: [10]}


def test_what_is_read_is_the_snapshot(committed_chart: None) -> None:
    """A superuser's false snapshot shows in the balance, so nothing else was added up, and the audit names it."""
    post(issue("issue", "10"))
    snapshot()
    with psycopg.connect(admin_url(os.environ["DATABASE_URL"].rsplit("/", 1)[1]), autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("UPDATE ledger_balancesnapshot SET debit = debit + 7")

    assert queries.balance_of(PROMOTIONS) == 17
    assert verified() == [("ledger_snapshot_sum", None)]


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_lower_id_that_commits_after_the_snapshot_is_not_lost(other: Elsewhere, ends: str) -> None:
    with transaction.atomic():
        mine = post(accrual("mine", "1"))
        other.start(poster(accrual("theirs", "2", OTHERS_UNBILLED))).result(WAIT_SECONDS)
        while_open = [
            other.start(lambda: take_snapshots(taken_at=THIRD, min_postings=1)).result(WAIT_SECONDS) for _ in range(3)
        ]
        transaction.set_rollback(ends == "rollback")

    assert [made.snapshot_count for made in while_open] == [0, 0, 0]  # theirs is marked, and mine has a lower id
    marked = SnapshotMark.objects.get()
    assert marked.entry == mine.id + 1
    wait_until_settled()
    assert take_snapshots(taken_at=THIRD, min_postings=1).snapshot_count == 1
    assert taken() == {REVENUE: [-3 if ends == "commit" else -2]}


def test_a_transaction_that_began_before_the_mark_and_wrote_after_it_is_waited_for(other: Elsewhere) -> None:
    post(accrual("first", "1"))
    with transaction.atomic():
        post(accrual("mine", "2"))
        other.start(lambda: take_snapshots(taken_at=THIRD, min_postings=1)).result(WAIT_SECONDS)
        other.start(poster(accrual("theirs", "4", OTHERS_UNBILLED))).result(WAIT_SECONDS)
        post(accrual("mine again", "8"))
        made = other.start(lambda: take_snapshots(taken_at=THIRD, min_postings=1)).result(WAIT_SECONDS)

    assert made.snapshot_count == 0
    snapshot()
    assert queries.balance_of(REVENUE) == 15


def test_two_at_once_follow_each_other(other: Elsewhere) -> None:
    post(issue("issue", "1"))
    take_snapshots(taken_at=THIRD, min_postings=1)
    wait_until_settled()
    with transaction.atomic():
        taken_by_me = take_in_this_transaction()
        waiting = other.start(lambda: take_snapshots(taken_at=THIRD, min_postings=1))
        other.wait_until_blocked()

    assert taken_by_me == 1
    assert waiting.result(WAIT_SECONDS).snapshot_count == 0


def take_in_this_transaction() -> int:
    with transaction.get_connection().cursor() as cursor:
        cursor.execute("SELECT snapshot_count FROM ledger_take_snapshots(%s, 1)", [THIRD])
        (made,) = cursor.fetchone()
    return int(made)


def test_an_empty_ledger_has_no_snapshot(world: None) -> None:
    assert snapshot() == 0
    assert take_snapshots(taken_at=THIRD).through_entry is None
    assert queries.balance_of(REVENUE) == 0


def test_nothing_is_written_where_nothing_was_posted(world: None) -> None:
    post(issue("issue", "10"))
    post(burn("burn", "1"))
    snapshot()
    assert snapshot() == 0
    post(burn("again", "1"))

    assert snapshot() == 1
    assert {code: len(rows) for code, rows in taken().items()} == {REVENUE: 2, PROMOTIONS: 1}
    assert SnapshotMark.objects.count() == 2


def test_an_account_waits_until_it_has_postings_enough(world: None) -> None:
    post(move(0))
    snapshot()
    for number in range(1, 5):
        post(move(number))
    assert take_snapshots(taken_at=THIRD, min_postings=5).snapshot_count == 0
    assert SnapshotMark.objects.count() == 1
    post(move(5))

    take_snapshots(taken_at=THIRD, min_postings=5)
    wait_until_settled()

    assert take_snapshots(taken_at=THIRD, min_postings=5).snapshot_count == 2
    assert taken() == {PROMOTIONS: [1, 6], REVENUE: [-1, -6]}


def move(number: int) -> JournalEntryDraft:
    return draft(f"move:{number}", debit(PROMOTIONS, Decimal(1)), credit(REVENUE, Decimal(1)))


def test_accounts_that_keep_their_balance_need_none(world: None) -> None:
    post(issue("issue", "10"))
    post(burn("burn", "10"))
    close_account(code=GRANT, closed_at=THIRD)
    snapshot()

    assert set(taken()) == {REVENUE, PROMOTIONS}
    assert queries.balance_of(GRANT) == 0


def test_a_page_of_accounts_takes_two_queries(world: None, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    post(issue("issue", "10"))
    snapshot()
    post(euros("euros", "5"))
    post(burn("burn", "4"))
    accounts = list(Account.objects.all())

    with django_assert_num_queries(2):
        balances = queries.current_balances(accounts)

    by_code = {account.code: balances[account.pk] for account in accounts}
    assert by_code[REVENUE] == 4
    assert by_code[PROMOTIONS] == 10
    assert [by_code[code] for code in (FX_EUR, EUROS, GRANT, UNBILLED)] == [5, 5, 6, 0]
    with django_assert_num_queries(0):
        queries.current_balances([account for account in accounts if account.keeps_balance])


def test_a_mark_needs_a_transaction_of_its_own(world: None) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        take_snapshots(taken_at=THIRD)


@pytest.mark.parametrize("min_postings", [0, -1])
def test_no_snapshot_is_of_nothing(db: None, min_postings: int) -> None:
    with pytest.raises(ValueError, match="min_postings"):
        take_snapshots(taken_at=THIRD, min_postings=min_postings)


def test_the_command_says_how_far_it_came(world: None) -> None:
    posted = post(issue("issue", "1"))
    wait_until_settled()
    out = StringIO()
    for _ in range(2):  # another test's transaction may be open the first time
        wait_until_settled()
        out = StringIO()
        call_command("snapshot_ledger", stdout=out)

    assert json.loads(out.getvalue())["through_entry"] == posted.id
    assert taken() == {PROMOTIONS: [1]}


def test_snapshots_are_taken_every_minute(world: None) -> None:
    assert task_take_snapshots() == 0
    assert app.conf.beat_schedule["take ledger snapshots"]["task"] == task_take_snapshots.name


keys = count()
# Twice over, so that most histories have an entry that is open while a later one is marked and counted.
STEPS = ["theirs", "theirs", "mine", "mine", "euros", "snapshot", "snapshot", "snapshot", "commit", "rollback"]
amounts = st.sampled_from([Decimal(text) for text in ("1", "2.5", "0.000000000001", "400000000000.5")])
histories = st.lists(st.tuples(st.sampled_from(STEPS), amounts), min_size=6, max_size=18)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(history=histories)
def test_whatever_the_order_a_balance_is_the_sum_of_its_postings(
    other: Elsewhere, history: list[tuple[str, Decimal]]
) -> None:
    """`theirs` is posted in a transaction of the other connection that stays open until it commits or rolls back."""
    ends = {"commit": transaction.commit, "rollback": transaction.rollback}
    other.start(lambda: transaction.set_autocommit(False)).result(WAIT_SECONDS)
    for what, amount in [*history, ("commit", Decimal(0)), ("snapshot", Decimal(0))]:
        key = f"history:{next(keys)}"
        if what == "mine":
            post(accrual(key, str(amount)))
        elif what == "euros":
            post(euros(key, str(amount)))
        elif what == "theirs":
            other.start(poster(accrual(key, str(amount), OTHERS_UNBILLED))).result(WAIT_SECONDS)
        elif what == "snapshot":
            for _ in range(2):  # marked, then taken as far as nothing is open
                take_snapshots(taken_at=FIRST, min_postings=1)
        else:
            other.start(ends[what]).result(WAIT_SECONDS)
        assert_balances_are_sums()
    other.start(lambda: transaction.set_autocommit(True)).result(WAIT_SECONDS)
