"""The races of test_races.py for entries that are posted one by one, and those of closing, sealing and reversing."""

import threading
from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.db import transaction

from ledger.operations import (
    AccountClosed,
    AccountNotEmpty,
    IdempotencyConflict,
    InsufficientBalance,
    JournalEntryDraft,
    PostedEntry,
    RecordedBeforeSeal,
    close_account,
    credit,
    debit,
    post_journal_entries,
    reverse_journal_entry,
)
from ledger.queries import balance_of, count_entries
from ledger.sealing import make_seals
from tests.ledger.chart import (
    FIRST,
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
from tests.ledger.test_races import SAME_KEY, WAIT_SECONDS, Elsewhere
from tests.ledger.test_verification import verified


@pytest.fixture
def other(committed_chart: None) -> Iterator[Elsewhere]:
    with Elsewhere() as elsewhere:
        yield elsewhere
    assert verified() == []


@pytest.fixture
def third(other: Elsewhere) -> Iterator[Elsewhere]:
    with Elsewhere() as elsewhere:
        yield elsewhere


@pytest.mark.parametrize(("mine", "theirs", "rule"), SAME_KEY)
def test_one_key_is_posted_once(
    other: Elsewhere, mine: JournalEntryDraft, theirs: JournalEntryDraft, rule: str | None
) -> None:
    with transaction.atomic():
        first = post(mine)
        waiting = other.start(lambda: post(theirs))
        other.wait_until_blocked()

    if rule is None:
        assert waiting.result(WAIT_SECONDS) == PostedEntry(first.id, created=False)
    else:
        with pytest.raises(IdempotencyConflict):
            waiting.result(WAIT_SECONDS)
    assert count_entries() == 1


@pytest.mark.parametrize(("mine", "theirs", "rule"), SAME_KEY)
def test_a_key_that_was_rolled_back_is_free(
    other: Elsewhere, mine: JournalEntryDraft, theirs: JournalEntryDraft, rule: str | None
) -> None:
    with transaction.atomic():
        post(mine)
        waiting = other.start(lambda: post(theirs))
        other.wait_until_blocked()
        transaction.set_rollback(True)

    assert waiting.result(WAIT_SECONDS).created
    assert count_entries() == 1


def test_a_floor_holds_for_both(other: Elsewhere) -> None:
    post(issue("issue", "3"))
    with transaction.atomic():
        post(burn("mine", "2"))
        waiting = other.start(lambda: post(burn("theirs", "2")))
        other.wait_until_blocked()

    with pytest.raises(InsufficientBalance):
        waiting.result(WAIT_SECONDS)
    assert balance_of(GRANT) == 1


def test_who_waited_goes_on_from_where_the_other_ended(other: Elsewhere) -> None:
    with transaction.atomic():
        post(accrual("mine", "1"))
        waiting = other.start(lambda: post(accrual("theirs", "2")))
        other.wait_until_blocked()

    assert waiting.result(WAIT_SECONDS).created
    assert balance_of(UNBILLED) == 3


def test_a_system_account_holds_nobody_up(other: Elsewhere) -> None:
    with transaction.atomic():
        post(accrual("mine", "1"))

        assert other.start(lambda: post(accrual("theirs", "2", OTHERS_UNBILLED))).result(WAIT_SECONDS).created


@pytest.mark.parametrize("order", [1, -1], ids=["lines in order of id", "lines in the opposite order"])
def test_accounts_are_locked_lowest_id_first(other: Elsewhere, third: Elsewhere, order: int) -> None:
    lines = [credit(UNBILLED, Decimal(1)), debit(OTHERS_UNBILLED, Decimal(1))][::order]
    with transaction.atomic():
        post(accrual("mine", "1", UNBILLED))
        waiting = other.start(lambda: post(draft("theirs", *lines)))
        other.wait_until_blocked()

        # It waits for the lower id without holding the higher one.
        assert third.start(lambda: post(accrual("free", "1", OTHERS_UNBILLED))).result(WAIT_SECONDS).created

    assert waiting.result(WAIT_SECONDS).created


@pytest.mark.parametrize("theirs_in_batches", [False, True], ids=["one by one", "beside batches"])
def test_opposite_orders_and_shared_keys_never_deadlock(other: Elsewhere, theirs_in_batches: bool) -> None:
    rounds = 40
    gate = threading.Barrier(2)

    def moves(name: str, number: int, source: str, target: str) -> list[JournalEntryDraft]:
        one = draft(f"{name}:{number}", debit(target, Decimal(1)), credit(source, Decimal(1)))
        return [one, accrual(f"shared:{number}:system", "1", REVENUE), issue(f"shared:{number}", "1")]

    def run(name: str, source: str, target: str, in_batches: bool) -> int:
        created = 0
        for number in range(rounds):
            drafts = moves(name, number, source, target)
            gate.wait(WAIT_SECONDS)
            outcomes = post_journal_entries(drafts, recorded_at=FIRST) if in_batches else [post(one) for one in drafts]
            created += sum(isinstance(outcome, PostedEntry) and outcome.created for outcome in outcomes)
        return created

    waiting = other.start(lambda: run("theirs", OTHERS_UNBILLED, UNBILLED, theirs_in_batches))
    created = run("mine", UNBILLED, OTHERS_UNBILLED, False) + waiting.result(WAIT_SECONDS)

    assert created == count_entries()
    assert balance_of(UNBILLED) == balance_of(OTHERS_UNBILLED) == 0
    assert balance_of(GRANT) == rounds


class TestClosingAnAccount:
    def test_waits_for_the_posting_under_way_and_sees_what_it_left(self, other: Elsewhere) -> None:
        with transaction.atomic():
            post(accrual("usage", "1"))
            waiting = other.start(lambda: close_account(code=UNBILLED, closed_at=FIRST))
            other.wait_until_blocked()

        with pytest.raises(AccountNotEmpty):
            waiting.result(WAIT_SECONDS)
        assert post(accrual("more", "1")).created

    def test_is_waited_for_and_obeyed(self, other: Elsewhere) -> None:
        with transaction.atomic():
            close_account(code=UNBILLED, closed_at=FIRST)
            waiting = other.start(lambda: post(accrual("usage", "1")))
            other.wait_until_blocked()

        with pytest.raises(AccountClosed):
            waiting.result(WAIT_SECONDS)
        assert count_entries() == 0

    def test_that_is_rolled_back_closes_nothing(self, other: Elsewhere) -> None:
        with transaction.atomic():
            close_account(code=UNBILLED, closed_at=FIRST)
            waiting = other.start(lambda: post(accrual("usage", "1")))
            other.wait_until_blocked()
            transaction.set_rollback(True)

        assert waiting.result(WAIT_SECONDS).created


class TestAReversal:
    @staticmethod
    def reverse(posted: PostedEntry) -> PostedEntry:
        return reverse_journal_entry(
            entry_id=posted.id, effective_at=FIRST, recorded_at=FIRST, actor="user:7", memo="", cause={}
        )

    def test_does_not_take_back_what_is_being_burned(self, other: Elsewhere) -> None:
        given = post(issue("issue", "3"))
        with transaction.atomic():
            post(burn("burn", "1"))
            waiting = other.start(lambda: self.reverse(given))
            other.wait_until_blocked()

        with pytest.raises(InsufficientBalance):
            waiting.result(WAIT_SECONDS)
        assert balance_of(GRANT) == 2

    def test_leaves_nothing_to_burn(self, other: Elsewhere) -> None:
        given = post(issue("issue", "3"))
        with transaction.atomic():
            self.reverse(given)
            waiting = other.start(lambda: post(burn("burn", "1")))
            other.wait_until_blocked()

        with pytest.raises(InsufficientBalance):
            waiting.result(WAIT_SECONDS)
        assert balance_of(GRANT) == balance_of(PROMOTIONS) == 0


class TestASealMadeWhileAPostingWaits:
    """The posting is recorded at an instant before the seal, and so in no seal at all: it must not get through."""

    @staticmethod
    def seal() -> None:
        list(make_seals(sealed_at=THIRD))

    def test_for_an_account(self, other: Elsewhere, third: Elsewhere) -> None:
        with transaction.atomic():
            post(accrual("mine", "1"))
            waiting = other.start(lambda: post(accrual("theirs", "1")))
            other.wait_until_blocked()
            third.start(self.seal).result(WAIT_SECONDS)

        with pytest.raises(RecordedBeforeSeal):
            waiting.result(WAIT_SECONDS)
        assert count_entries() == 1

    def test_for_a_key(self, other: Elsewhere, third: Elsewhere) -> None:
        with transaction.atomic():
            post(accrual("key", "1", REVENUE))
            waiting = other.start(lambda: post(accrual("key", "1", REVENUE)))
            other.wait_until_blocked()
            third.start(self.seal).result(WAIT_SECONDS)
            transaction.set_rollback(True)

        with pytest.raises(RecordedBeforeSeal):
            waiting.result(WAIT_SECONDS)
        assert count_entries() == 0
