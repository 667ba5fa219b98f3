"""Two connections at the same time, on real commits."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self, TypeVar

import pytest
from django.db import connection, connections, transaction

from ledger.operations import (
    AlreadyReversed,
    JournalEntryDraft,
    PostedEntry,
    RefusedEntry,
    open_accounts,
    post_journal_entries,
    reverse_journal_entry,
)
from ledger.queries import accounts_out_of_step, balance_of, count_entries, out_of_balance
from tests.ledger.chart import (
    FIRST,
    GRANT,
    OTHERS_UNBILLED,
    REVENUE,
    SPECS,
    UNBILLED,
    accrual,
    burn,
    issue,
    post,
)

WAIT_SECONDS = 60
Outcome = PostedEntry | RefusedEntry
Result = TypeVar("Result")


@pytest.fixture
def other(committed_chart: None) -> Iterator["Elsewhere"]:
    with Elsewhere() as elsewhere:
        yield elsewhere
    assert out_of_balance() == []
    assert accounts_out_of_step() == []


class Elsewhere:
    """Runs operations in a second thread, on a connection of its own."""

    def __enter__(self) -> Self:
        self.pool = ThreadPoolExecutor(max_workers=1)
        self.backend: int = self.pool.submit(_backend).result()
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.submit(connections.close_all).result()
        self.pool.shutdown()

    def start(self, work: Callable[[], Result]) -> "Future[Result]":
        return self.pool.submit(work)

    def wait_until_blocked(self) -> None:
        """Return once the other connection waits for a lock of ours."""
        ends = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < ends:
            with connection.cursor() as cursor:
                cursor.execute("SELECT cardinality(pg_blocking_pids(%s))", [self.backend])
                if cursor.fetchone() != (0,):
                    return
            time.sleep(0.01)
        pytest.fail("the other connection did not wait")


def _backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    return int(backend)


def poster(*drafts: JournalEntryDraft) -> Callable[[], list[Outcome]]:
    return lambda: post_journal_entries(drafts, recorded_at=FIRST)


SAME_KEY = [
    pytest.param(accrual("key", "1"), accrual("key", "1"), None, id="same body, through the account's lock"),
    pytest.param(issue("key", "1"), accrual("key", "1"), "ledger_key_reused", id="another body, no account shared"),
    pytest.param(accrual("key", "1"), accrual("key", "2"), "ledger_key_reused", id="another body, account shared"),
    pytest.param(
        accrual("key", "1", REVENUE), accrual("key", "1", REVENUE), None, id="same body, nothing but system accounts"
    ),
]


@pytest.mark.parametrize(("mine", "theirs", "rule"), SAME_KEY)
def test_one_key_is_posted_once(
    other: Elsewhere, mine: JournalEntryDraft, theirs: JournalEntryDraft, rule: str | None
) -> None:
    with transaction.atomic():
        first = post(mine)
        waiting = other.start(poster(accrual("before", "1", OTHERS_UNBILLED), theirs))
        other.wait_until_blocked()

    before, outcome = waiting.result(WAIT_SECONDS)

    assert isinstance(before, PostedEntry)
    assert before.created
    if rule is None:
        assert outcome == PostedEntry(first.id, created=False)
    else:
        assert isinstance(outcome, RefusedEntry)
        assert outcome.rule == rule
    assert count_entries() == 2


@pytest.mark.parametrize(("mine", "theirs", "rule"), SAME_KEY)
def test_a_key_that_was_rolled_back_is_free(
    other: Elsewhere, mine: JournalEntryDraft, theirs: JournalEntryDraft, rule: str | None
) -> None:
    with transaction.atomic():
        post(mine)
        waiting = other.start(poster(theirs))
        other.wait_until_blocked()
        transaction.set_rollback(True)

    (outcome,) = waiting.result(WAIT_SECONDS)

    assert isinstance(outcome, PostedEntry)
    assert outcome.created
    assert count_entries() == 1


def test_a_batch_goes_on_where_the_other_left_the_accounts(other: Elsewhere) -> None:
    with transaction.atomic():
        post(accrual("mine", "1"))
        post(issue("issue", "1"))
        # Its statement began before those were committed.
        waiting = other.start(poster(accrual("theirs", "2"), accrual("theirs too", "4"), issue("theirs also", "8")))
        other.wait_until_blocked()

    assert all(isinstance(outcome, PostedEntry) and outcome.created for outcome in waiting.result(WAIT_SECONDS))
    assert balance_of(UNBILLED) == 7
    assert balance_of(GRANT) == 9


def test_a_floor_holds_for_both(other: Elsewhere) -> None:
    post(issue("issue", "3"))
    with transaction.atomic():
        mine = post(burn("mine", "2"))
        waiting = other.start(poster(burn("theirs", "2"), burn("small", "1")))
        other.wait_until_blocked()

    theirs, small = waiting.result(WAIT_SECONDS)

    assert mine.created
    assert isinstance(theirs, RefusedEntry)
    assert theirs.rule == "ledger_account_floor"
    assert isinstance(small, PostedEntry)
    assert balance_of(GRANT) == 0


def test_an_entry_is_reversed_once(other: Elsewhere) -> None:
    posted = post(accrual("usage", "4"))

    def reverse(reason: str) -> PostedEntry:
        return reverse_journal_entry(
            entry_id=posted.id, effective_at=FIRST, recorded_at=FIRST, actor="user:7", memo="", cause={"reason": reason}
        )

    with transaction.atomic():
        reverse("mine")
        waiting = other.start(lambda: reverse("theirs"))
        other.wait_until_blocked()

    with pytest.raises(AlreadyReversed):
        waiting.result(WAIT_SECONDS)
    assert balance_of(UNBILLED) == 0


def test_a_system_account_holds_nobody_up(other: Elsewhere) -> None:
    with transaction.atomic():
        post(accrual("mine", "1"))
        (theirs,) = other.start(poster(accrual("theirs", "2", OTHERS_UNBILLED))).result(WAIT_SECONDS)

        assert isinstance(theirs, PostedEntry)

    assert balance_of(REVENUE) == 3


def test_an_account_is_opened_once(other: Elsewhere) -> None:
    fresh = [spec for spec in SPECS if spec.customer_key == "acme"]
    renamed = [type(spec)(f"new:{spec.code}", spec.kind, spec.currency, spec.normal_side, "acme") for spec in fresh]
    with transaction.atomic():
        open_accounts(renamed)
        waiting = other.start(lambda: open_accounts(renamed[::-1]))
        other.wait_until_blocked()

    waiting.result(WAIT_SECONDS)

    assert balance_of(renamed[0].code) == 0


def test_opposite_orders_and_shared_keys_never_deadlock(other: Elsewhere) -> None:
    rounds = 30
    gate = threading.Barrier(2)

    def run(backwards: bool, name: str) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for number in range(rounds):
            drafts = [
                accrual(f"{name}:{number}:1", "1", UNBILLED),
                accrual(f"{name}:{number}:2", "1", OTHERS_UNBILLED),
                issue(f"shared:{number}:1", "1"),
                accrual(f"shared:{number}:2", "1", REVENUE),
                accrual(f"shared:{number}:3", "1", REVENUE),
            ]
            gate.wait(WAIT_SECONDS)
            outcomes += post_journal_entries(drafts[::-1] if backwards else drafts, recorded_at=FIRST)
        return outcomes

    waiting = other.start(lambda: run(True, "theirs"))
    outcomes = [*run(False, "mine"), *waiting.result(WAIT_SECONDS)]

    assert all(isinstance(outcome, PostedEntry) for outcome in outcomes)
    assert count_entries() == rounds * 7
    assert balance_of(UNBILLED) == balance_of(OTHERS_UNBILLED) == 2 * rounds
    assert balance_of(GRANT) == rounds
