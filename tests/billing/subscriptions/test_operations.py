# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""Subscriptions are agreed once, their periods follow each other without gap, and Stripe's word is taken over."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.catalog.models import PlanVersion
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.operations import (
    PeriodConflict,
    PeriodNotFound,
    PlanNotOffered,
    SubscriptionConflict,
    SubscriptionError,
    SubscriptionNotFound,
    close_period,
    create_subscription,
    open_next_period,
    project_subscription,
)
from billing.subscriptions.queries import latest_period
from tests.factories import (
    ACTOR,
    DECEMBER,
    NOVEMBER,
    OCTOBER,
    BillingPeriodFactory,
    CustomerFactory,
    PlanVersionFactory,
    SubscriptionFactory,
)

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def at_stripe(subscription: Subscription, **changes: Any) -> dict[str, Any]:
    return {
        "id": "sub_1",
        "customer": "cus_1",
        "status": "active",
        "start_date": int((OCTOBER + 3 * SECOND).timestamp()),
        "billing_cycle_anchor": int((OCTOBER + 3 * SECOND).timestamp()),
        "metadata": {"subscription_id": str(subscription.pk)},
        "items": {"data": [{"quantity": 4}]},
        **changes,
    }


class TestCreateSubscription:
    def test_opens_the_first_period_with_the_terms_of_all_seats(self) -> None:
        customer, version = CustomerFactory(), PlanVersionFactory(included_amount=Decimal("20.5"))

        subscription = create_subscription(
            customer=customer, plan_version=version, seats=3, starts_at=OCTOBER, actor=ACTOR
        )

        period = subscription.periods.get()
        assert subscription.status == "pending"
        assert (period.starts_at, period.ends_at) == (OCTOBER, NOVEMBER)
        assert (period.plan_version, period.seats, period.allowances.get().amount) == (version, 3, Decimal("61.5"))

    def test_drops_the_fraction_of_a_second_that_stripe_does_not_know(self) -> None:
        starts_at = datetime(2026, 1, 31, 12, 30, 15, 999_999, tzinfo=UTC)

        period = SubscriptionFactory(starts_at=starts_at).periods.get()

        assert period.starts_at == datetime(2026, 1, 31, 12, 30, 15, tzinfo=UTC)
        assert period.ends_at == datetime(2026, 2, 28, 12, 30, 15, tzinfo=UTC)

    def test_said_twice_is_done_once(self) -> None:
        first = SubscriptionFactory()

        again = SubscriptionFactory(customer=first.customer, plan_version=first.plan_version)

        assert again == first
        assert BillingPeriod.objects.count() == 1

    def test_a_second_live_one_is_refused(self) -> None:
        first = SubscriptionFactory()

        with pytest.raises(SubscriptionConflict):
            SubscriptionFactory(customer=first.customer, plan_version=first.plan_version, seats=2)

    def test_another_may_follow_a_canceled_one(self) -> None:
        first = SubscriptionFactory(status="canceled")

        assert SubscriptionFactory(customer=first.customer, starts_at=NOVEMBER) != first

    @pytest.mark.parametrize("terms", [{"is_draft": True}, {"currency": "EUR", "rate_card__currency": "EUR"}], ids=str)
    def test_only_published_plans_of_the_customer_s_currency_are_sold(self, terms: dict[str, Any]) -> None:
        with pytest.raises(PlanNotOffered):
            SubscriptionFactory(plan_version=PlanVersionFactory(**terms))

        assert not Subscription.objects.exists()

    def test_retired_plans_are_not_sold(self) -> None:
        version = PlanVersionFactory()
        PlanVersion.objects.filter(pk=version.pk).update(status="retired")
        version.refresh_from_db()

        with pytest.raises(PlanNotOffered, match="retired"):
            SubscriptionFactory(plan_version=version)

    @pytest.mark.parametrize("terms", [{"seats": 0}, {"starts_at": OCTOBER.replace(tzinfo=None)}], ids=str)
    def test_no_seats_or_no_zone_is_refused(self, terms: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"seat|UTC"):
            SubscriptionFactory(**terms)


