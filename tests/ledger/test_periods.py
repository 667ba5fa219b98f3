"""Closed accounting periods: what may still be posted, by whom, and how a closing is taken back."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import transaction
from psycopg import errors

from ledger.causes import causes_of
from ledger.errors import PeriodClosed, PeriodOrder, PostingsUnderWay
from ledger.models import PeriodClosing
from ledger.operations import RefusedEntry, post_journal_entries, post_journal_entry, reverse_journal_entry
from ledger.periods import close_periods, closed_before, reopen_periods
from ledger.queries import balance_at, balance_of, entry
from tests.ledger.attacks import SYSTEM_PAIR, forged
from tests.ledger.chart import FIRST, THIRD, UNBILLED, accrual, post
from tests.ledger.test_races import WAIT_SECONDS, Elsewhere, poster

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
OCTOBERS_END = NOVEMBER - timedelta(microseconds=1)


def close_october() -> None:
    close_periods(before=NOVEMBER, decided_at=NOVEMBER, actor="user:fiona", reason="October is reconciled.")


@pytest.mark.usefixtures("chart")
class TestAClosedPeriod:
    def test_takes_no_entry_and_says_so_for_each(self) -> None:
        close_october()

        last, first = post_journal_entries(
            [
                replace(accrual("last", "1"), effective_at=OCTOBERS_END),
                replace(accrual("first", "2"), effective_at=NOVEMBER),
            ],
            recorded_at=NOVEMBER,
        )

        assert isinstance(last, RefusedEntry)
        assert last.rule == "ledger_period_closed"
        assert str(last.error) == "The books are closed before 2026-11-01: nothing takes effect there any more."
        assert balance_of(UNBILLED) == 2
        assert not isinstance(first, RefusedEntry)

    def test_answers_a_repeat_of_what_was_posted_before(self) -> None:
        first = post(accrual("usage", "1"))
        close_october()

        assert post(accrual("usage", "1")).id == first.id

    def test_takes_no_reversal_either(self) -> None:
        posted = post(accrual("usage", "1"))
        close_october()

        with pytest.raises(PeriodClosed):
            reverse_journal_entry(
                entry_id=posted.id, effective_at=FIRST, recorded_at=NOVEMBER, actor="user:7", memo="", cause={}
            )

    def test_is_corrected_in_the_open_one(self) -> None:
        wrong = post(accrual("usage", "10"))
        close_october()

        correction = post_journal_entry(
            replace(accrual("usage:corrected", "3"), moves_to_open_period=True, cause={"corrects": str(wrong.id)}),
            recorded_at=NOVEMBER,
        )

        assert {cause.name: cause.url for cause in causes_of(entry(correction.id).cause)} == {
            "corrects": f"/admin/ledger/journalentry/{wrong.id}/change/",
            "occurred_at": None,
        }
        assert entry(correction.id).effective_at == NOVEMBER
        assert balance_at(UNBILLED, effective_at=OCTOBERS_END, known_at=NOVEMBER) == 10
        assert balance_of(UNBILLED) == 13

    def test_is_opened_again_on_record(self) -> None:
        close_october()
        reopen_periods(since=THIRD, decided_at=NOVEMBER, actor="user:max", reason="An invoice of the 5th was lost.")

        assert post_journal_entry(replace(accrual("late", "1"), effective_at=THIRD), recorded_at=NOVEMBER).created
        with pytest.raises(PeriodClosed):
            post(accrual("too late", "1"))
        assert list(
            PeriodClosing.objects.order_by("pk").values_list("closed_before", "reopens", "actor", "reason")
        ) == [
            (NOVEMBER, False, "user:fiona", "October is reconciled."),
            (THIRD, True, "user:max", "An invoice of the 5th was lost."),
        ]


@pytest.mark.usefixtures("db")
class TestDecisions:
    def test_nothing_is_closed_at_first(self) -> None:
        assert closed_before() is None

    def test_the_last_one_stands(self) -> None:
        close_periods(before=THIRD, decided_at=THIRD, actor="user:fiona", reason="x")
        close_october()

        assert closed_before() == NOVEMBER

    @pytest.mark.parametrize("before", [NOVEMBER, THIRD])
    def test_closing_does_not_go_back(self, before: datetime) -> None:
        close_october()

        with pytest.raises(PeriodOrder, match="The books are closed before 2026-11-01"):
            close_periods(before=before, decided_at=NOVEMBER, actor="user:fiona", reason="x")

    @pytest.mark.parametrize("since", [NOVEMBER, NOVEMBER + timedelta(days=1)])
    def test_reopening_does_not_go_forward(self, since: datetime) -> None:
        close_october()

        with pytest.raises(PeriodOrder):
            reopen_periods(since=since, decided_at=NOVEMBER, actor="user:fiona", reason="x")

    def test_what_was_never_closed_is_not_reopened(self) -> None:
        with pytest.raises(PeriodOrder):
            reopen_periods(since=FIRST, decided_at=NOVEMBER, actor="user:fiona", reason="x")

    @pytest.mark.parametrize(("actor", "reason"), [("", "x"), ("user:fiona", "")])
    def test_they_say_who_and_why(self, actor: str, reason: str) -> None:
        with pytest.raises(ValueError, match="why"):
            close_periods(before=NOVEMBER, decided_at=NOVEMBER, actor=actor, reason=reason)


@pytest.fixture
def other(committed_chart: None) -> Iterator[Elsewhere]:
    with Elsewhere() as elsewhere:
        yield elsewhere


class TestTwoConnections:
    def test_a_closing_waits_for_the_postings_under_way(self, other: Elsewhere) -> None:
        with transaction.atomic():
            post(accrual("usage", "1"))
            closing = other.start(close_october)
            other.wait_until_blocked()

        closing.result(WAIT_SECONDS)

        with pytest.raises(PeriodClosed):
            post(accrual("more", "1"))

    def test_a_posting_waits_for_the_closing_and_obeys_it(self, other: Elsewhere) -> None:
        with transaction.atomic():
            close_october()
            posting = other.start(poster(accrual("usage", "1")))
            other.wait_until_blocked()

        (outcome,) = posting.result(WAIT_SECONDS)

        assert isinstance(outcome, RefusedEntry)
        assert outcome.rule == "ledger_period_closed"

    def test_a_closing_gives_up_rather_than_hold_the_postings_up(self, other: Elsewhere) -> None:
        with transaction.atomic():
            post(accrual("usage", "1"))
            closing = other.start(close_october)
            with pytest.raises(PostingsUnderWay):
                closing.result(WAIT_SECONDS)

        assert closed_before() is None

    def test_an_older_snapshot_does_not_get_around_it(
        self, other: Elsewhere, owner_connection: psycopg.Connection
    ) -> None:
        with pytest.raises(errors.CheckViolation) as refusal, owner_connection.transaction():  # noqa: PT012
            owner_connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            owner_connection.execute("SELECT count(*) FROM ledger_journalentry")
            close_october()
            owner_connection.execute(forged(*SYSTEM_PAIR))

        assert refusal.value.diag.constraint_name == "ledger_entry_isolation"
