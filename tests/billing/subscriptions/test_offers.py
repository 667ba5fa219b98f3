# mypy: disable-error-code="comparison-overlap"
# (whole amounts stand beside Decimals)
"""Who may subscribe to what, and what a change may be: refused with the reason and the remedy, nothing written."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.catalog.models import Plan, PlanVersion, Rate
from billing.stripe.errors import NotYetKnown
from billing.subscriptions.at_stripe import calendar_anchor, seats_at_stripe, terms_from
from billing.subscriptions.changes import apply_change, ask_for_change, unfollowable
from billing.subscriptions.following import shows_nothing_new
from billing.subscriptions.models import Subscription
from billing.subscriptions.opening import Item
from billing.subscriptions.operations import (
    ChangeRefused,
    PlanNotOffered,
    SubscriptionNotFound,
    create_subscription,
    open_next_period,
)
from tests.factories import (
    ACTOR,
    DECEMBER,
    NOVEMBER,
    OCTOBER,
    CustomerFactory,
    PlanFactory,
    PlanVersionFactory,
    SubscriptionFactory,
)

pytestmark = pytest.mark.django_db


def add_on(code: str = "boost", **terms: Any) -> PlanVersion:
    return PlanVersionFactory(plan=PlanFactory(code=code, is_add_on=True), **terms)


def subscribe(version: PlanVersion, *, seats: int = 1, **terms: Any) -> Subscription:
    return create_subscription(
        **{"customer": None, "plan_version": version, "seats": seats, "starts_at": OCTOBER, "actor": ACTOR}
        | {"customer": CustomerFactory()}
        | terms
    )


class TestOffers:
    @pytest.mark.parametrize(("seats", "is_sold"), [(2, False), (3, True), (10, True), (11, False)])
    def test_seats_are_within_the_terms(self, seats: int, is_sold: bool) -> None:
        version = PlanVersionFactory(min_seats=3, max_seats=10)

        if is_sold:
            assert subscribe(version, seats=seats).seats == seats
        else:
            with pytest.raises(PlanNotOffered, match="for 3 to 10 seats, not for"):
                subscribe(version, seats=seats)

    def test_a_contract_is_for_its_customer(self) -> None:
        owner = CustomerFactory()
        version = PlanVersionFactory(only_for=owner)

        with pytest.raises(PlanNotOffered, match="contract of another customer"):
            subscribe(version)
        assert subscribe(version, customer=owner).plan_version == version

    def test_an_add_on_is_no_plan_and_a_plan_no_add_on(self) -> None:
        plan = PlanVersionFactory()

        with pytest.raises(PlanNotOffered, match="is an add-on"):
            subscribe(add_on())
        with pytest.raises(PlanNotOffered, match="no add-on"):
            subscribe(plan, add_ons=[(PlanVersionFactory(), 1)])
        assert not Subscription.objects.exists()

    def test_an_add_on_is_billed_with_its_plan_and_not_twice(self) -> None:
        yearly, bundled = add_on("yearly", interval="year"), add_on("bundled")
        plan = PlanVersionFactory(is_draft=True)
        plan.bundled.add(bundled)
        PlanVersion.objects.filter(pk=plan.pk).update(status="published", published_at=OCTOBER)
        plan.refresh_from_db()

        with pytest.raises(PlanNotOffered, match="billed with the plan"):
            subscribe(plan, add_ons=[(yearly, 1)])
        with pytest.raises(PlanNotOffered, match=r"includes .* already"):
            subscribe(plan, add_ons=[(bundled, 1)])

    def test_quarters_of_a_zone_that_stripe_cannot_keep_are_not_offered(self) -> None:
        with pytest.raises(PlanNotOffered, match="time_zone be UTC"):
            subscribe(PlanVersionFactory(alignment="calendar", interval_count=3, time_zone="Europe/Paris"))

    def test_a_trial_is_given_once(self) -> None:
        version, customer = PlanVersionFactory(trial_days=7), CustomerFactory()

        first = subscribe(version, customer=customer)
        Subscription.objects.filter(pk=first.pk).update(status="canceled")
        second = subscribe(version, customer=customer, starts_at=NOVEMBER)

        assert [period.kind for one in (first, second) for period in one.periods.all()] == ["trial", "regular"]
        assert (second.trial_ends_at, second.anchor_at) == (None, NOVEMBER)


class TestCalendarAnchor:
    @pytest.mark.parametrize(
        ("terms", "anchor"),
        [
            ({"time_zone": "Europe/Paris"}, {"day_of_month": 31, "hour": 23, "minute": 0, "second": 0}),
            ({"time_zone": "UTC"}, {"day_of_month": 1, "hour": 0, "minute": 0, "second": 0}),
            ({"time_zone": "America/New_York"}, {"day_of_month": 1, "hour": 5, "minute": 0, "second": 0}),
            ({"time_zone": "Asia/Kolkata"}, {"day_of_month": 31, "hour": 18, "minute": 30, "second": 0}),
            ({"interval": "week", "time_zone": "Asia/Tokyo"}, datetime(2026, 10, 4, 15, tzinfo=UTC)),
            ({"interval": "year", "time_zone": "Europe/Paris"}, datetime(2026, 12, 31, 23, tzinfo=UTC)),
            ({"interval_count": 3}, datetime(2027, 1, 1, tzinfo=UTC)),
        ],
        ids=str,
    )
    def test_is_the_later_of_two_midnights(self, terms: dict[str, Any], anchor: Any) -> None:
        starts_at = OCTOBER + timedelta(days=1)
        found = calendar_anchor(subscribe(PlanVersionFactory(alignment="calendar", **terms), starts_at=starts_at))

        if isinstance(anchor, datetime):
            assert found == {"billing_cycle_anchor": int(anchor.timestamp())}
        else:
            assert found == {"billing_cycle_anchor_config": anchor}

    def test_a_period_ends_where_the_calendar_says_and_stripe_may_be_an_hour_off(self) -> None:
        subscription = subscribe(PlanVersionFactory(alignment="calendar", time_zone="Europe/Paris"))
        april = datetime(2027, 3, 31, 23, tzinfo=UTC)
        latest = subscription.periods.get()
        for number in range(5):
            latest = open_next_period(
                subscription_id=subscription.pk,
                starts_at=latest.ends_at,
                ends_at=[DECEMBER, datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC),
                         datetime(2027, 3, 1, tzinfo=UTC), april + timedelta(hours=1)][number] - timedelta(hours=1),
            )  # fmt: skip

        assert latest.ends_at == april - timedelta(hours=1)


class TestChanges:
    def ask(self, subscription_id: int, *items: Item, now: datetime = NOVEMBER - timedelta(days=9)) -> Any:
        asked: dict[str, Any] = {"from_next_period": False, "actor": ACTOR, "idempotency_key": "a", "now": now}
        return ask_for_change(subscription_id=subscription_id, items=items, **asked)

    def test_of_no_subscription_or_of_none_at_stripe_is_refused(self) -> None:
        subscription = SubscriptionFactory()

        with pytest.raises(SubscriptionNotFound):
            self.ask(0, Item(subscription.plan_version, 1))
        with pytest.raises(ChangeRefused, match="start it there first"):
            self.ask(subscription.pk, Item(subscription.plan_version, 1))

    def test_to_another_interval_or_to_an_add_on_named_twice_is_refused(self) -> None:
        subscription = SubscriptionFactory(stripe_subscription_id="sub_1")
        boost = add_on()

        with pytest.raises(ChangeRefused, match="begin another one"):
            self.ask(subscription.pk, Item(PlanVersionFactory(interval="year"), 1))
        with pytest.raises(ChangeRefused, match="twice"):
            self.ask(subscription.pk, Item(subscription.plan_version, 1), Item(boost, 1), Item(boost, 2))

    @pytest.mark.parametrize("written", ["", "x", "-1", "²", "9" * 30, "1e9", " 1", "1\0"])
    def test_metadata_that_anybody_may_write_are_no_error(self, written: str) -> None:
        subscription = SubscriptionFactory()
        snapshot = {"id": "sub_1", "metadata": {"terms_from": written}}

        assert terms_from(snapshot) is None
        assert not apply_change(subscription, snapshot, now=NOVEMBER)
        assert terms_from({"metadata": {"terms_from": "99999999999"}}) is not None

    def test_items_that_are_not_ours_change_nothing_and_are_named(self) -> None:
        subscription = SubscriptionFactory()
        at = str(int((OCTOBER + timedelta(days=3)).timestamp()))
        snapshot = {
            "id": "sub_1",
            "metadata": {"terms_from": at},
            "items": {"data": [{"id": "si_1", "quantity": 1, "price": {"id": "price_of_others"}}]},
        }

        assert not apply_change(subscription, snapshot, now=NOVEMBER)
        assert "price_of_others" in unfollowable(snapshot)
        assert subscription.periods.get().ends_at == NOVEMBER

    def test_an_instant_of_the_past_is_a_change_that_is_done(self) -> None:
        subscription = SubscriptionFactory()
        snapshot = {"id": "sub_1", "metadata": {"terms_from": str(int(OCTOBER.timestamp()))}}

        assert not apply_change(subscription, snapshot, now=NOVEMBER)

    def test_an_instant_of_the_next_period_waits_for_it_and_a_later_one_is_none_of_ours(self) -> None:
        subscription = SubscriptionFactory()

        def says(at: datetime) -> dict[str, Any]:
            return {"id": "sub_1", "metadata": {"terms_from": str(int(at.timestamp()))}, "items": {"data": []}}

        with pytest.raises(NotYetKnown, match="not open here yet"):
            apply_change(subscription, says(NOVEMBER + timedelta(days=1)), now=NOVEMBER)
        assert not apply_change(subscription, says(DECEMBER), now=NOVEMBER)
        assert not apply_change(subscription, says(datetime(2500, 1, 1, tzinfo=UTC)), now=NOVEMBER)

    def test_seats_are_those_of_the_plan_s_item(self) -> None:
        items = [{"price": {"id": "price_2"}, "quantity": 9}, {"price": {"id": "price_1"}, "quantity": 4}]
        snapshot = {"status": "active", "items": {"data": items}}
        version = PlanVersionFactory()
        PlanVersion.objects.filter(pk=version.pk).update(stripe_price_id="price_1")
        version.refresh_from_db()
        subscription = SubscriptionFactory(plan_version=version, seats=4, status="active")

        assert seats_at_stripe(snapshot, "price_1") == 4
        assert seats_at_stripe(snapshot, "price_3") == 9
        ours = {"status": "active", "items": {"data": items[1:]}}
        assert shows_nothing_new(subscription, ours)
        assert not shows_nothing_new(subscription, {**ours, "metadata": {"terms_from": "1793000000"}})
        # An item that is not ours is something to look at: somebody added it at Stripe.
        assert not shows_nothing_new(subscription, snapshot)
        assert Plan.objects.filter(versions=version).exists()

    def test_a_charge_of_a_whole_period_is_not_divided(self, monkeypatch: pytest.MonkeyPatch) -> None:
        subscription = SubscriptionFactory(stripe_subscription_id="sub_1")
        version = subscription.plan_version
        Rate.objects.create(
            rate_card=version.rate_card,
            charge_model="minimum_commitment",
            terms={"amount": "9"},
            effective_from=OCTOBER,
        )
        PlanVersion.objects.filter(pk=version.pk).update(stripe_price_id="price_1")
        monkeypatch.setattr("billing.stripe.gateway.retrieve", lambda path: {"items": {"data": []}})

        with pytest.raises(ChangeRefused, match="next period"):
            self.ask(subscription.pk, Item(PlanVersion.objects.get(pk=version.pk), 2))
