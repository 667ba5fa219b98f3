# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""Changes within a period: which prices refuse to be divided, what add-ons come to, and what the rest includes."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.catalog.models import PlanVersion, Rate
from billing.catalog.operations import publish_plan_version
from billing.subscriptions.divisible import require_divisible
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import ChangeRefused, open_next_period, project_subscription
from tests.billing import usage
from tests.factories import (
    DECEMBER,
    NOVEMBER,
    OCTOBER,
    CustomerFactory,
    PlanFactory,
    PlanVersionFactory,
    RateCardFactory,
    SubscriptionFactory,
)

AT, DAY = OCTOBER + timedelta(days=10), timedelta(days=1)
TIERS = [{"up_to": None, "unit_price": "1"}]
PLAIN_CELL = {"dimensions": {"model": "a"}, "unit_price": "1"}
FLAT_CELL = {
    "dimensions": {"model": "b"},
    "charge_model": "graduated",
    "tiers": [{"up_to": None, "unit_price": "1", "flat": "5"}],
}


def version_of(code: str, *rates: dict[str, Any], bundled: Sequence[PlanVersion] = (), **terms: Any) -> PlanVersion:
    """A published version with these prices, at Stripe under the price named as its plan."""
    is_add_on = terms.pop("is_add_on", False)
    card = RateCardFactory()
    for rate in rates:
        Rate.objects.create(rate_card=card, effective_from=OCTOBER - 9 * DAY, **{"dimensions": {}} | rate)
    plan = PlanFactory(code=code, is_add_on=is_add_on)
    version = PlanVersion.objects.create(
        **{"plan": plan, "version": 1, "currency": "USD", "fee_minor": 500, "rate_card": card} | terms
    )
    version.bundled.set(bundled)
    publish_plan_version(plan_version_id=version.pk, now=OCTOBER)
    PlanVersion.objects.filter(pk=version.pk).update(stripe_price_id=code)
    version.refresh_from_db()
    return version


def subscribed(version: PlanVersion, *add_ons: PlanVersion) -> Subscription:
    return SubscriptionFactory(
        customer=CustomerFactory(customer_key="acme", stripe_customer_id="cus_1"),
        plan_version=version,
        add_ons=[(add_on, 1) for add_on in add_ons],
        stripe_subscription_id="sub_1",
        status="active",
    )


def at_stripe(*prices: str, at: datetime, seats: int = 1) -> dict[str, Any]:
    items = [{"id": f"si_{price}", "price": {"id": price}, "quantity": seats} for price in prices]
    return {
        "id": "sub_1",
        "customer": "cus_1",
        "status": "active",
        "metadata": {"terms_from": str(int(at.timestamp()))},
        "items": {"data": items},
    }


def project(*prices: str, at: datetime, now: datetime | None = None, **others: Any) -> None:
    project_subscription(at_stripe(*prices, at=at, **others), now=now or at)


def add_ons_by_period(subscription: Subscription) -> list[list[tuple[str, int]]]:
    return [
        [(row.plan_version.plan.code, row.seats) for row in period.add_ons.order_by("pk")]
        for period in subscription.periods.order_by("starts_at")
    ]


@pytest.mark.django_db
class TestWhatCannotBeDivided:
    @pytest.mark.parametrize(
        "rate",
        [
            {"charge_model": "flat", "terms": {"amount": "30"}},
            {"charge_model": "minimum_commitment", "terms": {"amount": "30"}},
            {"charge_model": "maximum_commitment", "terms": {"amount": "50"}},
            {"meter_code": "images", "charge_model": "graduated", "terms": {"maximum": "50", "tiers": TIERS}},
            {"meter_code": "images", "charge_model": "matrix", "terms": {"cells": [PLAIN_CELL, FLAT_CELL]}},
        ],
        ids=["flat", "minimum", "maximum commitment", "maximum", "cell"],
    )
    @pytest.mark.parametrize("where", ["plan", "bundled", "removed add-on", "added add-on", "wanted plan"])
    def test_a_price_of_the_whole_period_wherever_it_is(self, rate: dict[str, Any], where: str) -> None:
        is_plan = where in ("plan", "wanted plan")
        priced, plain = version_of("priced", rate, is_add_on=not is_plan), version_of("plain")
        held, wanted = {
            "plan": ([priced], [plain]),
            "bundled": ([plain], [version_of("bundling", bundled=[priced])] if where == "bundled" else []),
            "removed add-on": ([plain, priced], [plain]),
            "added add-on": ([plain], [plain, priced]),
            "wanted plan": ([plain], [priced]),
        }[where]
        period = subscribed(*held).periods.get()

        with pytest.raises(ChangeRefused, match="next period"):
            require_divisible(period, wanted, now=AT)

    def test_what_the_period_s_own_plan_bundles_counts(self) -> None:
        support = version_of("support", {"charge_model": "flat", "terms": {"amount": "30"}}, is_add_on=True)
        period = subscribed(version_of("team", bundled=[support])).periods.get()

        with pytest.raises(ChangeRefused, match="Support v1"):
            require_divisible(period, [version_of("plain")], now=AT)

    @pytest.mark.parametrize(
        ("charge_model", "terms"),
        [
            ("matrix", {"cells": [PLAIN_CELL]}),
            ("graduated", {"maximum": "50", "per": "window", "tiers": TIERS}),
            ("graduated", {"free_units": "9", "tiers": TIERS}),
        ],
        ids=["matrix", "by the hour", "free"],
    )
    def test_other_prices_are_divided(self, charge_model: str, terms: dict[str, Any]) -> None:
        plan = version_of("plan", {"meter_code": "images", "charge_model": charge_model, "terms": terms})

        require_divisible(subscribed(plan).periods.get(), [plan], now=AT)


