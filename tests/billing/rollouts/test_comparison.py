"""One period under two sets of terms: the same usage, seats and grants on both sides."""

from decimal import Decimal
from typing import Any

import pytest

from billing.rating.operations import accrue_period
from billing.rollouts.comparing.comparison import Comparison, Failure, Figures, compare_period
from tests.billing import usage
from tests.billing.rollouts.making import NOON, draft
from tests.billing.usage import october_of, rate_card, use_dollars
from tests.factories import (
    NOVEMBER,
    CreditGrantFactory,
    CustomerFactory,
    PlanFactory,
    PlanVersionFactory,
    RateCardFactory,
    SubscriptionFactory,
)


@pytest.fixture(autouse=True)
def _meters(committed_db: None) -> None:
    usage.define_token_meters()


def both(found: Comparison) -> tuple[Figures, Figures]:
    assert found.current is not None, found.failure
    assert found.candidate is not None, found.failure
    return found.current, found.candidate


def test_the_same_usage_is_priced_under_both_terms() -> None:
    period = october_of("acme", included="20", seats=2)
    use_dollars("acme", NOON, "60")

    found = compare_period(period, draft(price="10", included="30", fee_minor=2500))

    assert (found.failure, found.period_id, found.currency) == ("", period.pk, "USD")
    current, candidate = both(found)
    # 12 million tokens: at 5 dollars 60, of which two seats include 40; at 10 dollars 120, of which they include 60.
    assert (current.fee, current.rated, current.included) == (40, 60, 40)
    assert (candidate.fee, candidate.rated, candidate.included) == (50, 120, 60)
    assert (current.pays, candidate.pays, found.change) == (60, 110, 50)


def test_the_terms_a_period_had_compare_to_no_change() -> None:
    period = october_of("acme", seats=3)
    use_dollars("acme", NOON, "75")
    CreditGrantFactory(customer_key="acme", amount=Decimal(7))

    found = compare_period(period, period.plan_version)

    assert found.current is not None
    assert found.current == found.candidate
    assert (found.current.credited, found.current.unbilled) == (7, 8)


def test_grants_pay_on_both_sides_with_what_this_period_may_take() -> None:
    period = october_of("acme", included="20")
    CreditGrantFactory(customer_key="acme", amount=Decimal(50))
    use_dollars("acme", NOON, "30")
    accrue_period(period_id=period.pk, now=NOVEMBER)

    found = compare_period(period, draft(price="10", included="20"))

    # The grant has 40 left and gave 10 to this period: 50 in all, whichever side asks.
    current, candidate = both(found)
    assert (current.credited, current.unbilled) == (10, 0)
    assert (candidate.credited, candidate.unbilled) == (40, 0)


def test_a_baseline_takes_the_place_of_the_terms_the_period_had() -> None:
    period = october_of("acme")
    use_dollars("acme", NOON, "50")

    found = compare_period(period, draft(price="10", included="0"), baseline=draft(price="20", included="0"))

    current, candidate = both(found)
    assert (current.unbilled, candidate.unbilled) == (200, 100)


def test_usage_without_a_price_is_a_failure_of_that_side_and_no_figure() -> None:
    period = october_of("acme")
    usage.use("acme", NOON, output_tokens=1000)

    found = compare_period(period, draft())

    assert found.current is not None
    assert (found.candidate, found.change) == (None, None)
    assert found.failure_kind == Failure.UNRATED
    assert found.failure.startswith("under the candidate: 1,000 output_tokens of model 'claude-opus-4.5'")


@pytest.mark.parametrize(
    ("terms", "kind"),
    [
        ({"currency": "EUR"}, Failure.CURRENCY),
        ({"max_seats": 2}, Failure.SEATS),
        ({"interval": "year"}, Failure.INTERVAL),
    ],
)
def test_terms_that_this_customer_could_not_have_are_named(terms: dict[str, Any], kind: Failure) -> None:
    period = october_of("acme", seats=3)

    found = compare_period(period, draft(**terms))

    assert (found.current, found.candidate, found.failure_kind) == (None, None, kind)
    assert found.failure


def test_a_contract_of_somebody_else_is_named() -> None:
    period = october_of("acme")

    found = compare_period(period, draft(only_for=CustomerFactory(customer_key="globex")))

    assert found.failure_kind == Failure.NOT_OFFERED


def test_fewer_seats_than_are_sold_are_paid_as_the_fewest() -> None:
    found = compare_period(october_of("acme", seats=2), draft(min_seats=5, fee_minor=1000))

    assert found.candidate is not None
    assert found.candidate.fee == 50


def test_a_trial_stays_a_trial() -> None:
    version = PlanVersionFactory(rate_card=rate_card(), trial_days=14)
    period = SubscriptionFactory(customer=CustomerFactory(customer_key="acme"), plan_version=version).periods.get()
    assert period.kind == "trial"
    use_dollars("acme", NOON, "500")

    found = compare_period(period, draft())

    current, candidate = both(found)
    assert (current.pays, candidate.pays) == (0, 0)
    assert candidate.included == candidate.rated == 1000


def test_an_add_on_that_the_candidate_bundles_costs_nothing_of_its_own() -> None:
    period = october_of("acme", included="0")
    add_on = PlanVersionFactory(
        plan=PlanFactory(is_add_on=True), fee_minor=700, included_amount=Decimal(5), rate_card=RateCardFactory()
    )
    period.add_ons.create(plan_version=add_on, seats=2)
    period.allowances.create(position=9, code="add-on", name="Add-on", amount=Decimal(10))
    use_dollars("acme", NOON, "30")
    kept, bundling = draft(price="5", included="0"), draft(price="5", included="0")
    bundling.bundled.add(add_on)

    beside, inside = compare_period(period, kept), compare_period(period, bundling)

    (now, kept_as_is), (_, bundled) = both(beside), both(inside)
    # A seat of the plan costs 20, one of the add-on 7; the bundled one has as many seats as the plan.
    assert (now.fee, kept_as_is.fee, bundled.fee) == (34, 34, 20)
    assert (now.included, kept_as_is.included, bundled.included) == (10, 10, 5)
