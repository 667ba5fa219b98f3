# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""The second person: approve, reject, withdraw; who may; and what happens when the world changed in between."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest

from billing.accounting import manual_entries, operations
from billing.accounting.models import ManualEntry
from billing.accounting.operations import AlreadyDecided, InvalidManualEntry, ManualEntryNotFound, NotPermitted
from billing.accounting.period_close_checks import waiting_manual_entries
from ledger import queries as ledger
from ledger.periods import close_periods
from tests.billing.accounting.people import (
    EMRE,
    FIONA,
    FRED,
    MORNING,
    NOON,
    SAM,
    adjust,
    approve,
    posted_entry_id,
    user_of,
)

pytestmark = pytest.mark.usefixtures("books")
LATER = NOON + timedelta(hours=2)


def reject(asked: ManualEntry, **terms: Any) -> ManualEntry:
    return operations.reject(
        **{"manual_entry_id": asked.pk, "words": "not agreed", "actor": FRED, "now": LATER, **terms}
    )


def withdraw(asked: ManualEntry, **terms: Any) -> ManualEntry:
    return operations.withdraw(
        **{"manual_entry_id": asked.pk, "words": "asked in error", "actor": FIONA, "now": LATER, **terms}
    )


class TestApprove:
    def test_posts_what_was_asked_in_the_name_of_who_approved(self) -> None:
        asked = adjust("refund_promised", "300")

        approve(asked, now=LATER, words=" seen the ticket ")

        entry = ledger.entry(posted_entry_id(asked))
        decision = ManualEntry.objects.get().decision
        assert [(line.account, line.amount) for line in entry.lines] == [
            ("contra:refunds:USD", 300),
            ("refund_due:acme:USD", -300),
        ]
        assert (entry.actor, entry.effective_at, entry.recorded_at) == (FRED, MORNING, LATER)
        assert (decision.outcome, decision.decided_by, decision.decided_at, decision.words) == (
            "approved",
            FRED,
            LATER,
            "seen the ticket",
        )

    def test_said_twice_by_the_same_person_posts_once(self) -> None:
        asked = adjust("refund_promised", "300")

        first, again = approve(asked), approve(asked, now=LATER)

        assert first.decision.pk == again.decision.pk
        assert ledger.count_entries() == 1

    def test_is_refused_to_who_asked(self) -> None:
        asked = adjust("refund_promised", "300")

        with pytest.raises(NotPermitted, match="a second person has to decide"):
            approve(asked, actor=FIONA)

        assert manual_entries.waiting().get() == asked

    @pytest.mark.parametrize("actor", [SAM, EMRE, "user:nobody", "service:stripe"])
    def test_is_refused_to_who_may_not(self, actor: str) -> None:
        asked = adjust("refund_promised", "300")

        with pytest.raises(NotPermitted, match="may not approve"):
            approve(asked, actor=actor)

        assert manual_entries.waiting().get() == asked

    def test_needs_words(self) -> None:
        with pytest.raises(InvalidManualEntry, match="Say why") as refusal:
            approve(adjust("refund_promised", "300"), words=" ")

        assert refusal.value.field == "words"

    def test_is_refused_when_who_asked_was_deactivated(self) -> None:
        asked = adjust("refund_promised", "300", actor=SAM)
        user = user_of(SAM)
        user.is_active = False
        user.save()

        with pytest.raises(NotPermitted, match="sam, who asked for this, may not ask for it any more"):
            approve(asked)

        assert manual_entries.waiting().get() == asked
        assert reject(asked).decision.outcome == "rejected"

    def test_is_refused_when_who_asked_lost_the_permission(self) -> None:
        asked = adjust("refund_promised", "300")
        user_of(FIONA).groups.clear()

        with pytest.raises(NotPermitted, match="may not ask for it any more"):
            approve(asked)

        assert ledger.count_entries() == 0

    def test_is_refused_when_the_account_holds_less_by_then_and_the_request_stays(self) -> None:
        approve(adjust("refund_promised", "300"))
        asked = adjust("refund_promise_ended", "300")
        adjust("refund_paid_by_bank", "0.01")

        with pytest.raises(InvalidManualEntry, match=r"refund_due:acme:USD holds \$299.99"):
            approve(asked)

        assert manual_entries.waiting().get() == asked
        assert ledger.balance_of("refund_due:acme:USD") == Decimal("299.99")

    def test_is_refused_when_the_period_was_closed_by_then(self) -> None:
        asked = adjust("refund_promised", "300")
        close_periods(before=NOON, decided_at=LATER, actor=FIONA, reason="the month is out")

        with pytest.raises(InvalidManualEntry, match="books are closed before"):
            approve(asked, now=LATER)

        assert manual_entries.waiting().get() == asked

    def test_of_what_is_not_there(self) -> None:
        with pytest.raises(ManualEntryNotFound):
            operations.approve(manual_entry_id=0, words="x", actor=FRED, now=NOON)


class TestRejectAndWithdraw:
    def test_a_rejection_posts_nothing_and_says_why(self) -> None:
        asked = reject(adjust("refund_promised", "300"))

        assert (asked.decision.outcome, asked.decision.words, asked.decision.journal_entry_id) == (
            "rejected",
            "not agreed",
            None,
        )
        assert ledger.count_entries() == 0
        assert not manual_entries.waiting().exists()

    def test_who_asked_withdraws_and_does_not_reject(self) -> None:
        asked = adjust("refund_promised", "300")

        with pytest.raises(NotPermitted):
            reject(asked, actor=FIONA)

        assert withdraw(asked).decision.outcome == "withdrawn"

    @pytest.mark.parametrize("actor", [FRED, SAM, "user:nobody"])
    def test_nobody_else_withdraws(self, actor: str) -> None:
        with pytest.raises(NotPermitted, match="Only who asked can withdraw"):
            withdraw(adjust("refund_promised", "300"), actor=actor)

    @pytest.mark.parametrize("decide", [reject, withdraw])
    def test_both_need_words(self, decide: Callable[..., ManualEntry]) -> None:
        with pytest.raises(InvalidManualEntry, match="Say why"):
            decide(adjust("refund_promised", "300"), words="")

    @pytest.mark.parametrize("decide", [reject, withdraw])
    def test_said_twice_changes_nothing(self, decide: Callable[..., ManualEntry]) -> None:
        asked = adjust("refund_promised", "300")

        assert decide(asked).decision.pk == decide(asked).decision.pk


DECISIONS: tuple[Callable[..., ManualEntry], ...] = (approve, reject, withdraw)


@pytest.mark.parametrize(("first", "second"), [*permutations(DECISIONS, 2)])
def test_one_decision_stands(first: Callable[..., ManualEntry], second: Callable[..., ManualEntry]) -> None:
    asked = adjust("refund_promised", "300")
    first(asked)

    with pytest.raises(AlreadyDecided, match=r"Nothing was done: .* by (fiona|fred) on 10 Nov 2026"):
        second(asked)

    assert ledger.count_entries() == (1 if first is approve else 0)


def test_what_was_posted_at_once_is_decided_too() -> None:
    asked = adjust("refund_promised", "5")

    with pytest.raises(AlreadyDecided, match="posted, within the limit by fiona"):
        approve(asked)


def test_what_waits_is_named_to_who_closes_its_period() -> None:
    adjust("refund_promised", "300")

    (named,) = waiting_manual_entries(NOON)

    assert named.what == "1 manual entry of that time is not decided"
    assert waiting_manual_entries(MORNING) == []
