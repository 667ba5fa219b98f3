"""Rollouts after they were halted, ended or turned round: who is kept, what is offered, and what may be retired."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from billing.catalog.models import PlanVersion
from billing.catalog.operations import publish_plan_version, retire_plan_version
from billing.rollouts import moves
from billing.rollouts import operations as rollouts
from billing.rollouts.models.rollouts import Rollout, RolloutMove
from billing.rollouts.offers import offered_version
from billing.rollouts.pins import pin
from billing.rollouts.refusals import InvalidTerms
from billing.stripe import gateway
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
    hire,
    rolling,
    subscribe,
    two_versions,
    user_of,
)
from tests.factories import NOVEMBER, CustomerFactory

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
Pair = tuple[PlanVersion, PlanVersion]


@pytest.fixture
def pair() -> Pair:
    hire()
    baseline, candidate = two_versions()
    candidate = approved(candidate)
    PlanVersion.objects.filter(pk=candidate.pk).update(stripe_price_id="price_new")
    return baseline, candidate


def begun(pair: Pair) -> Rollout:
    rollout = rolling(*pair)
    rollouts.advance(rollout_id=rollout.pk, now=LATE_OCTOBER + HOUR)
    return rollouts.by_id(rollout.pk)


def renewed(subscription: Subscription, version: PlanVersion, *, at: Any = NOVEMBER) -> None:
    """Its move is told, and its renewal carries the version's price."""
    RolloutMove.objects.filter(subscription=subscription, state="intended").update(state="telling")
    RolloutMove.objects.filter(subscription=subscription, state="telling").update(state="told", told_at=LAST_DAY)
    price = PlanVersion.objects.get(pk=version.pk).stripe_price_id
    moves.take_effect(subscription_id=subscription.pk, stripe_price_ids={str(price)}, starts_at=at)


def directions() -> list[tuple[int, str, str]]:
    return list(RolloutMove.objects.order_by("id").values_list("subscription_id", "direction", "state"))


def test_a_roll_back_leaves_who_was_promised_the_new_terms(pair: Pair) -> None:
    """Pinned a day after it moved: it stays. Pinned on its way: it goes back, the promise was of the old terms."""
    promised, other, on_its_way = subscribe(pair[0], 3)
    rollout = begun(pair)
    for subscription in (promised, other):
        renewed(subscription, pair[1])
    pin(subscription_id=promised.pk, reason="v2 for a year", actor=SAM, now=NOVEMBER + 24 * HOUR)
    RolloutMove.objects.filter(subscription=on_its_way).update(state="telling")
    pin(subscription_id=on_its_way.pk, reason="v1 for a year", actor=SAM, now=LAST_DAY)

    rollouts.roll_back(rollout_id=rollout.pk, reason="too dear", actor=FIONA, now=NOVEMBER + 25 * HOUR)

    back = RolloutMove.objects.filter(direction="back").values_list("subscription_id", flat=True)
    assert sorted(back) == [other.pk, on_its_way.pk]
    by_hand = RolloutMove(
        rollout=rollout, subscription=promised, direction="back", from_version=pair[1], to_version=pair[0],
        stage=1, intended_at=NOVEMBER,
    )  # fmt: skip
    with pytest.raises(IntegrityError, match="billing_rolloutmove_pinned"), transaction.atomic():
        by_hand.save()


