"""What of an hour is one event's: parts that add up, in the order of events, whatever the price does."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from billing.rating.charges import charge_of
from billing.rating.explanation.shares import Paid, parted, shares

NUMBERS = st.integers(0, 10**9).map(lambda number: Decimal(number).scaleb(-3))
WEIGHTS = st.lists(NUMBERS, min_size=1, max_size=12)
D = Decimal


def total(numbers: list[Decimal]) -> Fraction:
    return sum((Fraction(number) for number in numbers), Fraction(0))


@given(NUMBERS, WEIGHTS)
def test_parts_add_up_and_lie_within_one_last_place_of_their_weight(whole: Decimal, weights: list[Decimal]) -> None:
    parts = parted(whole, weights)

    assert total(parts) == Fraction(whole)
    assert all(part >= 0 for part in parts)
    weighed = total(weights)
    if weighed:
        for part, weight in zip(parts, weights, strict=True):
            assert abs(Fraction(part) - Fraction(whole) * Fraction(weight) / weighed) < Fraction(1, 10**12)


TIERS = {"tiers": [{"up_to": "300", "unit_price": "2", "flat": "5"}, {"up_to": None, "unit_price": "0.1", "flat": "1"}]}


@given(WEIGHTS, st.sampled_from(["graduated", "volume"]), st.integers(0, 600), st.data())
def test_shares_add_up_to_the_hour_source_by_source(
    weights: list[Decimal], model: str, before: int, data: st.DataObject
) -> None:
    charge = charge_of(model, TIERS)
    quantity = sum(weights, D(0))
    paid_before = min(charge.amount(D(before)), charge.amount(D(before) + quantity))
    amount = charge.amount(D(before) + quantity) - paid_before
    first = data.draw(st.integers(0, 100)) * amount / 100
    sources = [Paid("allowance", 1, first, quantity / 2), Paid("unbilled", None, amount - first)]

    found = shares(
        weights,
        quantity=quantity,
        amount=amount,
        sources=sources,
        price=lambda units: charge.amount(D(before) + units) - paid_before,
    )

    assert [share.quantity for share in found] == weights
    assert total([share.amount for share in found]) == Fraction(amount)
    assert all(share.amount >= 0 for share in found)
    for share in found:
        assert total([one.amount for one in share.paid]) == Fraction(share.amount)
    for source in sources:
        mine = [one for share in found for one in share.paid if one.kind == source.kind]
        assert total([one.amount for one in mine]) == Fraction(source.amount)
        assert total([one.quantity for one in mine]) == Fraction(source.quantity)


def test_each_event_pays_what_it_adds_to_a_price_by_tiers() -> None:
    charge = charge_of("graduated", TIERS)

    found = shares(
        [D(299), D(2), D(10)], quantity=D(311), amount=charge.amount(D(311)), sources=[], price=charge.amount
    )

    # 5 flat and 299 × 2; the last cheap unit and the second tier's flat 1 with its first; ten of the second tier.
    assert [share.amount for share in found] == [D(603), D("3.1"), D(1)]


def test_where_the_price_falls_no_event_pays_below_zero_and_the_first_ones_pay_less() -> None:
    charge = charge_of("volume", {"tiers": [{"up_to": "10", "unit_price": "2"}, {"up_to": None, "unit_price": "1"}]})

    found = shares([D(8), D(2), D(4)], quantity=D(14), amount=D(14), sources=[], price=charge.amount)

    assert [share.amount for share in found] == [D(14), D(0), D(0)]


def test_takes_from_one_source_after_another() -> None:
    sources = [Paid("allowance", 7, D(5), D(5)), Paid("grant", 8, D(1)), Paid("unbilled", None, D(4))]

    found = shares([D(3), D(4), D(0), D(3)], quantity=D(10), amount=D(10), sources=sources)

    assert [[(one.kind, one.amount, one.quantity) for one in share.paid] for share in found] == [
        [("allowance", D(3), D(3))],
        [("allowance", D(2), D(2)), ("grant", D(1), D(0)), ("unbilled", D(1), D(0))],
        [],
        [("unbilled", D(3), D(0))],
    ]


def test_an_hour_without_an_exact_price_within_it_is_parted_by_units() -> None:
    charge = charge_of("per_unit", {}, unit_price=D(1), unit_size=3)

    found = shares([D(1), D(1), D(1)], quantity=D(3), amount=D(1), sources=[], price=charge.amount)

    assert [share.amount for share in found] == [D("0.333333333333"), D("0.333333333333"), D("0.333333333334")]