class TestOpenNextPeriod:
    def open(self, subscription: Subscription, starts_at: datetime, ends_at: datetime) -> BillingPeriod:
        return open_next_period(subscription_id=subscription.pk, starts_at=starts_at, ends_at=ends_at)

    def test_takes_the_terms_of_that_moment_and_leaves_those_before(self) -> None:
        subscription = SubscriptionFactory()
        Subscription.objects.filter(pk=subscription.pk).update(seats=5)

        following = self.open(subscription, NOVEMBER, DECEMBER)

        assert (following.seats, following.allowances.get().amount) == (5, 100)
        assert [period.seats for period in subscription.periods.all()] == [1, 5]

    @pytest.mark.parametrize("drift", [-30 * SECOND, 30 * SECOND])
    def test_begins_where_the_one_before_ends_though_stripe_began_a_little_off(self, drift: timedelta) -> None:
        subscription = SubscriptionFactory()

        following = self.open(subscription, NOVEMBER + drift, DECEMBER + drift)

        assert (following.starts_at, following.ends_at) == (NOVEMBER, DECEMBER + drift)

    def test_said_twice_is_done_once(self) -> None:
        subscription = SubscriptionFactory()

        assert self.open(subscription, NOVEMBER, DECEMBER) == self.open(subscription, NOVEMBER, DECEMBER)
        assert subscription.periods.count() == 2

    @pytest.mark.parametrize(
        ("starts_at", "ends_at"),
        [(NOVEMBER + timedelta(days=1), DECEMBER), (OCTOBER, DECEMBER), (NOVEMBER, NOVEMBER - SECOND)],
        ids=["gap", "overlap", "inside"],
    )
    def test_a_gap_or_an_overlap_is_refused(self, starts_at: datetime, ends_at: datetime) -> None:
        subscription = SubscriptionFactory()

        with pytest.raises(PeriodConflict):
            self.open(subscription, starts_at, ends_at)

    def test_of_no_subscription_is_refused(self) -> None:
        with pytest.raises(SubscriptionNotFound):
            open_next_period(subscription_id=0, starts_at=OCTOBER, ends_at=NOVEMBER)


class TestClosePeriod:
    def test_is_done_once(self) -> None:
        period = BillingPeriodFactory()

        close_period(period_id=period.pk, now=NOVEMBER)
        close_period(period_id=period.pk, now=DECEMBER)

        period.refresh_from_db()
        assert (period.state, period.closed_at) == ("closed", NOVEMBER)

    def test_of_no_period_is_refused(self) -> None:
        with pytest.raises(PeriodNotFound):
            close_period(period_id=0, now=NOVEMBER)


class TestProjectSubscription:
    def test_takes_over_status_and_seats(self) -> None:
        subscription = SubscriptionFactory(stripe_subscription_id="sub_1")

        project_subscription(at_stripe(subscription, status="past_due"), now=NOVEMBER)

        subscription.refresh_from_db()
        assert (subscription.status, subscription.seats) == ("past_due", 4)
        assert subscription.periods.get().seats == 1

    def test_that_comes_before_our_own_request_s_answer_binds_the_two(self) -> None:
        subscription = SubscriptionFactory(customer=CustomerFactory(stripe_customer_id="cus_1"))

        project_subscription(at_stripe(subscription), now=NOVEMBER)

        subscription.refresh_from_db()
        assert (subscription.stripe_subscription_id, subscription.status) == ("sub_1", "active")
        assert subscription.anchor_at == OCTOBER + 3 * SECOND

    @pytest.mark.parametrize(
        "changes", [{"customer": "cus_2"}, {"metadata": {}}, {"metadata": {"subscription_id": "x"}}], ids=str
    )
    def test_of_none_of_ours_changes_nothing(self, changes: dict[str, Any]) -> None:
        subscription = SubscriptionFactory(customer=CustomerFactory(stripe_customer_id="cus_1"))

        assert project_subscription(at_stripe(subscription, **changes), now=NOVEMBER) is None

        subscription.refresh_from_db()
        assert (subscription.stripe_subscription_id, subscription.status) == (None, "pending")

    def test_of_a_bound_one_does_not_follow_metadata_of_another(self) -> None:
        customer = CustomerFactory(stripe_customer_id="cus_1")
        subscription = SubscriptionFactory(customer=customer, stripe_subscription_id="sub_1")

        assert project_subscription(at_stripe(subscription, id="sub_2"), now=NOVEMBER) is None

    def test_of_an_unknown_status_is_refused(self) -> None:
        subscription = SubscriptionFactory(stripe_subscription_id="sub_1")

        with pytest.raises(SubscriptionError, match="dreaming"):
            project_subscription(at_stripe(subscription, status="dreaming"), now=NOVEMBER)


def test_the_latest_period_is_the_one_that_starts_last() -> None:
    first = BillingPeriodFactory()
    second = BillingPeriodFactory(subscription=first.subscription)

    assert latest_period(first.subscription_id) == second