class TestRetirement:
    def test_waits_for_the_rollout_and_for_the_last_customer_on_the_way(self, pair: Pair) -> None:
        (subscription,) = subscribe(pair[0], 1)
        rollout = begun(pair)
        renewed(subscription, pair[1])
        for version in pair:
            self.refused(version)
        rollouts.roll_back(rollout_id=rollout.pk, reason="too dear", actor=FIONA, now=NOVEMBER + HOUR)
        self.refused(pair[0])

        renewed(subscription, pair[0], at=NOVEMBER + 720 * HOUR)

        assert directions()[-1] == (subscription.pk, "back", "done")
        assert retire_plan_version(plan_version_id=pair[0].pk, now=NOVEMBER).status == "retired"

    def refused(self, version: PlanVersion) -> None:
        with pytest.raises(IntegrityError, match="billing_planversion_rolling_out"), transaction.atomic():
            retire_plan_version(plan_version_id=version.pk, now=NOVEMBER)

    def test_is_of_a_version_that_no_rollout_can_come_back_to(self, pair: Pair) -> None:
        retire_plan_version(plan_version_id=pair[0].pk, now=LATE_OCTOBER)
        with pytest.raises(InvalidTerms, match="is retired") as refused:
            rolling(*pair)
        assert refused.value.field == "baseline"


class TestOffer:
    def offered(self) -> PlanVersion | None:
        return offered_version(plan_code="pro", customer=CustomerFactory())

    def test_is_of_the_old_version_again_once_everybody_was_brought_back(self, pair: Pair) -> None:
        (subscription,) = subscribe(pair[0], 1)
        for there, back in (pair, pair[::-1]):
            rollout = begun((there, back))
            renewed(subscription, back)
            rollouts.advance(rollout_id=rollout.pk, now=LATE_OCTOBER + 3 * HOUR)
            assert rollouts.by_id(rollout.pk).state == "completed"
            assert self.offered() == back

    def test_forgets_a_rollout_that_was_called_off_before_it_started(self, pair: Pair) -> None:
        called_off = rollouts.plan_rollout(
            baseline_id=pair[0].pk, candidate_id=pair[1].pk, stages=EVERYBODY, limits=OPEN_LIMITS, reason="new prices",
            actor=EMRE, now=LATE_OCTOBER,
        )  # fmt: skip
        rollouts.roll_back(rollout_id=called_off.pk, reason="not so", actor=FIONA, now=LATE_OCTOBER)
        publish_plan_version(plan_version_id=pair[1].pk, now=LATE_OCTOBER)
        assert self.offered() == pair[1]

        started = rolling(*pair)
        rollouts.roll_back(rollout_id=started.pk, reason="guards said no", actor=FIONA, now=LATE_OCTOBER + HOUR)
        assert self.offered() == pair[0]


class TestHalt:
    def test_says_who_is_renewed_on_the_new_terms_all_the_same(self, pair: Pair) -> None:
        first, second, _ = subscribe(pair[0], 3)
        rollout = begun(pair)
        for subscription in (first, second):
            RolloutMove.objects.filter(subscription=subscription).update(state="telling")
        pin(subscription_id=second.pk, reason="promised", actor=SAM, now=LAST_DAY)
        client = Client()
        client.force_login(user_of(FIONA))
        page = reverse("admin:billing_rollout_change", args=[rollout.pk])
        assert "before the halt" not in client.get(page).content.decode()

        rollouts.halt(rollout_id=rollout.pk, reason="wait", actor=FIONA, now=LAST_DAY)

        assert "Stripe was told of 1 customer before the halt" in client.get(page).content.decode()

    def test_stops_what_stripe_has_not_answered(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        subscribe(pair[0], 1)
        rollout = begun(pair)
        rollout.moves.update(state="telling")
        rollouts.halt(rollout_id=rollout.pk, reason="wait", actor=FIONA, now=LAST_DAY)
        monkeypatch.setattr(gateway, "retrieve", lambda path: pytest.fail("Stripe was asked"))

        assert moves.tell_due_moves(now=LAST_DAY) == 0


def test_moves_that_only_wait_stand_before_nobody(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    subscribe(pair[0], 3)
    ready = begun(pair).moves.latest("id").subscription
    Subscription.objects.exclude(pk=ready.pk).update(status="unpaid")
    monkeypatch.setattr(moves, "TOLD_AT_ONCE_MAX", 2)
    monkeypatch.setattr(moves, "_change_price", lambda move, *, now: True)

    assert moves.tell_due_moves(now=LAST_DAY) == 1

    assert RolloutMove.objects.get(state="told").subscription == ready
