"""Rollouts: what can be planned, how stages follow each other, whom they reach, and how they end."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.rollouts import moves
from billing.rollouts import operations as rollouts
from billing.rollouts.comparing.cohorts import place_of
from billing.rollouts.models.rollouts import Rollout, RolloutMove
from billing.rollouts.offers import offered_version
from billing.rollouts.pins import pin, unpin
from billing.rollouts.plans import Limits, StageTerms
from billing.rollouts.refusals import InvalidTerms, NotFound, NotNow, NotPermitted
from billing.rollouts.tasks import task_advance_rollouts
from billing.stripe import gateway
from billing.stripe.errors import StripeUnavailable
from billing.subscriptions.models import Subscription
from tests.billing.rollouts.world import (
    EMRE,
    EVERYBODY,
    FIONA,
    LAST_DAY,
    LATE_OCTOBER,
    OPEN_LIMITS,
    SAM,
    approved,
    draft,
    hire,
    rolling,
    subscribe,
    two_versions,
)
from tests.factories import OCTOBER, CustomerFactory, PlanVersionFactory, RateCardFactory

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
QUARTERS = tuple(StageTerms(percent=Decimal(percent), observe_hours=24) for percent in (25, 50, 100))
Pair = tuple[PlanVersion, PlanVersion]


@pytest.fixture
def pair() -> Pair:
    hire()
    baseline, candidate = two_versions()
    return baseline, approved(candidate)


def plan(pair: Pair, **changes: Any) -> Rollout:
    terms: dict[str, Any] = {
        "baseline_id": pair[0].pk,
        "candidate_id": pair[1].pk,
        "stages": QUARTERS,
        "limits": OPEN_LIMITS,
        "reason": "new prices",
        "actor": EMRE,
        "now": LATE_OCTOBER,
    }
    return rollouts.plan_rollout(**{**terms, **changes})


def advance(rollout: Rollout, *, after: timedelta) -> Rollout:
    rollouts.advance(rollout_id=rollout.pk, now=LATE_OCTOBER + after)
    return rollouts.by_id(rollout.pk)


def kinds(rollout: Rollout) -> list[str]:
    return list(rollout.events.order_by("id").values_list("kind", flat=True))


class TestPlan:
    def test_names_what_cannot_be_rolled_out(self, pair: Pair) -> None:
        baseline, candidate = pair
        other = {"plan": baseline.plan, "rate_card": baseline.rate_card, "currency": "USD"}
        yearly = approved(PlanVersion.objects.create(**other, version=3, fee_minor=2000, interval="year"))
        free = approved(PlanVersion.objects.create(**other, version=4, fee_minor=0))
        euro_card = RateCardFactory(currency="EUR")
        euros = approved(
            PlanVersion.objects.create(**{**other, "currency": "EUR", "rate_card": euro_card}, version=5, fee_minor=1)
        )
        customer = CustomerFactory()
        contract = approved(PlanVersion.objects.create(**other, version=6, fee_minor=1, only_for=customer))
        elsewhere = PlanVersionFactory()
        unapproved = draft(plan_of=baseline, version=7)
        for wrong, what in (
            (baseline, "is the baseline"),
            (yearly, "another length"),
            (free, "has a fee"),
            (euros, "in EUR"),
            (contract, "contract of one customer"),
            (elsewhere, "another plan"),
            (unapproved, "approved first"),
        ):
            with pytest.raises(InvalidTerms, match=what) as refused:
                plan((baseline, wrong))
            assert refused.value.field == "candidate"
        with pytest.raises(InvalidTerms, match="nobody has it") as refused:
            plan((candidate, yearly))
        assert refused.value.field in ("baseline", "candidate")

    def test_refuses_stages_that_lead_nowhere(self, pair: Pair) -> None:
        for stages in (
            (),
            (StageTerms(percent=Decimal(50), observe_hours=1),),
            (StageTerms(percent=Decimal(0), observe_hours=1), *EVERYBODY),
            (StageTerms(percent=Decimal("0.001"), observe_hours=1), *EVERYBODY),
            (StageTerms(percent=Decimal("NaN"), observe_hours=1), *EVERYBODY),
            (StageTerms(percent=Decimal(101), observe_hours=1),),
            (StageTerms(percent=Decimal(10), observe_hours=-1), *EVERYBODY),
            (StageTerms(percent=Decimal(10), observe_hours=1, customer_kind="martian"), *EVERYBODY),
            (*EVERYBODY, *EVERYBODY),
            (StageTerms(percent=Decimal(100), observe_hours=1, customer_kind="team"),),
            (EVERYBODY[0],) * 21,
        ):
            with pytest.raises(InvalidTerms) as refused:
                plan(pair, stages=stages)
            assert refused.value.field == "stages"

    def test_refuses_limits_that_limit_nothing(self, pair: Pair) -> None:
        wrong: tuple[tuple[str, Any], ...] = (
            ("worse_off_percent", Decimal(-1)),
            ("worse_off_share_max", Decimal(101)),
            ("total_change_min", Decimal(1)),
            ("total_change_max", Decimal("Infinity")),
            ("error_share_max", Decimal("0.005")),
            ("customers_min", 0),
        )
        for field, value in wrong:
            with pytest.raises(InvalidTerms) as refused:
                plan(pair, limits=replace(OPEN_LIMITS, **{field: value}))
            assert refused.value.field == field

    def test_is_one_at_a_time_and_by_who_may(self, pair: Pair) -> None:
        first = plan(pair)
        with pytest.raises(NotNow, match="goes on"):
            plan(pair)
        with pytest.raises(NotPermitted):
            plan(pair, actor=SAM)
        with pytest.raises(NotFound):
            plan(pair, candidate_id=0)

        rollouts.roll_back(rollout_id=first.pk, reason="not now", actor=FIONA, now=LATE_OCTOBER)
        assert plan(pair).pk != first.pk

    def test_moves_nobody_and_publishes_nothing(self, pair: Pair) -> None:
        subscribe(pair[0], 3)
        rollout = plan(pair)

        assert rollouts.advance(rollout_id=rollout.pk, now=LATE_OCTOBER) is None
        assert PlanVersion.objects.get(pk=pair[1].pk).status == "approved"
        rollouts.start(rollout_id=rollout.pk, reason="go", actor=EMRE, now=LATE_OCTOBER)
        assert PlanVersion.objects.get(pk=pair[1].pk).status == "published"

    def test_is_refused_a_start_when_prices_changed_since_the_approval(self, pair: Pair) -> None:
        rollout = plan(pair)
        pair[1].rate_card.rates.create(
            meter_code="output_tokens", unit_price=Decimal(9), unit_size=1, effective_from=LATE_OCTOBER
        )

        with pytest.raises(InvalidTerms, match="changed since it was approved"):
            rollouts.start(rollout_id=rollout.pk, reason="go", actor=EMRE, now=LATE_OCTOBER)


class TestStages:
    def test_follow_each_other_after_their_time_and_take_in_the_same_customers(self, pair: Pair) -> None:
        subscribe(pair[0], 24)
        rollout = rolling(*pair, stages=QUARTERS)

        reached = []
        for hours in (1, 26, 51):
            rollout = advance(rollout, after=hours * HOUR)
            reached.append(set(rollout.moves.values_list("subscription__customer__customer_key", flat=True)))
            assert advance(rollout, after=(hours + 0.5) * HOUR).stage == rollout.stage

        assert rollout.stage == 3
        assert reached[0] < reached[1] < reached[2]
        assert reached[2] == {f"c{number}" for number in range(24)}
        places = {key: place_of(key, salt=rollout.salt) for key in reached[2]}
        assert reached[0] == {key for key, place in places.items() if place < 2500}
        assert kinds(rollout) == ["planned", "started", "stage_begun", "stage_begun", "stage_begun"]

    def test_may_be_of_one_kind_of_customer(self, pair: Pair) -> None:
        subscribe(pair[0], 3)
        Customer.objects.filter(customer_key="c1").update(kind="team")
        teams = StageTerms(percent=Decimal(100), observe_hours=1, customer_kind="team")

        rollout = advance(rolling(*pair, stages=(teams, *EVERYBODY)), after=HOUR)

        assert [move.subscription.customer.customer_key for move in rollout.moves.all()] == ["c1"]

    def test_take_in_who_comes_to_the_baseline_later(self, pair: Pair) -> None:
        rollout = rolling(*pair, limits=replace(OPEN_LIMITS, customers_min=1))
        subscribe(pair[0], 1)
        rollout = advance(rollout, after=HOUR)
        assert rollout.moves.count() == 1
        Subscription.objects.update(status="canceled")
        subscribe_more(pair[0], "late")

        rollout = advance(rollout, after=3 * HOUR)

        assert rollout.moves.count() == 2

    def test_leave_out_seats_that_the_candidate_is_not_sold_for(self, pair: Pair) -> None:
        small = approved(draft(plan_of=pair[0], version=3, max_seats=1))
        subscribe(pair[0], 2)
        Subscription.objects.filter(customer__customer_key="c0").update(seats=5)

        rollout = advance(rolling(pair[0], small), after=HOUR)

        assert [move.subscription.customer.customer_key for move in rollout.moves.all()] == ["c1"]


class TestEnd:
    def test_is_reached_when_everybody_is_there(self, pair: Pair) -> None:
        (subscription,) = subscribe(pair[0], 1)
        rollout = advance(rolling(*pair), after=HOUR)
        assert advance(rollout, after=3 * HOUR).state == "running"
        rollout.moves.update(state="telling")
        PlanVersion.objects.filter(pk=pair[1].pk).update(stripe_price_id="price_new")

        moves.take_effect(
            subscription_id=subscription.pk, stripe_price_ids={"price_new"}, starts_at=LATE_OCTOBER + 4 * HOUR
        )
        rollout = advance(rollout, after=5 * HOUR)

        subscription.refresh_from_db()
        assert subscription.plan_version == pair[1]
        assert rollout.state == "completed"
        with pytest.raises(NotNow, match="from its candidate to its baseline"):
            rollouts.roll_back(rollout_id=rollout.pk, reason="late", actor=FIONA, now=LATE_OCTOBER)

    def test_by_rolling_back_drops_who_was_not_told(self, pair: Pair) -> None:
        subscribe(pair[0], 3)
        rollout = advance(rolling(*pair), after=HOUR)
        told = rollout.moves.order_by("id")[0]
        RolloutMove.objects.filter(pk=told.pk).update(state="telling")
        RolloutMove.objects.filter(pk=told.pk).update(state="told", told_at=LATE_OCTOBER)

        for _ in range(2):
            rollouts.roll_back(rollout_id=rollout.pk, reason="too dear", actor=FIONA, now=LATE_OCTOBER + 2 * HOUR)

        rows = rollout.moves.order_by("id").values_list("direction", "state", "subscription_id")
        assert sorted(rows) == sorted(
            [("forward", "told", told.subscription_id), ("back", "intended", told.subscription_id)]
            + [("forward", "dropped", move.subscription_id) for move in rollout.moves.filter(state="dropped")]
        )
        assert rollout.moves.filter(state="dropped").count() == 2
        assert kinds(rollout)[-1] == "rolled_back"

    def test_of_a_halt_is_a_person_with_a_reason(self, pair: Pair) -> None:
        subscribe(pair[0], 1)
        rollout = rolling(*pair)
        for steer in (rollouts.halt, rollouts.resume, rollouts.roll_back):
            with pytest.raises(NotPermitted):
                steer(rollout_id=rollout.pk, reason="why", actor=SAM, now=LATE_OCTOBER)
            with pytest.raises(InvalidTerms):
                steer(rollout_id=rollout.pk, reason=" ", actor=FIONA, now=LATE_OCTOBER)
            with pytest.raises(NotFound):
                steer(rollout_id=0, reason="why", actor=FIONA, now=LATE_OCTOBER)
        rollouts.halt(rollout_id=rollout.pk, reason="wait", actor=FIONA, now=LATE_OCTOBER + HOUR)
        assert rollouts.advance(rollout_id=rollout.pk, now=LATE_OCTOBER + 2 * HOUR) is None
        assert moves.tell_due_moves(now=LAST_DAY) == 0

        rollouts.resume(rollout_id=rollout.pk, reason="go on", actor=EMRE, now=LATE_OCTOBER + 3 * HOUR)
        assert advance(rollout, after=4 * HOUR).stage == 1


class TestPin:
    def test_keeps_a_subscription_and_lets_it_go_again(self, pair: Pair) -> None:
        (subscription,) = subscribe(pair[0], 1)
        subscribe_more(pair[0], "other")
        rollout = advance(rolling(*pair), after=HOUR)

        pinned = pin(subscription_id=subscription.pk, reason="promised", actor=SAM, now=LATE_OCTOBER + 2 * HOUR)

        assert pinned.pinned_because == "promised (sam)"
        assert rollout.moves.get(subscription=subscription).state == "dropped"
        assert advance(rollout, after=3 * HOUR).moves.count() == 2
        unpin(subscription_id=subscription.pk, actor=SAM)
        assert advance(rollout, after=5 * HOUR).moves.filter(subscription=subscription, state="intended").count() == 1
        with pytest.raises(NotNow):
            unpin(subscription_id=subscription.pk, actor=SAM)


class TestOffer:
    def test_follows_the_share_while_it_runs(self, pair: Pair) -> None:
        baseline, candidate = pair
        customers = [CustomerFactory(customer_key=f"new{number}") for number in range(20)]
        subscribe(baseline, 12)

        def offered() -> set[str]:
            offers = {one.customer_key: offered_version(plan_code="pro", customer=one) for one in customers}
            return {key for key, version in offers.items() if version == candidate}

        assert offered() == set()
        rollout = rolling(baseline, candidate, stages=QUARTERS)
        assert offered() == set()
        rollout = advance(rollout, after=HOUR)
        quarter = {one.customer_key for one in customers if place_of(one.customer_key, salt=rollout.salt) < 2500}
        assert offered() == quarter
        assert 0 < len(quarter) < 20
        rollouts.halt(rollout_id=rollout.pk, reason="wait", actor=FIONA, now=LATE_OCTOBER + 2 * HOUR)
        assert offered() == set()
        rollouts.roll_back(rollout_id=rollout.pk, reason="no", actor=FIONA, now=LATE_OCTOBER + 3 * HOUR)
        assert offered() == set()

    def test_is_the_newest_without_a_rollout_and_nothing_in_another_currency(self, pair: Pair) -> None:
        customer = CustomerFactory()
        assert offered_version(plan_code="pro", customer=customer) == pair[0]
        assert offered_version(plan_code="pro", customer=CustomerFactory(currency="EUR")) is None
        assert offered_version(plan_code="none", customer=customer) is None


def test_the_task_advances_what_runs(pair: Pair) -> None:
    """The candidate has its price at Stripe: nothing is to be asked of Stripe here."""
    subscribe(pair[0], 1)
    PlanVersion.objects.filter(pk=pair[1].pk).update(stripe_price_id="price_new")
    rollout = rolling(*pair, now=OCTOBER)

    assert task_advance_rollouts() == 0

    assert rollouts.by_id(rollout.pk).stage == 1


def test_the_task_tells_due_moves_though_a_check_breaks(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    rolling(*pair, now=OCTOBER)

    def breaks(**_: object) -> None:
        raise ValueError

    monkeypatch.setattr(rollouts, "advance", breaks)
    monkeypatch.setattr("billing.rollouts.tasks.sync_catalog_to_stripe", breaks)
    monkeypatch.setattr(moves, "tell_due_moves", lambda **_: 7)

    assert task_advance_rollouts() == 7


def test_limits_are_what_was_set(pair: Pair) -> None:
    assert rollouts.limits_of(plan(pair)) == Limits(**{name: getattr(OPEN_LIMITS, name) for name in Limits.__slots__})


def subscribe_more(version: PlanVersion, key: str) -> None:
    from tests.factories import SubscriptionFactory

    SubscriptionFactory(
        customer=CustomerFactory(customer_key=key),
        plan_version=version,
        status="active",
        stripe_subscription_id=f"sub_{key}",
    )


class TestTelling:
    """What needs no Stripe to be seen; the rest is in test_rollout_at_stripe."""

    def test_stops_asking_a_stripe_that_is_not_there(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        subscribe(pair[0], 6)
        PlanVersion.objects.filter(pk=pair[1].pk).update(stripe_price_id="price_new")
        rollout = advance(rolling(*pair), after=HOUR)
        asked: list[str] = []

        def away(path: str) -> None:
            asked.append(path)
            raise StripeUnavailable("no route to host")

        monkeypatch.setattr(gateway, "retrieve", away)

        assert moves.tell_due_moves(now=LAST_DAY) == 0

        assert len(asked) == moves.UNANSWERED_MAX
        telling = rollout.moves.filter(state="telling")
        assert set(telling.values_list("detail", flat=True)) == {"no route to host"}
        assert rollout.moves.filter(state="intended").count() == 3

    def test_waits_for_the_price_and_drops_who_went_elsewhere(self, pair: Pair) -> None:
        ended, changed, waiting = subscribe(pair[0], 3)
        rollout = advance(rolling(*pair), after=HOUR)
        Subscription.objects.filter(pk=ended.pk).update(status="canceled")
        Subscription.objects.filter(pk=changed.pk).update(plan_version=PlanVersionFactory())

        assert moves.tell_due_moves(now=LAST_DAY) == 0

        found = {move.subscription_id: (move.state, move.detail) for move in rollout.moves.all()}
        assert found == {
            ended.pk: ("dropped", "the subscription ended"),
            changed.pk: ("dropped", "the subscription has other terms meanwhile"),
            waiting.pk: ("intended", "waits for its new price to be at Stripe; sync the catalogue"),
        }
