"""A customer's usage under two sets of terms: the comparison's figures, and causes that add up to the difference."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.catalog.models import Allowance, PlanVersion, RateCard
from billing.rating.operations import accrue_period
from billing.rating.target import Allocated, Source
from billing.rollouts.comparing.comparison import Figures, compare_period
from billing.rollouts.simulator.figures import KINDS_MAX, causes, cumulative, prices
from billing.rollouts.simulator.simulation import Chosen, Simulation, Span, grants_in, month_of, simulate
from billing.subscriptions.models import BillingPeriod
from tests.billing import usage
from tests.billing.usage import AFTER_OCTOBER, MODEL, PRICES, october_of, use, use_dollars
from tests.factories import (
    NOVEMBER,
    OCTOBER,
    CreditGrantFactory,
    CustomerFactory,
    PlanVersionFactory,
    RateCardFactory,
    RateFactory,
)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = OCTOBER + 20 * DAY


@pytest.fixture
def version(committed_db: None) -> PlanVersion:
    usage.define_token_meters()
    return PlanVersionFactory(rate_card=usage.rate_card(), included_amount=Decimal(20))


@pytest.fixture
def candidate(version: PlanVersion) -> PlanVersion:
    """A draft: 30 USD instead of 20, twice the price of output, and 25 included instead of 20."""
    card = card_with(output_tokens="50")
    return PlanVersionFactory(
        plan=version.plan, version=2, rate_card=card, fee_minor=3000, included_amount=Decimal(25), is_draft=True
    )


def card_with(**prices: str) -> RateCard:
    card = RateCardFactory()
    for meter_code, price in {**PRICES, **prices}.items():
        RateFactory(rate_card=card, meter_code=meter_code, model=MODEL, unit_price=Decimal(price))
    return card


def span_of(period: BillingPeriod) -> Span:
    return Span(period.subscription.customer, period.starts_at, period.ends_at, period)


def own(period: BillingPeriod) -> Chosen:
    return Chosen(None, period.seats)


def figures(found: Simulation) -> tuple[Figures, Figures]:
    assert (found.left.failure, found.right.failure) == ("", "")
    assert found.left.figures is not None
    assert found.right.figures is not None
    return found.left.figures, found.right.figures


class TestFigures:
    @pytest.mark.parametrize("seats", [1, 3])
    def test_are_those_of_the_comparison(self, version: PlanVersion, candidate: PlanVersion, seats: int) -> None:
        period = october_of("acme", version=version, seats=seats)
        CreditGrantFactory(customer_key="acme", amount=Decimal(7))
        use_dollars("acme", OCTOBER + HOUR, "31")
        use("acme", OCTOBER + 3 * DAY, output_tokens=2_000_000)
        accrue_period(period_id=period.pk, now=NOW)

        found = simulate(span_of(period), own(period), Chosen(candidate, seats), now=NOW)

        expected = compare_period(period, candidate)
        assert figures(found) == (expected.current, expected.candidate)
        assert found.change == expected.change

    def test_name_what_differs_to_the_last_place(self, version: PlanVersion, candidate: PlanVersion) -> None:
        period = october_of("acme", version=version)
        use_dollars("acme", OCTOBER + HOUR, "31")
        use("acme", OCTOBER + 3 * DAY, output_tokens=400_001)

        found = simulate(span_of(period), own(period), Chosen(candidate, 1), now=NOW)

        effects = {cause.name: cause.effect for cause in found.causes}
        assert effects == {
            "Fee": 10,
            f"{MODEL} input_tokens": 0,
            f"{MODEL} output_tokens": Decimal("10.000025"),
            "Included by allowances": -5,
        }
        assert sum(effects.values()) == found.change == Decimal("15.000025")

    def test_other_seats_cost_other_fees_and_include_more(self, version: PlanVersion, candidate: PlanVersion) -> None:
        period = october_of("acme", version=version)
        use_dollars("acme", OCTOBER + HOUR, "100")

        found = simulate(span_of(period), own(period), Chosen(version, 4), now=NOW)

        left, right = figures(found)
        assert (left.fee, left.included, right.fee, right.included) == (20, 20, 80, 80)
        assert [(pool.name, pool.amount, pool.paid) for pool in found.right.pools] == [("Included usage", 80, 80)]

    def test_leave_credit_out_if_asked(self, version: PlanVersion, candidate: PlanVersion) -> None:
        period = october_of("acme", version=version)
        CreditGrantFactory(customer_key="acme", amount=Decimal(7))
        use_dollars("acme", OCTOBER + HOUR, "31")

        found = simulate(span_of(period), own(period), Chosen(candidate, 1), now=NOW, counts_grants=False)

        assert [side.credited for side in figures(found)] == [0, 0]

    def test_of_a_side_that_cannot_be_rated_are_none_and_the_other_is_told(
        self, version: PlanVersion, candidate: PlanVersion
    ) -> None:
        RateFactory(rate_card=version.rate_card, model="other")
        period = october_of("acme", version=version)
        use("acme", OCTOBER + HOUR, model="other", input_tokens=1_000_000)

        found = simulate(span_of(period), own(period), Chosen(candidate, 1), now=NOW)

        assert (found.right.figures, found.right.failure_kind) == (None, "unrated")
        assert found.left.figures is not None
        assert found.left.figures.rated == 5
        assert (found.change, list(found.causes)) == (None, [])

    def test_a_contract_of_somebody_else_is_refused(self, version: PlanVersion) -> None:
        other = CustomerFactory(customer_key="other")
        contract = PlanVersionFactory(rate_card=version.rate_card, only_for=other, is_draft=True)
        period = october_of("acme", version=version)

        found = simulate(span_of(period), own(period), Chosen(contract, 1), now=NOW)

        assert found.right.failure_kind == "not_offered"


class TestMonths:
    def test_a_month_of_a_monthly_plan_is_its_period(self, version: PlanVersion, candidate: PlanVersion) -> None:
        period = october_of("acme", version=version, seats=2)
        CreditGrantFactory(customer_key="acme", amount=Decimal(7))
        use_dollars("acme", OCTOBER + HOUR, "61")
        accrue_period(period_id=period.pk, now=NOW)
        month = month_of(period.subscription.customer, OCTOBER)
        assert (month.starts_at, month.ends_at) == (OCTOBER, NOVEMBER)

        of_month = simulate(month, Chosen(version, 2), Chosen(candidate, 2), now=NOW)
        of_period = simulate(span_of(period), own(period), Chosen(candidate, 2), now=NOW)

        assert figures(of_month) == figures(of_period)
        assert [grant.available for grant in grants_in(month)] == [7]

    def test_a_month_says_nothing_about_a_yearly_plan(self, version: PlanVersion) -> None:
        yearly = PlanVersionFactory(rate_card=version.rate_card, interval="year", is_draft=True)
        customer = CustomerFactory(customer_key="acme")

        found = simulate(month_of(customer, OCTOBER), Chosen(version, 1), Chosen(yearly, 1), now=NOW)

        assert found.right.failure_kind == "interval"
        assert "billing period" in found.right.failure

    @pytest.mark.parametrize("month", [1, 2, 4, 12])
    def test_have_every_length(self, month: int) -> None:
        found = month_of(CustomerFactory.build(), datetime(2028, month, 1, tzinfo=UTC))

        assert found.ends_at == datetime(2028 + month // 12, month % 12 + 1, 1, tzinfo=UTC)
        assert len(found.days) == (found.ends_at - found.starts_at) // DAY


def test_a_day_begins_where_the_span_does_and_nothing_is_left_out(version: PlanVersion, candidate: PlanVersion) -> None:
    period = october_of("acme", version=version)
    for day in (1, 5, 5, 30):
        use_dollars("acme", OCTOBER + day * DAY + 5 * HOUR, "15")

    found = simulate(span_of(period), own(period), Chosen(candidate, 1), now=AFTER_OCTOBER)

    left, right = figures(found)
    sums = cumulative(left.fee, found.left.allocated, found.span.days)
    assert (len(sums), sums[0], sums[1], sums[5], sums[29], sums[30]) == (31, 20, 20, 45, 45, left.pays)
    assert cumulative(right.fee, found.right.allocated, found.span.days)[-1] == right.pays


amounts = st.decimals(min_value=0, max_value=10**6, places=12)


@st.composite
def sides(draw: st.DrawFn) -> tuple[list[Allocated], Figures]:
    """Some usage of two rates and how it was paid for, and the figures these come to, added up as fractions."""
    allocated = []
    sums = dict.fromkeys(("allowance", "grant", "unbilled"), Fraction(0))
    for _ in range(draw(st.integers(0, 12))):
        parts = {kind: draw(amounts) for kind in sums}
        for kind, part in parts.items():
            sums[kind] += Fraction(part)
        allocated.append(
            Allocated(
                at=OCTOBER + draw(st.integers(0, 743)) * HOUR,
                rate_id=draw(st.sampled_from([1, 2])),
                meter_code="tokens",
                dimensions={"model": draw(st.sampled_from(["a", "b", None]))},
                quantity=draw(amounts),
                amount=sum(parts.values(), Decimal(0)),
                sources=tuple(
                    Source(kind, None if kind == "unbilled" else 1, part)  # type: ignore[arg-type]
                    for kind, part in parts.items()
                ),
            )
        )
    fee, (included, credited, unbilled) = draw(amounts), (_decimal(value) for value in sums.values())
    rated = _decimal(sum(sums.values(), Fraction(0)))
    return allocated, Figures(fee=fee, rated=rated, included=included, credited=credited, unbilled=unbilled)


def _decimal(value: Fraction) -> Decimal:
    return Decimal(int(value * 10**12)).scaleb(-12)


@settings(max_examples=60)
@given(sides(), sides())
def test_the_causes_add_up_to_the_difference(
    left: tuple[list[Allocated], Figures], right: tuple[list[Allocated], Figures]
) -> None:
    rates = {1: RateFactory.build(id=1, meter_code="tokens"), 2: RateFactory.build(id=2, meter_code="tokens")}
    rows = prices(left[0], right[0], rates)

    effects = sum((Fraction(cause.effect) for cause in causes(left[1], right[1], rows)), Fraction(0))

    assert effects == Fraction(right[1].pays) - Fraction(left[1].pays)
    for side, place in ((left, "left"), (right, "right")):
        assert sum((Fraction(getattr(row, place).rated) for row in rows), Fraction(0)) == Fraction(side[1].rated)
        days = [OCTOBER.date() + number * DAY for number in range(31)]
        assert cumulative(side[1].fee, side[0], days)[-1] == side[1].pays


def test_very_many_kinds_of_usage_are_told_by_what_their_prices_name() -> None:
    rate = RateFactory.build(id=1, meter_code="tokens", dimensions={"model": "auto"})
    allocated: Callable[[int], Allocated] = lambda number: Allocated(  # noqa: E731
        at=OCTOBER,
        rate_id=1,
        meter_code="tokens",
        dimensions={"model": "auto", "member": f"member-{number}"},
        quantity=Decimal(1),
        amount=Decimal(2),
        sources=(Source("unbilled", None, Decimal(2)),),
    )

    few = prices([allocated(number) for number in range(3)], [], {1: rate})
    many = prices([allocated(number) for number in range(KINDS_MAX + 1)], [], {1: rate})

    assert [row.usage.name for row in few] == [f"member-{number} auto tokens" for number in range(3)]
    assert [(row.usage.name, row.quantity, row.change) for row in many] == [
        ("auto tokens", KINDS_MAX + 1, -2 * (KINDS_MAX + 1))
    ]


def test_an_allowance_that_nothing_used_is_told_too(version: PlanVersion, candidate: PlanVersion) -> None:
    Allowance.objects.create(
        plan_version=candidate,
        position=2,
        code="own",
        name="Own models",
        measure="units",
        amount=Decimal(5_000_000),
        covers=[{"dimensions": {"model": ["composer"]}}],
    )
    period = october_of("acme", version=version)
    use_dollars("acme", OCTOBER + HOUR, "10")

    found = simulate(span_of(period), own(period), Chosen(candidate, 1), now=NOW)

    assert [(pool.name, pool.used, pool.amount) for pool in found.right.pools] == [
        ("Included usage", 10, 25),
        ("Own models", 0, 5_000_000),
    ]
