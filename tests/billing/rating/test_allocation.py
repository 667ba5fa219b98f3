# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""Who pays for usage: nothing lost, nothing twice, whatever the order of arrival."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.rating.allocation import AllowanceTerms, Funding, InvalidFunding, RatedUsage, fund
from billing.rating.totals import Amounts, PeriodState
from promotions.burn_down import GrantBalance, usable

START = datetime(2026, 10, 1, tzinfo=UTC)
CASES = Path(__file__).resolve().parents[4] / "shared" / "data" / "cases" / "cases.json"
CENT = Decimal("0.01")

amounts = st.decimals(0, 50, places=12)
hours = st.integers(0, 12)


def at(hour: float) -> datetime:
    return START + timedelta(hours=hour)


usages = st.lists(st.tuples(hours.map(at), st.integers(1, 3), amounts).map(lambda drawn: RatedUsage(*drawn)))


def usage(hour: int, rate_id: int, amount: Decimal | str) -> RatedUsage:
    return RatedUsage(at(hour), rate_id, Decimal(amount))


def pooled(amount: Decimal) -> list[AllowanceTerms]:
    """An allowance in money that covers everything."""
    return [AllowanceTerms(allowance_id=1, measure="money", amount=amount)]


def grant(
    grant_id: int = 1,
    available: Decimal | str = "10",
    *,
    starts: float = 0,
    expires: float | None = None,
    ended: float | None = None,
    priority: int = 50,
    kind: str = "promotional",
) -> GrantBalance:
    return GrantBalance(
        grant_id=grant_id,
        kind=kind,
        priority=priority,
        effective_at=at(starts),
        expires_at=None if expires is None else at(expires),
        recorded_at=START,
        amount=Decimal(available),
        available=Decimal(available),
        ended_at=None if ended is None else at(ended),
    )


@st.composite
def grants(draw: st.DrawFn) -> list[GrantBalance]:
    drawn = []
    for grant_id in range(1, draw(st.integers(0, 4)) + 1):
        starts, length = draw(hours), draw(st.none() | st.integers(1, 12))
        kind, priority = draw(st.sampled_from(["promotional", "goodwill", "paid"])), draw(st.integers(1, 3))
        expires = None if length is None else starts + length
        one = grant(grant_id, draw(amounts), starts=starts, expires=expires, priority=priority, kind=kind)
        drawn.append(one)
    return drawn


def state(funding: Funding) -> PeriodState:
    by_rate = {
        rate_id: Amounts(rated=share.rated, included=share.included, credited=share.credited, unbilled=share.unbilled)
        for rate_id, share in funding.by_rate.items()
    }
    return PeriodState(by_rate, funding.drawdowns)


def added(one: PeriodState, other: PeriodState) -> PeriodState:
    """What is posted after two accruals: their sum, without what cancels out."""
    return one.minus(PeriodState().minus(other))


