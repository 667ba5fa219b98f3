"""How much refunds promise: worked by hand, and against a model that lives through them one by one."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from billing.payments.promises import RefundPart, promised_minor

START = datetime(2026, 10, 1, tzinfo=UTC)


def part(amount: int, day: int, failed_on: int | None = None) -> RefundPart:
    failed_at = None if failed_on is None else START + timedelta(days=failed_on)
    return RefundPart(amount, START + timedelta(days=day), failed_at)


def test_nothing_refunded_promises_nothing() -> None:
    assert promised_minor([]) == 0


def test_refunds_promise_their_sum() -> None:
    assert promised_minor([part(500, 1), part(700, 2)]) == 1200


def test_a_failed_one_is_still_owed() -> None:
    assert promised_minor([part(2000, 1, failed_on=2)]) == 2000


def test_what_is_sent_again_after_a_failure_is_the_same_promise() -> None:
    assert promised_minor([part(2000, 1, failed_on=2), part(2000, 3)]) == 2000
    assert promised_minor([part(2000, 1, failed_on=2), part(500, 3), part(1500, 4)]) == 2000


def test_beyond_what_failed_it_is_a_new_one() -> None:
    assert promised_minor([part(500, 1, failed_on=2), part(800, 3)]) == 800


def test_both_before_the_failure_are_two_promises() -> None:
    assert promised_minor([part(500, 1, failed_on=3), part(800, 2)]) == 1300


def test_one_sent_again_in_the_second_of_the_failure_is_the_same_promise() -> None:
    assert promised_minor([part(2000, 1, failed_on=2), part(2000, 2)]) == 2000


def test_one_that_fails_in_its_own_second_is_owed() -> None:
    assert promised_minor([part(2000, 1, failed_on=1)]) == 2000


refunds = st.lists(
    st.builds(
        lambda amount, day, lives: part(amount, day, None if lives is None else day + lives),
        st.integers(1, 3000), st.integers(0, 6), st.none() | st.integers(1, 4),
    ),
    max_size=5,
)  # fmt: skip


@given(refunds)
def test_whatever_happens_it_is_what_a_debt_kept_day_by_day_comes_to(parts: list[RefundPart]) -> None:
    """Each morning failures add to what is owed; a refund first pays that off, and only the rest is promised anew."""
    owed = promised = 0
    for day in range(12):
        today = START + timedelta(days=day)
        owed += sum(one.amount_minor for one in parts if one.returned_at == today)
        for one in parts:
            if one.occurred_at == today:
                paid_off = min(owed, one.amount_minor)
                owed -= paid_off
                promised += one.amount_minor - paid_off

    assert promised_minor(parts) == promised


@given(st.lists(st.builds(part, st.integers(1, 3000), st.integers(0, 3)), max_size=4))
def test_the_order_in_which_they_are_told_does_not_matter(parts: list[RefundPart]) -> None:
    assert len({promised_minor(order) for order in permutations(parts)}) == 1
