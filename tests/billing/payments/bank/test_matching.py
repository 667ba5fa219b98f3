"""The rule by which a line is a payout: certain or for a person; the same whatever came first."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from billing.payments.bank.matching import (
    Line,
    Movement,
    Pairing,
    add_bank_days,
    bank_days_between,
    names_trace,
    pair,
    says,
)

FRIDAY = date(2026, 10, 2)
TRACE = "ABCD1234EFGH5678"


def movement(key: int, *, amount: int = 1912, on: date = FRIDAY, trace: str = "", leg: str = "arrived") -> Movement:
    return Movement((key, leg), amount, "USD", on, trace)


def line(
    id_: int, *, amount: int = 1912, on: date = FRIDAY, reference: str = "STRIPE PAYOUT", value: date | None = None
) -> Line:
    return Line(id_, amount, "USD", on, value, reference)


def paired(lines: list[Line], movements: list[Movement], **rules: object) -> Pairing:
    return pair(lines, movements, days=3, words=["STRIPE"], **rules)  # type: ignore[arg-type]


def keys(found: Pairing) -> dict[int, int]:
    return {line_id: key[0] for line_id, (key, _) in found.pairs.items()}


def test_bank_days_pass_over_weekends() -> None:
    assert bank_days_between(FRIDAY, FRIDAY + timedelta(days=3)) == 1
    assert bank_days_between(FRIDAY + timedelta(days=3), FRIDAY) == 1
    assert bank_days_between(FRIDAY, FRIDAY + timedelta(days=14)) == 10
    assert bank_days_between(FRIDAY + timedelta(days=1), FRIDAY + timedelta(days=2)) == 0
    assert add_bank_days(FRIDAY, 1) == date(2026, 10, 5)
    assert add_bank_days(FRIDAY, 5) == date(2026, 10, 9)


def test_what_a_reference_says() -> None:
    assert says("SEPA Stripe-Payout 12", "STRIPE")
    assert not says("PINSTRIPE LTD", "STRIPE")
    assert names_trace("EREF: abcd 1234-EFGH 5678 SVWZ", TRACE)
    assert not names_trace("EREF: ABCD 1234 EFGH 567", TRACE)
    assert not names_trace("anything", "")


def test_amount_currency_day_and_name_have_to_be_right() -> None:
    assert keys(paired([line(1)], [movement(7)])) == {1: 7}
    assert keys(paired([line(1, on=FRIDAY + timedelta(days=5))], [movement(7)])) == {1: 7}  # Wednesday, 3 bank days
    for wrong in (
        line(1, amount=1911),
        line(1, on=FRIDAY + timedelta(days=6)),
        line(1, reference="rent"),
        Line(1, 1912, "EUR", FRIDAY, None, "STRIPE"),
        line(1, amount=-1912),
    ):
        assert paired([wrong], [movement(7)]) == Pairing({}, {})
    late = line(1, on=FRIDAY + timedelta(days=20), value=FRIDAY)
    assert keys(paired([late], [movement(7)])) == {1: 7}
    assert keys(paired([line(1)], [movement(7)], barred={(1, (7, "arrived"))})) == {}


def test_two_of_one_amount_wait_unless_a_trace_id_tells_them_apart() -> None:
    both = [movement(7, trace=TRACE), movement(8, on=FRIDAY + timedelta(days=3))]
    found = paired([line(1), line(2)], both)
    assert (found.pairs, found.candidates) == ({}, dict.fromkeys((1, 2), ((7, "arrived"), (8, "arrived"))))

    named = [line(1), line(2, reference=f"STRIPE {TRACE}")]
    assert keys(paired(named, both)) == {1: 8, 2: 7}
    assert keys(paired([line(1), line(2)], both[:1])) == {}


def test_one_that_failed_after_it_arrived_is_a_line_in_and_a_line_out() -> None:
    legs = [movement(7), movement(7, amount=-1912, leg="returned", on=FRIDAY + timedelta(days=3))]
    found = paired([line(1), line(2, amount=-1912, on=FRIDAY + timedelta(days=3))], legs)
    assert {line_id: key for line_id, (key, _) in found.pairs.items()} == {1: (7, "arrived"), 2: (7, "returned")}


LINES = st.builds(
    Line,
    id=st.integers(1, 9),
    amount_minor=st.sampled_from([100, 200, -100]),
    currency=st.sampled_from(["USD", "EUR"]),
    booked_on=st.integers(0, 12).map(lambda day: FRIDAY + timedelta(days=day)),
    value_on=st.none(),
    reference=st.sampled_from(["STRIPE", "STRIPE TRACE00001", "TRACE00002", "rent"]),
)
MOVEMENTS = st.builds(
    Movement,
    key=st.tuples(st.integers(1, 6), st.sampled_from(["arrived", "returned"])),
    amount_minor=st.sampled_from([100, 200, -100]),
    currency=st.sampled_from(["USD", "EUR"]),
    expected_on=st.integers(0, 12).map(lambda day: FRIDAY + timedelta(days=day)),
    trace_id=st.sampled_from(["", "TRACE00001", "TRACE00002"]),
)


@given(
    lines=st.lists(LINES, max_size=7, unique_by=lambda one: one.id),
    movements=st.lists(MOVEMENTS, max_size=6, unique_by=lambda one: one.key),
    chance=st.randoms(use_true_random=False),
)
def test_never_one_line_to_two_nor_two_lines_to_one_and_no_order_matters(
    lines: list[Line], movements: list[Movement], chance: object
) -> None:
    found = paired(lines, movements)

    by_key = {one.key: one for one in movements}
    by_id = {one.id: one for one in lines}
    matched = [key for key, _ in found.pairs.values()]
    assert len(matched) == len(set(matched))
    assert not set(found.pairs) & set(found.candidates)
    for line_id, (key, why) in found.pairs.items():
        one, other = by_id[line_id], by_key[key]
        assert (one.amount_minor, one.currency) == (other.amount_minor, other.currency)
        assert bank_days_between(one.booked_on, other.expected_on) <= 3
        assert why
    chance.shuffle(lines)  # type: ignore[attr-defined]
    chance.shuffle(movements)  # type: ignore[attr-defined]
    assert paired(lines, movements) == found
