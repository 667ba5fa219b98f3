"""What a plan's fee comes to by seats."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.catalog.fees import InvalidFeeTiers, fee_minor_of, require_fee_tiers, tiered_fee_minor
from billing.catalog.models import PlanVersion

TIERS = [
    {"up_to": 2, "unit_minor": 1000, "flat_minor": 0},
    {"up_to": 10, "unit_minor": 800, "flat_minor": 500},
    {"up_to": None, "unit_minor": 100},
]


@pytest.mark.parametrize(("seats", "fee"), [(0, 0), (1, 1000), (2, 2000), (3, 3300), (10, 8900), (11, 9000)])
def test_tiers_are_graduated_and_their_flat_amounts_paid_once(seats: int, fee: int) -> None:
    assert fee_minor_of(PlanVersion(fee_minor=0, fee_tiers=TIERS), seats) == fee


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_without_tiers_every_seat_costs_the_same(seats: int, fee_minor: int) -> None:
    assert fee_minor_of(PlanVersion(fee_minor=fee_minor), seats) == seats * fee_minor


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9999), st.integers(0, 999)), min_size=1, max_size=5),
    st.integers(0, 200),
)
def test_tiers_are_what_the_seats_come_to_one_by_one(widths: list[tuple[int, int, int]], seats: int) -> None:
    ends: list[int] = []
    tiers: list[dict[str, Any]] = []
    for width, unit, flat in widths:
        ends.append((ends[-1] if ends else 0) + width)
        tiers.append({"up_to": ends[-1], "unit_minor": unit, "flat_minor": flat})
    tiers[-1]["up_to"] = None

    fee, reached = 0, set()
    for seat in range(1, seats + 1):
        place = next(n for n, tier in enumerate(tiers) if tier["up_to"] is None or seat <= tier["up_to"])
        fee += tiers[place]["unit_minor"] + (tiers[place]["flat_minor"] if place not in reached else 0)
        reached.add(place)

    assert tiered_fee_minor(tiers, seats) == fee


@pytest.mark.parametrize(
    ("tiers", "what"),
    [
        ([], "at least one"),
        ("[]", "list"),
        ([{"up_to": 5, "unit_minor": 1}], "null"),
        ([{"up_to": None, "unit_minor": 1}, {"up_to": None, "unit_minor": 1}], "number"),
        ([{"up_to": 5, "unit_minor": 1}, {"up_to": 5, "unit_minor": 1}, {"up_to": None, "unit_minor": 1}], "above 5"),
        ([{"up_to": None, "unit_minor": 1.5}], "unit_minor of tier 1"),
        ([{"up_to": None, "unit_minor": "1"}], "unit_minor"),
        ([{"up_to": None, "unit_minor": True}], "unit_minor"),
        ([{"up_to": None, "unit_minor": -1}], "unit_minor"),
        ([{"up_to": None, "unit_minor": 1, "flat_minor": None}], "flat_minor"),
        ([{"up_to": None, "unit_minor": 1, "price": 2}], "nothing else"),
        ([None], "tier 1"),
    ],
)
def test_tiers_that_cannot_be_are_refused_by_name(tiers: Any, what: str) -> None:
    with pytest.raises(InvalidFeeTiers, match=what):
        require_fee_tiers(tiers)


def test_there_are_no_seats_below_none() -> None:
    with pytest.raises(ValueError, match="seats"):
        fee_minor_of(PlanVersion(fee_minor=1), -1)
