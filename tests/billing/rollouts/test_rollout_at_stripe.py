"""
Rollouts against the sandbox: a customer moves with the renewal, the fee that Stripe charges and the terms that we rate
by are of one version, wherever a worker died and however late we hear.

The old version costs 20.00 USD a month and 3 USD a million input tokens, the new one 25.00 and 4.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.catalog.models import Plan, PlanVersion, Rate, RateCard
from billing.catalog.operations import publish_plan_version, sync_catalog_to_stripe
from billing.invoicing.models import Invoice, InvoiceClose
from billing.rollouts import moves
from billing.rollouts import operations as rollouts
from billing.rollouts.models.rollouts import Rollout, RolloutMove
from billing.rollouts.pins import pin
from billing.stripe import gateway, readers
from billing.stripe.errors import StripeUnavailable
from billing.stripe.models import OutboxIntent
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.operations import ChangeRefused, change_terms, project_subscription
from ledger import queries as ledger_queries
from tests.billing.rollouts.world import EVERYBODY, FIONA, OPEN_LIMITS, SAM, approved, hire, rolling
from tests.billing.thread import MODEL, SECOND_MONTH, Thread
from tests.sandbox.client import SandboxProcess

OCT_20 = datetime(2026, 10, 20, tzinfo=UTC)
LAST_DAY = SECOND_MONTH - timedelta(hours=12)
THIRD_MONTH = datetime(2026, 12, 1, tzinfo=UTC)
A_MILLION = 1_000_000


@pytest.fixture
def candidate(thread: Thread) -> PlanVersion:
    """The version that is to follow, with its price at Stripe; Ada is subscribed to the one before."""
    hire()
    thread.subscribe()
    thread.settle()
    baseline = PlanVersion.objects.get()
    card = RateCard.objects.create(code="new", name="New prices", currency="USD")
    Rate.objects.create(
        rate_card=card,
        meter_code="input_tokens",
        dimensions={"model": MODEL},
        unit_price=Decimal(4),
        unit_size=A_MILLION,
        effective_from=datetime(2020, 1, 1, tzinfo=UTC),
    )
    return sold(
        PlanVersion.objects.create(plan=baseline.plan, version=2, currency="USD", fee_minor=2500, rate_card=card),
        now=thread.now,
    )


def sold(version: PlanVersion, *, now: datetime) -> PlanVersion:
    """The version, approved and published, with its price at Stripe."""
    publish_plan_version(plan_version_id=approved(version).pk, now=OCT_20)
    sync_catalog_to_stripe(now=now)
    return PlanVersion.objects.get(pk=version.pk)


def begun(candidate: PlanVersion) -> Rollout:
    """A rollout to everybody whose only stage has begun."""
    rollout = rolling(
        candidate.plan.versions.get(version=1), candidate, stages=EVERYBODY, limits=OPEN_LIMITS, now=OCT_20
    )
    check = rollouts.advance(rollout_id=rollout.pk, now=OCT_20 + timedelta(minutes=5))
    assert check is not None
    assert check.breaches == []
    return rollouts.by_id(rollout.pk)


def cycle_totals() -> list[tuple[str, int]]:
    found = Invoice.objects.filter(billing_reason="subscription_cycle").order_by("created_at")
    return list(found.values_list("status", "total_minor"))


def terms() -> list[tuple[int, int]]:
    """The version and the month of each period."""
    return [
        (period.plan_version.version, period.starts_at.month) for period in BillingPeriod.objects.order_by("starts_at")
    ]


def price_at_stripe() -> str:
    subscription = Subscription.objects.get()
    fetched = gateway.retrieve(f"/v1/subscriptions/{subscription.stripe_subscription_id}")
    return readers.id_of(fetched["items"]["data"][0]["price"])


def change_seats(seats: int, *, now: datetime, **terms: Any) -> Subscription:
    """The customer asks for so many seats under the terms that they have."""
    subscription = Subscription.objects.get()
    key = f"{seats}-{now:%d%H}"
    asked = {"plan_version": subscription.plan_version, "seats": seats, "actor": SAM, "idempotency_key": key, **terms}
    return change_terms(subscription_id=subscription.pk, now=now, **asked)


def states() -> list[tuple[str, str]]:
    return list(RolloutMove.objects.order_by("id").values_list("direction", "state"))


def renew(thread: Thread, at: datetime) -> None:
    thread.sandbox.advance(at)
    thread.advance_our_clock_to(at + timedelta(hours=3))
    thread.settle()
    assert thread.unfinished() == []
    assert not InvoiceClose.objects.exclude(held_reason="").exists()
    assert ledger_queries.out_of_balance() == []


def test_a_customer_moves_with_the_renewal_and_returns_with_the_next(thread: Thread, candidate: PlanVersion) -> None:
    """October at 3 USD, the renewal at 25.00; November at 4 USD, and the renewal at 20.00 again."""
    rollout = begun(candidate)
    thread.use(A_MILLION, at=OCT_20)
    assert moves.tell_due_moves(now=OCT_20 + timedelta(hours=1)) == 0  # eleven days too soon
    assert moves.tell_due_moves(now=LAST_DAY) == 1
    assert states() == [("forward", "told")]
    thread.settle()
    assert terms() == [(1, 10)]  # the open period keeps its terms

    renew(thread, SECOND_MONTH)

    assert terms() == [(1, 10), (2, 11)]
    assert states() == [("forward", "done")]
    assert cycle_totals() == [("paid", 300 + 2500)]
    thread.use(A_MILLION, at=SECOND_MONTH + timedelta(days=10))

    rollouts.roll_back(rollout_id=rollout.pk, reason="too dear", actor=FIONA, now=SECOND_MONTH + timedelta(days=12))
    assert moves.tell_due_moves(now=SECOND_MONTH + timedelta(days=12)) == 1
    renew(thread, THIRD_MONTH)

    assert terms() == [(1, 10), (2, 11), (1, 12)]
    assert states() == [("forward", "done"), ("back", "done")]
    assert cycle_totals() == [("paid", 2800), ("paid", 400 + 2000)]
    assert Subscription.objects.get().plan_version.version == 1


def test_a_renewal_before_stripe_was_told_keeps_the_old_terms_once_more(thread: Thread, candidate: PlanVersion) -> None:
    """Stripe renews while we are late; what is told after that counts from the period after."""
    begun(candidate)
    thread.sandbox.advance(SECOND_MONTH)

    assert moves.tell_due_moves(now=LAST_DAY) == 1  # our clock is behind: Stripe has renewed already
    thread.settle()

    assert terms() == [(1, 10), (1, 11)]
    assert cycle_totals() == [("paid", 2000)]
    assert states() == [("forward", "told")]
    renew(thread, THIRD_MONTH)
    assert terms() == [(1, 10), (1, 11), (2, 12)]


@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_crash_around_the_call_is_mended_by_the_next_run(
    thread: Thread, candidate: PlanVersion, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies with the intent committed: before Stripe heard of it, or before we heard Stripe's answer."""
    begun(candidate)

    class Died(BaseException):
        pass

    real = gateway.request

    def dies(method: str, path: str, *args: object, **options: object) -> object:
        if method == "post" and fault == "after":
            real(method, path, *args, **options)  # type: ignore[arg-type]
        if method == "post":
            raise Died
        return real(method, path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(gateway, "request", dies)
    with pytest.raises(Died):
        moves.tell_due_moves(now=LAST_DAY)
    monkeypatch.setattr(gateway, "request", real)
    assert states() == [("forward", "telling")]
    if fault == "after":
        # Even the renewal may come before anybody looks again: its price says which terms the period has.
        renew(thread, SECOND_MONTH)
        assert terms() == [(1, 10), (2, 11)]
        assert states() == [("forward", "done")]
        assert moves.tell_due_moves(now=SECOND_MONTH + timedelta(hours=1)) == 0
    else:
        assert moves.tell_due_moves(now=LAST_DAY + timedelta(minutes=5)) == 1
        renew(thread, SECOND_MONTH)
        assert terms() == [(1, 10), (2, 11)]
    assert OutboxIntent.objects.filter(purpose__startswith="rollout-move:").count() == 1


def test_rolled_back_between_telling_and_renewal_nobody_ever_moves(thread: Thread, candidate: PlanVersion) -> None:
    rollout = begun(candidate)
    old_price = price_at_stripe()
    moves.tell_due_moves(now=LAST_DAY)
    assert price_at_stripe() == candidate.stripe_price_id

    rollouts.roll_back(rollout_id=rollout.pk, reason="a typing error", actor=FIONA, now=LAST_DAY)
    moves.tell_due_moves(now=LAST_DAY)

    assert price_at_stripe() == old_price
    renew(thread, SECOND_MONTH)
    assert terms() == [(1, 10), (1, 11)]
    assert states() == [("forward", "undone"), ("back", "done")]
    assert cycle_totals() == [("paid", 2000)]


def test_a_subscription_pinned_on_its_way_stays(thread: Thread, candidate: PlanVersion) -> None:
    begun(candidate)
    moves.tell_due_moves(now=LAST_DAY)

    pin(subscription_id=Subscription.objects.get().pk, reason="promised", actor=SAM, now=LAST_DAY)
    moves.tell_due_moves(now=LAST_DAY)
    renew(thread, SECOND_MONTH)

    assert terms() == [(1, 10), (1, 11)]


def test_seats_at_stripe_are_kept(thread: Thread, candidate: PlanVersion, at_sandbox: SandboxProcess) -> None:
    begun(candidate)
    subscription = Subscription.objects.get()
    path = f"/v1/subscriptions/{subscription.stripe_subscription_id}"
    item = gateway.retrieve(path)["items"]["data"][0]
    changed = {"items": [{"id": item["id"], "quantity": 3}], "proration_behavior": "none"}
    gateway.request("post", path, changed)

    moves.tell_due_moves(now=LAST_DAY)

    assert gateway.retrieve(path)["items"]["data"][0]["quantity"] == 3
    renew(thread, SECOND_MONTH)
    assert cycle_totals() == [("paid", 7500)]


def test_what_stripe_refuses_is_an_error_of_the_rollout(thread: Thread, candidate: PlanVersion) -> None:
    """Somebody took the plan's item away by hand at Stripe: there is no price to change."""
    rollout = begun(candidate)
    subscription = Subscription.objects.get()
    path = f"/v1/subscriptions/{subscription.stripe_subscription_id}"
    item = gateway.retrieve(path)["items"]["data"][0]
    product = gateway.retrieve(f"/v1/prices/{readers.id_of(item['price'])}")["product"]
    price = {"product": product, "currency": "usd", "unit_amount": 1, "recurring": {"interval": "month"}}
    other = gateway.request("post", "/v1/prices", price).data["id"]
    gateway.request("post", path, {"items": [{"id": item["id"], "price": other}], "proration_behavior": "none"})

    assert moves.tell_due_moves(now=LAST_DAY) == 0

    assert states() == [("forward", "refused")]
    check = rollouts.advance(rollout_id=rollout.pk, now=LAST_DAY)
    assert check is not None
    assert check.failed == 1
    assert "neither the old price nor the new one" in check.failures[0]


class TestACustomersOwnChange:
    """Of seats or add-ons, while a rollout changes the price of the same item."""

    def test_before_the_renewal_is_followed_by_the_move(self, thread: Thread, candidate: PlanVersion) -> None:
        rollout = begun(candidate)
        moves.tell_due_moves(now=LAST_DAY)
        change_seats(2, from_next_period=True, now=LAST_DAY + timedelta(hours=1))
        assert states() == [("forward", "dropped")]
        rollouts.advance(rollout_id=rollout.pk, now=LAST_DAY + timedelta(hours=2))
        assert moves.tell_due_moves(now=LAST_DAY + timedelta(hours=2)) == 1
        thread.settle()
        renew(thread, SECOND_MONTH)

        assert terms() == [(1, 10), (2, 11)]
        assert cycle_totals() == [("paid", 2 * 2500)]
        assert states() == [("forward", "dropped"), ("forward", "done")]

    def test_on_the_way_back_is_prorated_at_what_was_paid_and_returns_all_the_same(
        self, thread: Thread, candidate: PlanVersion
    ) -> None:
        """A second seat from the 16th of November on: half a month of 25.00, then two seats of 20.00."""
        rollout = begun(candidate)
        moves.tell_due_moves(now=LAST_DAY)
        renew(thread, SECOND_MONTH)
        back_at = SECOND_MONTH + timedelta(days=5)
        rollouts.roll_back(rollout_id=rollout.pk, reason="too dear", actor=FIONA, now=back_at)
        moves.tell_due_moves(now=back_at)

        thread.sandbox.advance(SECOND_MONTH + timedelta(days=15))
        change_seats(2, now=SECOND_MONTH + timedelta(days=15))
        assert states()[1:] == [("back", "dropped"), ("back", "intended")]
        assert moves.tell_due_moves(now=SECOND_MONTH + timedelta(days=15, hours=1)) == 1
        renew(thread, THIRD_MONTH)

        assert terms() == [(1, 10), (2, 11), (2, 11), (1, 12)]
        assert states()[1:] == [("back", "dropped"), ("back", "done")]
        assert cycle_totals()[-1] == ("paid", 1250 + 2 * 2000)

    def test_waits_until_stripe_has_answered(
        self, thread: Thread, candidate: PlanVersion, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The request that is repeated has the seats of before."""
        begun(candidate)
        real = gateway.request

        def away(*args: Any, **options: Any) -> Any:
            raise StripeUnavailable("no route to host")

        monkeypatch.setattr(gateway, "request", away)
        assert moves.tell_due_moves(now=LAST_DAY) == 0
        monkeypatch.setattr(gateway, "request", real)

        with pytest.raises(ChangeRefused, match="has not answered yet"):
            change_seats(3, from_next_period=True, now=LAST_DAY)
        assert moves.tell_due_moves(now=LAST_DAY) == 1

    def test_of_long_before_does_not_bring_the_new_price_before_its_renewal(
        self, thread: Thread, candidate: PlanVersion
    ) -> None:
        """Stripe renewed at the old price, and is then told; its subscription is read before the renewal's invoice."""
        begun(candidate)
        change_seats(2, from_next_period=True, now=OCT_20)
        thread.sandbox.advance(SECOND_MONTH)
        moves.tell_due_moves(now=LAST_DAY)
        stripe_id = Subscription.objects.get().stripe_subscription_id
        project_subscription(gateway.retrieve(f"/v1/subscriptions/{stripe_id}"), now=LAST_DAY)
        thread.settle()

        assert terms() == [(1, 10), (1, 11)]
        assert cycle_totals() == [("paid", 2 * 2000)]
        renew(thread, THIRD_MONTH)
        assert terms() == [(1, 10), (1, 11), (2, 12)]


def test_what_a_renewal_passed_without_is_noticed(thread: Thread, candidate: PlanVersion) -> None:
    """Somebody sets the old price at Stripe by hand: nobody waits for the move for ever."""
    rollout = begun(candidate)
    old_price = price_at_stripe()
    moves.tell_due_moves(now=LAST_DAY)
    path = f"/v1/subscriptions/{Subscription.objects.get().stripe_subscription_id}"
    item = gateway.retrieve(path)["items"]["data"][0]
    gateway.request("post", path, {"items": [{"id": item["id"], "price": old_price}], "proration_behavior": "none"})
    renew(thread, SECOND_MONTH)

    moves.tell_due_moves(now=SECOND_MONTH + timedelta(hours=3))

    assert states() == [("forward", "dropped")]
    rollouts.advance(rollout_id=rollout.pk, now=SECOND_MONTH + timedelta(hours=3))
    assert states()[1:] == [("forward", "intended")]


def test_an_add_on_that_the_candidate_includes_is_not_billed_apart_until_the_way_back(
    thread: Thread, candidate: PlanVersion
) -> None:
    baseline = PlanVersion.objects.get(version=1, plan=candidate.plan)
    boost = PlanVersion.objects.create(
        plan=Plan.objects.create(code="boost", name="Boost", is_add_on=True, product=baseline.plan.product),
        version=1,
        currency="USD",
        fee_minor=500,
        rate_card=baseline.rate_card,
    )
    publish_plan_version(plan_version_id=boost.pk, now=OCT_20)
    bundling = PlanVersion.objects.create(
        plan=baseline.plan, version=3, currency="USD", fee_minor=2300, rate_card=baseline.rate_card
    )
    bundling.bundled.add(boost)
    bundling = sold(bundling, now=thread.now)
    boost.refresh_from_db()
    change_seats(1, from_next_period=True, add_ons=[(boost, 1)], now=OCT_20)
    rollout = begun(bundling)

    assert moves.tell_due_moves(now=LAST_DAY) == 1
    thread.settle()
    renew(thread, SECOND_MONTH)
    assert cycle_totals() == [("paid", 2300)]
    back_at = SECOND_MONTH + timedelta(days=5)
    rollouts.roll_back(rollout_id=rollout.pk, reason="too dear", actor=FIONA, now=back_at)
    moves.tell_due_moves(now=back_at)
    thread.settle()
    renew(thread, THIRD_MONTH)

    assert cycle_totals()[1:] == [("paid", 2000 + 500)]
    assert terms() == [(1, 10), (3, 11), (1, 12)]