@pytest.mark.usefixtures("committed_db")
class TestAddOnsThatAreStillAhead:
    """All of these ask for something from the next period on, and then for something else."""

    def test_one_that_would_go_stays_after_all(self) -> None:
        boost = version_of("boost", is_add_on=True)
        subscription = subscribed(version_of("plan"), boost)
        project("plan", at=NOVEMBER, now=AT)
        project("plan", "boost", at=AT + DAY)  # what the open period has already: it is not divided
        open_next_period(subscription_id=subscription.pk, starts_at=NOVEMBER, ends_at=DECEMBER)

        assert add_ons_by_period(subscription) == [[("boost", 1)]] * 2
        assert subscription.add_ons.get().removed_at is None

    def test_one_that_would_go_stays_in_the_next_period_too(self) -> None:
        subscription = subscribed(version_of("plan"), version_of("boost", is_add_on=True))
        project("plan", at=NOVEMBER, now=AT)
        project("plan", "boost", at=NOVEMBER, now=AT + DAY)

        assert subscription.add_ons.get().removed_at is None

    def test_one_that_would_go_goes_with_a_change_now_that_has_it_no_more(self) -> None:
        subscription = subscribed(version_of("plan"), version_of("boost", is_add_on=True))
        project("plan", at=NOVEMBER, now=AT)
        project("plan", at=AT + DAY, seats=3)

        assert add_ons_by_period(subscription) == [[("boost", 1)], []]

    def test_one_that_would_come_comes_now_and_can_go_again(self) -> None:
        version_of("boost", is_add_on=True)
        subscription = subscribed(version_of("plan"))
        project("plan", "boost", at=NOVEMBER, now=AT)
        project("plan", "boost", at=AT + DAY)
        project("plan", at=AT + 2 * DAY)
        open_next_period(subscription_id=subscription.pk, starts_at=NOVEMBER, ends_at=DECEMBER)

        assert add_ons_by_period(subscription) == [[], [("boost", 1)], [], []]

    def test_other_seats_that_would_come_do_not(self) -> None:
        subscription = subscribed(version_of("plan"), version_of("boost", is_add_on=True))
        project("plan", "boost", at=NOVEMBER, now=AT, seats=5)
        project("plan", "boost", at=AT + DAY)  # what the open period has already: it is not divided
        open_next_period(subscription_id=subscription.pk, starts_at=NOVEMBER, ends_at=DECEMBER)

        assert add_ons_by_period(subscription) == [[("boost", 1)]] * 2


@pytest.mark.django_db
@pytest.mark.parametrize("drift", [-5, 0, 5])
def test_the_rest_of_a_february_includes_the_whole_of_both_parts(drift: int) -> None:
    """28 USD a seat for 28 days, a second seat after 14 of them: 42. Stripe counts from some seconds later."""
    february = datetime(2027, 2, 1, 10, tzinfo=UTC)
    plan = PlanVersionFactory(included_amount=Decimal(28))
    PlanVersion.objects.filter(pk=plan.pk).update(stripe_price_id="plan")
    customer = CustomerFactory(stripe_customer_id="cus_1")
    subscription = SubscriptionFactory(
        customer=customer, plan_version=plan, starts_at=february, stripe_subscription_id="sub_1", status="active"
    )
    Subscription.objects.filter(pk=subscription.pk).update(anchor_at=february + timedelta(seconds=drift))

    project("plan", at=february + 14 * DAY, seats=2)

    assert subscription.periods.latest("starts_at").allowances.get().amount == 42


@pytest.mark.django_db
def test_a_change_that_came_too_late_and_left_other_items_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    subscription = subscribed(version_of("plan"))
    version_of("large")
    open_next_period(subscription_id=subscription.pk, starts_at=NOVEMBER, ends_at=DECEMBER)

    with caplog.at_level(logging.ERROR):
        project("plan", at=NOVEMBER)
        assert "came too late" not in caplog.text
        project("large", at=NOVEMBER - DAY, now=NOVEMBER)

    assert "came too late" in caplog.text


@pytest.mark.usefixtures("committed_db")
class TestUsageThatCannotBeRated:
    def test_refuses_a_change_within_the_period(self) -> None:
        """How much of what is included it has used would not be known, and would be included once more."""
        usage.define_token_meters()
        period = usage.october_of("acme")
        usage.use("acme", OCTOBER, model="unpriced", input_tokens=1)

        with pytest.raises(ChangeRefused, match="unpriced"):
            require_divisible(period, [period.plan_version], now=AT)
