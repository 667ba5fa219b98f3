"""Late facts of a closed period: they take effect at the start of the open one, and say when they happened."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from django.db import transaction

from ledger.operations import (
    IdempotencyConflict,
    JournalEntryDraft,
    PeriodClosed,
    PostedEntry,
    RefusedEntry,
    post_journal_entries,
    post_journal_entry,
    reverse_journal_entry,
)
from ledger.periods import reopen_periods
from ledger.queries import balance_at, balance_of, entry
from tests.ledger.chart import FIRST, UNBILLED, accrual, burn, draft, post
from tests.ledger.test_periods import NOVEMBER, OCTOBERS_END, close_october
from tests.ledger.test_races import WAIT_SECONDS, Elsewhere, poster
from tests.ledger.test_verification import verified


def late(key: str, amount: str, effective_at: datetime = FIRST) -> JournalEntryDraft:
    return replace(accrual(key, amount), effective_at=effective_at, moves_to_open_period=True)


def times_of(posted: PostedEntry | RefusedEntry) -> tuple[datetime, str | None]:
    """When the entry takes effect, and when it says that it happened."""
    assert isinstance(posted, PostedEntry), posted
    stored = entry(posted.id)
    return stored.effective_at, stored.cause.get("occurred_at")


@pytest.mark.usefixtures("chart")
class TestALateFact:
    def test_takes_effect_at_the_start_of_the_open_period(self) -> None:
        close_october()

        posted = post_journal_entry(late("usage", "3"), recorded_at=NOVEMBER)

        assert times_of(posted) == (NOVEMBER, "2026-10-01T00:00:00.000000+00:00")
        assert balance_at(UNBILLED, effective_at=OCTOBERS_END, known_at=NOVEMBER) == 0
        assert balance_of(UNBILLED) == 3

    def test_keeps_its_own_time_where_that_is_open(self) -> None:
        before = post(late("before the closing", "1"))
        close_october()
        at_once = post(late("of November", "1", NOVEMBER))

        assert times_of(before) == (FIRST, None)
        assert times_of(at_once) == (NOVEMBER, None)

    def test_says_the_instant_in_utc_to_the_microsecond(self) -> None:
        close_october()
        in_delhi = datetime(2026, 10, 5, 1, 2, 3, 40, tzinfo=timezone(timedelta(hours=5, minutes=30)))

        posted = post(replace(late("usage", "1", in_delhi), cause={"window": "7"}))

        assert entry(posted.id).cause == {"window": "7", "occurred_at": "2026-10-04T19:32:03.000040+00:00"}

    def test_is_moved_alone_among_others_of_its_batch(self) -> None:
        close_october()

        moved, refused, november = post_journal_entries(
            [late("moved", "1"), accrual("by hand", "2"), late("november", "4", NOVEMBER)], recorded_at=NOVEMBER
        )

        assert times_of(moved)[0] == times_of(november)[0] == NOVEMBER
        assert isinstance(refused, RefusedEntry)
        assert isinstance(refused.error, PeriodClosed)
        assert balance_of(UNBILLED) == 5

    def test_is_refused_for_everything_else(self) -> None:
        close_october()

        (outcome,) = post_journal_entries([replace(burn("burn", "1"), moves_to_open_period=True)], recorded_at=NOVEMBER)

        assert isinstance(outcome, RefusedEntry)
        assert outcome.rule == "ledger_account_floor"

    def test_cannot_say_itself_when_it_happened(self) -> None:
        with pytest.raises(ValueError, match="occurred_at"):
            draft("usage", *accrual("x", "1").lines, cause={"occurred_at": "2026-10-01"})

    def test_leaves_nothing_for_verify_ledger_to_find(self) -> None:
        close_october()
        post(late("usage", "3"))

        assert verified() == []


@pytest.mark.usefixtures("chart")
class TestARepeat:
    """The digest is over what was asked: a closing between two tries changes nothing."""

    def test_after_the_closing(self) -> None:
        first = post(late("usage", "1"))
        close_october()

        assert post(late("usage", "1")) == PostedEntry(first.id, created=False)
        assert times_of(first) == (FIRST, None)

    def test_of_one_that_was_moved(self) -> None:
        close_october()
        first = post(late("usage", "1"))

        assert post(late("usage", "1")) == PostedEntry(first.id, created=False)
        with pytest.raises(IdempotencyConflict):
            post(late("usage", "1", NOVEMBER))

    def test_after_the_period_was_opened_again(self) -> None:
        close_october()
        first = post(late("usage", "1"))
        reopen_periods(since=FIRST, decided_at=NOVEMBER, actor="user:max", reason="x")

        assert post(late("usage", "1")) == PostedEntry(first.id, created=False)
        assert times_of(first)[0] == NOVEMBER

    def test_in_one_batch(self) -> None:
        close_october()

        first, again = post_journal_entries([late("usage", "1"), late("usage", "1")], recorded_at=NOVEMBER)

        assert isinstance(first, PostedEntry)
        assert again == PostedEntry(first.id, created=False)
        assert balance_of(UNBILLED) == 1


@pytest.mark.usefixtures("chart")
class TestALateReversal:
    def reverse(self, posted: PostedEntry, *, moves_to_open_period: bool) -> PostedEntry:
        return reverse_journal_entry(
            entry_id=posted.id,
            effective_at=FIRST,
            recorded_at=NOVEMBER,
            actor="user:7",
            memo="",
            cause={"refund": "re_1"},
            moves_to_open_period=moves_to_open_period,
        )

    def test_moves_too(self) -> None:
        posted = post(accrual("usage", "1"))
        close_october()

        with pytest.raises(PeriodClosed):
            self.reverse(posted, moves_to_open_period=False)
        mirror = self.reverse(posted, moves_to_open_period=True)

        assert entry(mirror.id).effective_at == NOVEMBER
        assert entry(mirror.id).cause == {"refund": "re_1", "occurred_at": "2026-10-01T00:00:00.000000+00:00"}
        assert balance_at(UNBILLED, effective_at=OCTOBERS_END, known_at=NOVEMBER) == 1
        assert balance_of(UNBILLED) == 0

    def test_is_the_same_when_said_again(self) -> None:
        posted = post(accrual("usage", "1"))
        mirror = self.reverse(posted, moves_to_open_period=True)
        close_october()

        assert self.reverse(posted, moves_to_open_period=True) == PostedEntry(mirror.id, created=False)
        assert entry(mirror.id).effective_at == FIRST


@pytest.fixture
def other(committed_chart: None) -> Iterator[Elsewhere]:
    with Elsewhere() as elsewhere:
        yield elsewhere


class TestAgainstAClosingAtTheSameTime:
    def test_a_late_fact_waits_for_the_closing_and_moves(self, other: Elsewhere) -> None:
        with transaction.atomic():
            close_october()
            posting = other.start(poster(late("usage", "1")))
            other.wait_until_blocked()

        (outcome,) = posting.result(WAIT_SECONDS)

        assert times_of(outcome) == (NOVEMBER, "2026-10-01T00:00:00.000000+00:00")

    def test_a_closing_that_is_taken_back_moves_nothing(self, other: Elsewhere) -> None:
        with transaction.atomic():
            close_october()
            posting = other.start(poster(late("usage", "1")))
            other.wait_until_blocked()
            transaction.set_rollback(True)

        (outcome,) = posting.result(WAIT_SECONDS)

        assert times_of(outcome) == (FIRST, None)

    def test_the_closing_waits_for_one_that_keeps_its_time(self, other: Elsewhere) -> None:
        with transaction.atomic():
            first = post(late("usage", "1"))
            closing = other.start(close_october)
            other.wait_until_blocked()

        closing.result(WAIT_SECONDS)

        assert times_of(first) == (FIRST, None)
        assert times_of(post(late("more", "1")))[0] == NOVEMBER

    def test_the_loser_of_a_race_for_a_key_repeats_though_it_would_have_moved(self, other: Elsewhere) -> None:
        with transaction.atomic():
            first = post(late("usage", "1"))
            waiting = other.start(poster(late("usage", "1")))
            other.wait_until_blocked()

        assert waiting.result(WAIT_SECONDS) == [PostedEntry(first.id, created=False)]

        close_october()
        assert other.start(poster(late("usage", "1"))).result(WAIT_SECONDS) == [PostedEntry(first.id, created=False)]
