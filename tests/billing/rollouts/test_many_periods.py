"""Periods that are compared together come to what each of them comes to alone."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.catalog.models import PlanVersion
from billing.catalog.queries import RateTable
from billing.rating.allocation import AllowanceTerms
from billing.rating.operations import accrue_period
from billing.rating.target import PeriodTerms, PeriodUsage, target
from billing.rollouts.comparing import many_periods
from billing.rollouts.comparing.comparison import compare_period
from billing.rollouts.comparing.many_periods import Compared, compare_many
from billing.rollouts.comparing.spans import periods_of
from billing.subscriptions.models import BillingPeriod
from metering.queries import Window
from promotions.burn_down import GrantBalance
from tests.billing import usage
from tests.billing.rollouts.making import (
    NOON,
    ODD,
    aggregate,
    close,
    draft,
    graduated_card,
    spend,
    subscribe,
    varied_customers,
)
from tests.factories import (
    DECEMBER,
    NOVEMBER,
    OCTOBER,
    BillingPeriodFactory,
    CreditGrantFactory,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
)


def together(periods: Sequence[BillingPeriod], candidate: PlanVersion) -> dict[int, Compared]:
    ids = [period.subscription_id for period in periods]
    found = compare_many(periods_of(ids, OCTOBER, DECEMBER), candidate)
    return {one.period.pk: one for one in found}


class TestTogether:
    @pytest.fixture(autouse=True)
    def _meters(self, committed_db: None) -> None:
        usage.define_token_meters()

    def test_everyone_comes_to_what_they_come_to_alone(self) -> None:
        periods = varied_customers()

        for candidate in (draft(price="7", included="12"), draft(card=graduated_card(), included="3")):
            found = together(periods, candidate)

            for period in periods:
                alone = compare_period(period, candidate, is_over=True)
                assert found[period.pk].comparison == alone
                assert alone.failure == ""
        rated = {one.comparison.customer_key: one.comparison.current for one in found.values()}
        # Two in each other's hour: the event at the anchor itself is in, the one twenty minutes before it is not.
        assert rated["plain"].rated - rated["odd"].rated == Decimal(700001) * 5 / 1_000_000  # type: ignore[union-attr]
        assert rated["idle"].rated == 0  # type: ignore[union-attr]

    def test_every_way_of_reading_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        periods = varied_customers()
        ways: list[str] = []
        real = many_periods._way

        def noted(subject: many_periods._Subject) -> many_periods._Way:
            ways.append(real(subject).value)
            return real(subject)

        monkeypatch.setattr(many_periods, "_way", noted)

        together(periods, draft())

        assert sorted(ways) == ["alone", "hours", "hours", "sums", "sums", "sums", "sums"]

    def test_a_grant_pays_more_of_one_period_and_less_of_the_next(self) -> None:
        october = subscribe("acme")
        november = BillingPeriodFactory(subscription=october.subscription)
        CreditGrantFactory(customer_key="acme", amount=Decimal(30))
        spend("acme", (NOON, 5_000_000), (NOON + timedelta(days=31), 5_000_000))
        aggregate()
        for period in (october, november):
            accrue_period(period_id=period.pk, now=DECEMBER)

        found = together([october], draft(price="10"))

        # 25 dollars a month, 20 included: credit pays 5 and 5, and 20 are left. At 50 dollars October would have taken
        # these too, and November only has what it took itself: never more than the grant in all.
        first, second = found[october.pk].comparison, found[november.pk].comparison
        assert [one.current.credited for one in (first, second) if one.current] == [5, 5]
        assert [one.candidate.credited for one in (first, second) if one.candidate] == [25, 5]

    def test_a_closed_period_is_held_against_what_was_posted(self) -> None:
        posted, unposted = subscribe("acme"), subscribe("globex")
        for key in ("acme", "globex"):
            spend(key, (NOON, 5_000_000))
        aggregate()
        accrue_period(period_id=posted.pk, now=NOVEMBER)
        still_open = subscribe("hooli")
        for period in (posted, unposted):
            close(period)

        found = together([posted, unposted, still_open], draft())

        assert [found[period.pk].is_as_posted for period in (posted, unposted, still_open)] == [True, False, None]

    def test_it_asks_as_often_for_many_as_for_two(self, django_assert_max_num_queries: object) -> None:
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        version = PlanVersionFactory(rate_card=usage.rate_card())
        periods = [subscribe(f"c{number}", starts_at=ODD, version=version) for number in range(12)]
        for number in range(12):
            spend(f"c{number}", (ODD, 1_000))
        aggregate()
        candidate = draft()
        with CaptureQueriesContext(connection) as of_two:
            together(periods[:2], candidate)

        with CaptureQueriesContext(connection) as of_all:
            together(periods, candidate)

        assert len(of_all) == len(of_two)


def window(hour: int, quantity: int, model: str) -> Window:
    return Window(OCTOBER + timedelta(hours=hour), "acme", "tokens", 1, {"model": model}, Decimal(quantity), 1, 0)


@st.composite
def months(draw: st.DrawFn) -> tuple[list[Window], PeriodTerms, list[GrantBalance]]:
    """Usage of two models over some hours, tiered or linear prices, allowances and grants of the whole month."""
    tiers = [{"up_to": "1000", "unit_price": "0.5", "flat": "3"}, {"up_to": None, "unit_price": "0.25"}]
    rates = []
    for pk, model in ((1, "a"), (2, "b")):
        charge_model = draw(st.sampled_from(["per_unit", "graduated", "volume"]))
        linear = charge_model == "per_unit"
        rates.append(
            RateFactory.build(
                pk=pk,
                rate_card=RateCardFactory.build(),
                meter_code="tokens",
                dimensions={"model": model},
                charge_model=charge_model,
                unit_price=Decimal("0.03") if linear else None,
                unit_size=1 if linear else None,
                terms={} if linear else {"tiers": tiers},
            )
        )
    amounts = st.decimals(0, 500, places=2)
    allowances = [
        AllowanceTerms(allowance_id=number, measure=draw(st.sampled_from(["money", "cap"])), amount=draw(amounts))
        for number in range(1, draw(st.integers(1, 3)))
    ]
    grants = [
        GrantBalance(
            grant_id=number,
            kind="promotional",
            priority=draw(st.integers(0, 2)),
            effective_at=OCTOBER,
            expires_at=None,
            recorded_at=OCTOBER,
            amount=Decimal(1000),
            available=draw(amounts),
        )
        for number in range(draw(st.integers(0, 3)))
    ]
    used = draw(st.lists(st.tuples(st.integers(0, 743), st.integers(1, 900), st.sampled_from("ab")), max_size=25))
    terms = PeriodTerms(OCTOBER, NOVEMBER, RateTable([rates]), tuple(allowances))
    return [window(*one) for one in sorted(used)], terms, grants


@given(months())
def test_what_adds_up_comes_to_the_same_as_its_hours(
    month: tuple[list[Window], PeriodTerms, list[GrantBalance]],
) -> None:
    windows, terms, grants = month
    assert many_periods._adds_up(terms, grants)
    by_model = {
        model: sum((one.quantity for one in windows if one.dimensions["model"] == model), Decimal(0)) for model in "ab"
    }
    sums = [window(0, int(quantity), model) for model, quantity in by_model.items() if quantity]

    hourly = target(PeriodUsage(windows), terms, grants, is_over=True).total()
    summed = target(PeriodUsage(sums), terms, grants, is_over=True).total()

    assert summed == hourly


def test_what_depends_on_the_hour_does_not_add_up() -> None:
    rates = RateTable([[RateFactory.build(pk=1, rate_card=RateCardFactory.build())]])
    later = RateFactory.build(pk=2, rate_card=RateCardFactory.build(), effective_from=NOON)
    changing = RateTable([[RateFactory.build(pk=1, rate_card=RateCardFactory.build()), later]])
    money = AllowanceTerms(allowance_id=1, measure="money", amount=Decimal(1))
    units = AllowanceTerms(allowance_id=1, measure="units", amount=Decimal(1))
    of_one = AllowanceTerms(allowance_id=1, measure="money", amount=Decimal(1), covers=({"meter_code": "x"},))
    each = AllowanceTerms(allowance_id=1, measure="money", amount=Decimal(1), each_dimension="member")

    def adds_up(table: RateTable, *allowances: AllowanceTerms, until: object = None) -> bool:
        grant = GrantBalance(
            grant_id=1, kind="paid", priority=1, effective_at=OCTOBER, expires_at=until, recorded_at=OCTOBER,  # type: ignore[arg-type]
            amount=Decimal(1), available=Decimal(1),
        )  # fmt: skip
        return many_periods._adds_up(PeriodTerms(OCTOBER, NOVEMBER, table, allowances), [grant])

    assert adds_up(rates, money)
    assert adds_up(rates, money, until=NOVEMBER)
    assert not adds_up(rates, money, until=NOON)
    assert not any(adds_up(rates, one) for one in (units, of_one, each))
    assert not adds_up(changing, money)