class TestFund:
    def test_allowance_pays_before_grants_and_the_rest_is_unbilled(self) -> None:
        funding = fund([usage(1, 7, "35")], pooled(Decimal(20)), [grant(1, "10")])

        share = funding.by_rate[7]
        assert (share.included, share.credited, share.unbilled) == (20, 10, 5)
        assert funding.drawdowns == {(7, 1): 10}

    def test_earlier_usage_is_paid_first(self) -> None:
        funding = fund([usage(2, 1, "8"), usage(1, 2, "8")], pooled(Decimal(10)), [])

        assert (funding.by_rate[2].included, funding.by_rate[1].included) == (8, 2)
        assert (funding.by_rate[2].unbilled, funding.by_rate[1].unbilled) == (0, 6)

    def test_within_an_hour_the_lower_rate_id_is_paid_first(self) -> None:
        funding = fund([usage(1, 9, "8"), usage(1, 3, "8")], pooled(Decimal(10)), [])

        assert (funding.by_rate[3].included, funding.by_rate[9].included) == (8, 2)

    def test_a_grant_pays_only_for_hours_in_which_it_is_usable(self) -> None:
        usages = [usage(hour, 1, "1") for hour in range(6)]

        funding = fund(usages, pooled(Decimal(0)), [grant(1, "100", starts=2, expires=4)])

        assert funding.drawdowns == {(1, 1): 2}
        assert funding.by_rate[1].unbilled == 4

    def test_an_expired_grant_is_passed_over_for_the_next(self) -> None:
        first, second = grant(1, "10", priority=1, expires=1), grant(2, "10", priority=2)

        assert fund([usage(1, 1, "3")], pooled(Decimal(0)), [first, second]).drawdowns == {(1, 2): 3}

    def test_a_grant_that_ended_pays_for_usage_from_before(self) -> None:
        funding = fund([usage(0, 1, "3"), usage(5, 1, "3")], pooled(Decimal(0)), [grant(1, "10", ended=5)])

        assert funding.drawdowns == {(1, 1): 3}

    @pytest.mark.parametrize(("used", "allowance", "available"), [("-1", "0", "0"), ("1", "-1", "0"), ("1", "0", "-1")])
    def test_below_zero_is_refused(self, used: str, allowance: str, available: str) -> None:
        with pytest.raises(InvalidFunding):
            fund([usage(1, 1, used)], pooled(Decimal(allowance)), [grant(1, available)])

    @given(usages, amounts, grants())
    def test_every_amount_is_paid_exactly_once(
        self, usages: list[RatedUsage], allowance: Decimal, grants: list[GrantBalance]
    ) -> None:
        funding = fund(usages, pooled(allowance), grants)

        for rate_id, share in funding.by_rate.items():
            rated = sum((usage.amount for usage in usages if usage.rate_id == rate_id), Decimal(0))
            drawn = sum((amount for (rate, _), amount in funding.drawdowns.items() if rate == rate_id), Decimal(0))
            assert share.included + share.credited + share.unbilled == share.rated == rated
            assert share.credited == drawn
            assert min(share.included, share.credited, share.unbilled) >= 0
        total = state(funding).total()
        assert total.included == min(allowance, total.rated)
        for one in grants:
            assert 0 <= state(funding).by_grant().get(one.grant_id, Decimal(0)) <= one.available

    @given(usages, amounts, grants(), st.randoms(use_true_random=False))
    def test_the_order_of_arrival_changes_nothing(
        self, usages: list[RatedUsage], allowance: Decimal, grants: list[GrantBalance], random: object
    ) -> None:
        shuffled, shuffled_grants = list(usages), list(grants)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        random.shuffle(shuffled_grants)  # type: ignore[attr-defined]

        assert state(fund(shuffled, pooled(allowance), shuffled_grants)) == state(
            fund(usages, pooled(allowance), grants)
        )

    @given(usages, amounts, grants(), st.randoms(use_true_random=False))
    def test_accruing_after_every_event_is_accruing_once(
        self, usages: list[RatedUsage], allowance: Decimal, grants: list[GrantBalance], random: object
    ) -> None:
        arriving = list(usages)
        random.shuffle(arriving)  # type: ignore[attr-defined]
        balances = {one.grant_id: one.available for one in grants}

        posted = PeriodState()
        for count in range(1, len(arriving) + 1):
            taken = posted.by_grant()
            now = [
                replace(one, available=balances[one.grant_id] + taken.get(one.grant_id, Decimal(0))) for one in grants
            ]
            change = state(fund(arriving[:count], pooled(allowance), now)).minus(posted)
            for grant_id, amount in change.by_grant().items():
                balances[grant_id] -= amount
            assert all(balance >= 0 for balance in balances.values())
            posted = added(posted, change)

        assert posted == PeriodState().minus(PeriodState().minus(state(fund(usages, pooled(allowance), grants))))

    @given(usages, amounts, grants())
    def test_nothing_is_left_unbilled_that_a_usable_grant_could_pay(
        self, usages: list[RatedUsage], allowance: Decimal, grants: list[GrantBalance]
    ) -> None:
        always = [replace(one, effective_at=START, expires_at=None) for one in grants]

        total = state(fund(usages, pooled(allowance), always)).total()

        available = sum((one.available for one in always), Decimal(0))
        assert total.unbilled == max(Decimal(0), total.rated - allowance - available)


def credit_cases() -> list[dict[str, Any]]:
    """The public cases of burn-down that this engine can express: no recurrence, and our order of grants."""
    if not CASES.exists():
        return []
    cases = [case for case in json.loads(CASES.read_text())["cases"] if case["calc"] == "credits"]
    return [
        case
        for case in cases
        if "order" not in case["input"] and not any("recur_every_h" in one for one in case["input"]["grants"])
    ]


@pytest.mark.skipif(not CASES.exists(), reason="../shared/data/cases is absent")
@pytest.mark.parametrize("case", credit_cases(), ids=lambda case: case["id"])
def test_reproduces_public_burn_down_cases(case: dict[str, Any]) -> None:
    given_ = case["input"]
    named = {
        one["id"]: grant(
            grant_id,
            one.get("start_balance", one["amount"]),
            starts=one["effective_h"],
            expires=one["expires_h"],
            ended=one.get("void_h"),
            priority=one["priority"],
            kind=one.get("category", "promotional"),
        )
        for grant_id, one in enumerate(given_["grants"], start=1)
    }

    used = [RatedUsage(at(one["at_h"]), 1, Decimal(one["qty"])) for one in given_["usage"]]

    funding = fund(used, pooled(Decimal(0)), named.values())

    # A grant counts at the end of the case only while it can be used.
    left = {
        name: one.available - funding.drawdowns.get((1, one.grant_id), Decimal(0))
        if usable(one, at(given_["until_h"]))
        else Decimal(0)
        for name, one in named.items()
    }
    assert left == {name: Decimal(amount) for name, amount in case["expected"]["balances"].items()}
    if "overage" in case["expected"]:
        assert funding.by_rate[1].unbilled == Decimal(case["expected"]["overage"])
