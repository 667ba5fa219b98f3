"""The operations of the ledger, each worked through with figures."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from ledger.operations import (
    AccountClosed,
    AccountConflict,
    AccountNotEmpty,
    AccountSpec,
    AlreadyReversed,
    CurrencyMismatch,
    EmptyEntry,
    IdempotencyConflict,
    InsufficientBalance,
    InvalidAmount,
    JournalEntryDraft,
    Line,
    PostedEntry,
    RefusedEntry,
    UnbalancedEntry,
    UnknownAccount,
    UnknownEntry,
    close_account,
    credit,
    debit,
    open_accounts,
    post_journal_entries,
    post_journal_entry,
    reverse_journal_entry,
)
from ledger.queries import accounts_out_of_step, balance_of, count_entries, entry, out_of_balance
from tests.ledger.chart import (
    FIRST,
    FX_EUR,
    FX_USD,
    GRANT,
    OTHERS_UNBILLED,
    PROMOTIONS,
    REVENUE,
    SPECS,
    THIRD,
    UNBILLED,
    accrual,
    burn,
    draft,
    issue,
    post,
)

pytestmark = pytest.mark.usefixtures("chart")


def reverse(entry_id: int, **changes: Any) -> PostedEntry:
    arguments: dict[str, Any] = {
        "entry_id": entry_id,
        "effective_at": THIRD,
        "recorded_at": THIRD,
        "actor": "user:7",
        "memo": "",
        "cause": {},
    }
    return reverse_journal_entry(**{**arguments, **changes})


class TestPosting:
    def test_moves_both_balances_in_their_normal_direction(self) -> None:
        post(issue("issue", "10"))
        post(burn("burn", "2.5"))
        post(accrual("rest", "0.000000000001"))

        assert balance_of(GRANT) == Decimal("7.5")
        assert balance_of(UNBILLED) == Decimal("0.000000000001")
        assert balance_of(REVENUE) == Decimal("2.500000000001")
        assert balance_of(PROMOTIONS) == Decimal(10)
        assert out_of_balance() == []
        assert accounts_out_of_step() == []

    def test_records_what_it_was_told(self) -> None:
        posted = post_journal_entry(
            replace(accrual("usage", "1.5"), cause={"invoice": "in_1"}, memo="October"), recorded_at=THIRD
        )

        found = entry(posted.id)
        assert (found.idempotency_key, found.kind, found.memo) == ("usage", "usage_accrued", "October")
        assert (found.effective_at, found.recorded_at) == (FIRST, THIRD)
        assert (found.actor, found.cause) == ("system:test", {"invoice": "in_1"})
        assert [(line.account, line.debit, line.credit) for line in found.lines] == [
            (UNBILLED, Decimal("1.5"), None),
            (REVENUE, None, Decimal("1.5")),
        ]

    def test_moves_the_largest_amount_to_the_last_digit(self) -> None:
        amount = "99999999999999999999999999.999999999999"

        post(accrual("large", amount))

        assert balance_of(UNBILLED) == Decimal(amount)

    def test_moves_two_currencies_in_an_fx_entry(self) -> None:
        lines = [
            debit(FX_USD, Decimal(11)),
            credit(REVENUE, Decimal(11)),
            debit(FX_EUR, Decimal(10)),
            credit(FX_EUR, Decimal(10)),
        ]

        posted = post(draft("fx", *lines, kind="fx_conversion"))

        assert posted.created

    @pytest.mark.parametrize(
        ("lines", "error"),
        [
            ([], EmptyEntry),
            ([debit(UNBILLED, Decimal(1))], EmptyEntry),
            ([debit(UNBILLED, Decimal(1)), credit(REVENUE, Decimal("1.000000000001"))], UnbalancedEntry),
            ([debit(UNBILLED, Decimal(1)), credit("nowhere", Decimal(1))], UnknownAccount),
            ([debit(FX_EUR, Decimal(1)), credit(REVENUE, Decimal(1))], CurrencyMismatch),
            ([debit(GRANT, Decimal(1)), credit(REVENUE, Decimal(1))], InsufficientBalance),
            ([Line(UNBILLED, Decimal("1e26")), Line(REVENUE, Decimal("-1e26"))], InvalidAmount),
        ],
    )
    def test_refuses_and_changes_nothing(self, lines: list[Line], error: type[Exception]) -> None:
        with pytest.raises(error):
            post(draft("refused", *lines))

        assert count_entries() == 0
        assert balance_of(UNBILLED) == 0

    def test_refuses_an_fx_entry_that_balances_only_across_currencies(self) -> None:
        with pytest.raises(UnbalancedEntry):
            post(draft("fx", debit(FX_EUR, Decimal(1)), credit(REVENUE, Decimal(1)), kind="fx"))

    def test_judges_a_floor_when_the_entry_has_ended(self) -> None:
        # A correction of an expired grant takes it below zero and back within one entry.
        lines = [
            debit(GRANT, Decimal(5)),
            credit(REVENUE, Decimal(5)),
            debit(PROMOTIONS, Decimal(5)),
            credit(GRANT, Decimal(5)),
        ]

        posted = post(draft("restored", *lines))

        assert posted.created
        assert balance_of(GRANT) == 0

    def test_says_its_refusal_to_staff(self) -> None:
        with pytest.raises(InsufficientBalance, match=r"^Account grant:1 does not hold enough for this\.$"):
            post(burn("burn", "1"))


class TestKeys:
    def test_a_repeat_returns_the_first_entry(self) -> None:
        first = post(accrual("key", "1.5"))
        again = post(accrual("key", "1.500"))

        assert (first.created, again) == (True, PostedEntry(first.id, created=False))
        assert balance_of(UNBILLED) == Decimal("1.5")

    def test_a_repeat_may_come_from_elsewhere_in_another_order(self) -> None:
        first = post(accrual("key", "1"))
        again = accrual("key", "1")

        repeated = post(replace(again, lines=again.lines[::-1], actor="user:9", memo="again"))

        assert repeated == PostedEntry(first.id, created=False)

    @pytest.mark.parametrize(
        "other",
        [
            accrual("key", "2"),
            accrual("key", "1", OTHERS_UNBILLED),
            replace(accrual("key", "1"), kind="adjustment"),
            replace(accrual("key", "1"), effective_at=THIRD),
            replace(accrual("key", "1"), cause={"invoice": "in_2"}),
        ],
    )
    def test_another_body_is_refused(self, other: JournalEntryDraft) -> None:
        post(accrual("key", "1"))

        with pytest.raises(IdempotencyConflict):
            post(other)

        assert count_entries() == 1

    def test_the_prefix_of_reversals_is_not_for_drafts(self) -> None:
        with pytest.raises(ValueError, match="reversal:"):
            accrual("reversal:1", "1")


class TestBatches:
    def test_reports_each_draft_in_its_place(self) -> None:
        outcomes = post_journal_entries(
            [
                burn("too-early", "1"),
                issue("issue", "3"),
                burn("two", "2"),
                burn("too-much", "2"),
                burn("two", "2"),
                burn("two", "1"),
                burn("last", "1"),
                draft("empty"),
                burn("too-early", "1"),
            ],
            recorded_at=FIRST,
        )

        rules = [outcome.rule if isinstance(outcome, RefusedEntry) else outcome.created for outcome in outcomes]
        assert rules == [
            "ledger_account_floor",
            True,
            True,
            "ledger_account_floor",
            False,
            "ledger_key_reused",
            True,
            "ledger_entry_empty",
            "ledger_account_floor",
        ]
        assert isinstance(outcomes[2], PostedEntry)
        assert outcomes[4] == PostedEntry(outcomes[2].id, created=False)
        assert balance_of(GRANT) == 0
        assert out_of_balance() == []

    def test_of_nothing_is_nothing(self) -> None:
        assert post_journal_entries([], recorded_at=FIRST) == []

    def test_of_a_thousand_moves_each_account_by_the_sum(self) -> None:
        drafts = [accrual(f"usage:{number}", f"0.{number:04}") for number in range(1, 1001)]

        outcomes = post_journal_entries(drafts, recorded_at=FIRST)

        assert all(isinstance(outcome, PostedEntry) and outcome.created for outcome in outcomes)
        assert balance_of(UNBILLED) == balance_of(REVENUE) == Decimal("50.05")
        assert out_of_balance() == []


class TestReversal:
    def test_moves_everything_back(self) -> None:
        posted = post(accrual("usage", "4"))

        reversal = reverse(posted.id, memo="twice", cause={"invoice": "in_1"})

        mirror = entry(reversal.id)
        assert balance_of(UNBILLED) == balance_of(REVENUE) == 0
        assert (mirror.kind, mirror.reverses, mirror.memo) == ("usage_accrued", posted.id, "twice")
        assert [(line.account, line.amount) for line in mirror.lines] == [
            (UNBILLED, Decimal(-4)),
            (REVENUE, Decimal(4)),
        ]
        assert entry(posted.id).reversed_by == reversal.id

    def test_said_twice_is_done_once(self) -> None:
        posted = post(accrual("usage", "4"))

        first, again = reverse(posted.id), reverse(posted.id, actor="user:8")

        assert again == PostedEntry(first.id, created=False)

    def test_is_refused_when_another_one_stands(self) -> None:
        posted = post(accrual("usage", "4"))
        reverse(posted.id)

        with pytest.raises(AlreadyReversed):
            reverse(posted.id, cause={"invoice": "in_2"})

        assert balance_of(UNBILLED) == 0

    def test_can_be_reversed_itself(self) -> None:
        posted = post(accrual("usage", "4"))

        reverse(reverse(posted.id).id)

        assert balance_of(UNBILLED) == 4

    def test_is_refused_when_what_was_given_is_used(self) -> None:
        issued = post(issue("issue", "3"))
        post(burn("burn", "1"))

        with pytest.raises(InsufficientBalance):
            reverse(issued.id)

        assert balance_of(GRANT) == 2

    def test_of_nothing_is_refused(self) -> None:
        with pytest.raises(UnknownEntry):
            reverse(10**12)

    def test_of_two_currencies_keeps_its_kind(self) -> None:
        lines = [
            Line(FX_USD, Decimal(1)),
            Line(REVENUE, Decimal(-1)),
            Line(FX_EUR, Decimal(1)),
            Line(FX_EUR, Decimal(-1)),
        ]
        posted = post(draft("fx", *lines, kind="fx"))

        assert entry(reverse(posted.id).id).kind == "fx"


class TestAccounts:
    def test_opening_again_is_nothing(self) -> None:
        post(issue("issue", "1"))

        open_accounts([*SPECS, replace(SPECS[2], floor=Decimal("0.00"))])

        assert balance_of(GRANT) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"currency": "EUR"},
            {"normal_side": "D"},
            {"customer_key": "zeta"},
            {"floor": None},
            {"floor": Decimal(-1)},
            {"kind": "credit"},
        ],
    )
    def test_opening_as_something_else_opens_none(self, change: dict[str, Any]) -> None:
        fresh = AccountSpec("grant:2", "grant", "USD", "C", "acme")

        with pytest.raises(AccountConflict, match="grant:1"):
            open_accounts([fresh, replace(SPECS[2], **change)])

        with pytest.raises(UnknownAccount):
            balance_of("grant:2")

    def test_a_closed_account_takes_nothing(self) -> None:
        close_account(code=UNBILLED, closed_at=FIRST)
        close_account(code=UNBILLED, closed_at=THIRD)

        with pytest.raises(AccountClosed):
            post(accrual("usage", "1"))

    def test_an_account_that_holds_value_stays_open(self) -> None:
        post(accrual("usage", "1"))

        with pytest.raises(AccountNotEmpty):
            close_account(code=UNBILLED, closed_at=FIRST)

        assert post(accrual("more", "1")).created

    def test_a_system_account_stays_open(self) -> None:
        with pytest.raises(AccountNotEmpty):
            close_account(code=REVENUE, closed_at=FIRST)

    def test_closing_nothing_is_refused(self) -> None:
        with pytest.raises(UnknownAccount):
            close_account(code="nowhere", closed_at=FIRST)


class TestTransactions:
    def test_join_the_callers(self) -> None:
        with transaction.atomic():
            post(accrual("usage", "1"))
            transaction.set_rollback(True)

        assert count_entries() == 0
        assert balance_of(UNBILLED) == 0


class TestLines:
    @pytest.mark.parametrize("amount", [Decimal(0), Decimal("NaN"), Decimal("Infinity"), Decimal("1e-13")])
    def test_refuse_what_is_no_amount(self, amount: Decimal) -> None:
        with pytest.raises(InvalidAmount):
            Line(UNBILLED, amount)

    @pytest.mark.parametrize("amount", [1.5, 1, "1"])
    def test_refuse_what_is_no_decimal(self, amount: Any) -> None:
        with pytest.raises(TypeError):
            Line(UNBILLED, amount)

    @pytest.mark.parametrize("side", [debit, credit])
    @pytest.mark.parametrize("amount", [Decimal(0), Decimal(-1)])
    def test_sides_take_amounts_above_zero(self, side: Callable[[str, Decimal], Line], amount: Decimal) -> None:
        with pytest.raises(InvalidAmount):
            side(UNBILLED, amount)

    def test_take_zeros_beyond_the_twelfth_place(self) -> None:
        assert Line(UNBILLED, Decimal("1.5000000000000")).amount == Decimal("1.5")
