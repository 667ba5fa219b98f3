"""The order in which grants are used."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotions.burn_down import GrantBalance, burn_order, usable

DAY = datetime(2026, 10, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    return DAY + timedelta(days=number)


def grant(grant_id: int, **changes: Any) -> GrantBalance:
    values: dict[str, Any] = {
        "grant_id": grant_id,
        "kind": "promotional",
        "priority": 50,
        "effective_at": day(0),
        "expires_at": None,
        "recorded_at": day(0),
        "amount": Decimal(10),
        "available": Decimal(10),
    }
    return GrantBalance(**{**values, **changes})


class TestBurnOrder:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({"priority": 1, "expires_at": None}, {"priority": 2, "expires_at": day(1)}),
            ({"expires_at": day(5), "kind": "paid"}, {"expires_at": day(6)}),
            ({"expires_at": day(5)}, {"expires_at": None}),
            ({"kind": "goodwill", "effective_at": day(2)}, {"kind": "paid", "effective_at": day(1)}),
            ({"effective_at": day(1), "recorded_at": day(3)}, {"effective_at": day(2), "recorded_at": day(2)}),
            ({"recorded_at": day(1)}, {"recorded_at": day(2)}),
        ],
        ids=["priority", "soonest expiry", "expiring before lasting", "given before paid", "effective", "recorded"],
    )
    def test_decides_by(self, first: dict[str, Any], second: dict[str, Any]) -> None:
        # The ids speak for the other order, so that only the fields can bring about this one.
        one, other = grant(2, **first), grant(1, **second)

        assert burn_order([one, other]) == burn_order([other, one]) == [one, other]

    def test_is_total(self) -> None:
        grants = [grant(number) for number in (1, 2, 3)]

        assert {tuple(burn_order(order)) for order in permutations(grants)} == {tuple(grants)}

    @given(st.permutations([grant(n, priority=n % 2, expires_at=day(n % 3) if n % 3 else None) for n in range(6)]))
    def test_does_not_depend_on_the_order_given(self, grants: list[GrantBalance]) -> None:
        assert [one.grant_id for one in burn_order(grants)] == [4, 2, 0, 1, 5, 3]


class TestUsable:
    @pytest.mark.parametrize(
        ("at", "expected"),
        [
            (day(1) - timedelta(microseconds=1), False),
            (day(1), True),
            (day(3) - timedelta(microseconds=1), True),
            (day(3), False),
        ],
    )
    def test_from_effective_until_before_expiry(self, at: datetime, expected: bool) -> None:
        assert usable(grant(1, effective_at=day(1), expires_at=day(3)), at) is expected

    def test_not_from_its_end_on(self) -> None:
        ended = grant(1, effective_at=day(1), expires_at=day(3), ended_at=day(2))

        assert usable(ended, day(2) - timedelta(microseconds=1))
        assert not usable(ended, day(2))

    def test_for_ever_without_expiry(self) -> None:
        assert usable(grant(1), day(100_000))
