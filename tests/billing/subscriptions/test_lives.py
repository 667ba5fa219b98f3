"""Whole lives through the sandbox: pauses, ends, reactivation, trials that end early. Figures worked out by hand."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.catalog.models import PlanVersion
from billing.invoicing.orders.models import InvoiceOrder
from billing.stripe import gateway
from billing.subscriptions import lifecycle
from billing.subscriptions.errors import ChangeRefused, SubscriptionConflict
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import change_terms
from billing.subscriptions.starting import reactivate
from tests.billing.subscriptions.lives import (
    ACTOR,
    DECEMBER,
    NOVEMBER,
    OCT_11,
    OCT_16_NOON,
    advance,
    at_stripe,
    events,
    in_dashboard,
    invoices,
    now_of,
    said,
    spans,
    started,
)
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread

pytestmark = pytest.mark.usefixtures("committed_db")
OCT_20 = datetime(2026, 10, 20, tzinfo=UTC)


def test_a_cancellation_now_ends_the_period_credits_the_rest_and_orders_the_usage(thread: Thread) -> None:
    """Half of October is left of 20.00: −10.00 to the balance; 2 × 3.00 of usage on a closing invoice."""
    subscription = started(thread)
    thread.use(2_000_000, at=OCT_11)
    advance(thread, OCT_16_NOON)
    for _ in range(2):  # said twice, done once
        ended = lifecycle.cancel(**said(thread, subscription), prorate=True)
    thread.settle()

    assert (ended.status, ended.ended_at) == ("canceled", OCT_16_NOON)
    assert spans(subscription) == [("10-01 00", "10-16 12", "regular")]
    assert invoices() == [("paid", [("fee", 2000)]), ("paid", [("fee", -1000)])]
    order = InvoiceOrder.objects.get()
    assert (order.kind, order.period) == ("closing", subscription.periods.get())
    assert events(subscription)[-1] == ("ended", ACTOR)
    balances = thread.balances()
    assert (balances["unbilled"], balances["balance"]) == (6, 10)
    with pytest.raises(ChangeRefused, match="reactivate"):
        lifecycle.pause(**said(thread, subscription, "late"))
    assert thread.unfinished() == []


def test_a_reactivation_is_a_new_subscription_on_the_last_terms_without_a_trial(thread: Thread) -> None:
    boost = version_of("boost", is_add_on=True, fee_minor=500)
    old = started(thread, version_of("trial", trial_days=14), seats=3, add_ons=[(boost, 2)])
    with pytest.raises(ChangeRefused, match="has not ended"):
        reactivate(**said(thread, old, "early"))
    lifecycle.cancel(**said(thread, old), prorate=False)
    thread.sandbox.advance(OCT_11)
    new = reactivate(**said(thread, old, "again"))
    same = reactivate(**said(thread, old, "again") | {"now": now_of(thread) + timedelta(hours=1)})
    thread.settle()

    assert new == same != old
    assert (new.seats, new.trial_ends_at, new.status) == (3, None, "active")
    assert [(row.plan_version, row.seats) for row in new.add_ons.all()] == [(boost, 2)]
    assert spans(new) == [("10-11 00", "11-11 00", "regular")]
    assert [item["quantity"] for item in at_stripe(new)["items"]["data"]] == [3, 2]
    thread.sandbox.advance(OCT_20)
    with pytest.raises(SubscriptionConflict):
        reactivate(**said(thread, old, "another"))


def test_an_end_with_the_period_can_be_taken_back_until_it_comes(thread: Thread) -> None:
    subscription = started(thread)
    planned = lifecycle.cancel_at_period_end(**said(thread, subscription))
    assert planned.cancel_at == NOVEMBER
    assert lifecycle.undo_cancellation(**said(thread, subscription)).cancel_at is None
    with pytest.raises(ChangeRefused, match="nothing to take back"):
        lifecycle.undo_cancellation(**said(thread, subscription, "twice"))
    thread.use(2_000_000, at=OCT_11)
    advance(thread, OCT_20)
    lifecycle.cancel_at_period_end(**said(thread, subscription, "again"))
    advance(thread, NOVEMBER)

    subscription.refresh_from_db()
    assert (subscription.status, subscription.ended_at) == ("canceled", NOVEMBER)
    assert spans(subscription) == [("10-01 00", "11-01 00", "regular")]
    assert [kind for kind, _ in events(subscription)[2:]] == [
        "cancel_planned", "cancel_undone", "cancel_planned", "ended",
    ]  # fmt: skip
    assert events(subscription)[-1] == ("ended", ACTOR)
    assert InvoiceOrder.objects.get().period == subscription.periods.get()


def test_an_end_with_the_period_still_bills_the_prorations_that_wait(thread: Thread) -> None:
    """Half of October: −10.00 and +30.00 on Stripe's own last invoice, which begins no period and is no close."""
    large = version_of("large", fee_minor=6000)
    subscription = started(thread)
    advance(thread, OCT_16_NOON)
    change_terms(**said(thread, subscription), plan_version=large, seats=1)
    lifecycle.cancel_at_period_end(**said(thread, subscription, "end"))
    thread.settle()
    advance(thread, NOVEMBER)
    advance(thread, NOVEMBER + timedelta(hours=2))

    assert invoices()[-1] == ("paid", [("fee", -1000), ("fee", 3000)])
    assert spans(subscription)[-1] == ("10-16 12", "11-01 00", "regular")
    assert thread.unfinished() == []


def test_a_pause_within_a_paid_period_is_cut_out_of_it(thread: Thread) -> None:
    """3.00 of usage before, 3.00 in the pause (free), 3.00 after; the fee was paid and boundaries stay."""
    subscription = started(thread)
    advance(thread, OCT_11)
    thread.use(1_000_000, at=OCT_11 - timedelta(seconds=1))
    lifecycle.pause(**said(thread, subscription))
    thread.use(1_000_000, at=OCT_11)
    advance(thread, OCT_20)
    lifecycle.resume(**said(thread, subscription))
    thread.use(1_000_000, at=OCT_20)
    advance(thread, NOVEMBER)

    assert spans(subscription) == [
        ("10-01 00", "10-11 00", "regular"),
        ("10-11 00", "10-20 00", "paused"),
        ("10-20 00", "11-01 00", "regular"),
        ("11-01 00", "12-01 00", "regular"),
    ]
    assert invoices()[-1] == ("paid", [("fee", 2000), ("usage", 300), ("usage", 300)])
    assert thread.unfinished() == []


def test_a_pause_over_a_renewal_makes_it_void_and_counts_anew_when_resumed(thread: Thread) -> None:
    subscription = started(thread)
    thread.use(1_000_000, at=OCT_11)
    advance(thread, OCT_16_NOON)
    lifecycle.pause(**said(thread, subscription))
    advance(thread, NOVEMBER + timedelta(days=3))
    lifecycle.resume(**said(thread, subscription))
    thread.settle()  # Stripe lists events of 30 days
    advance(thread, DECEMBER + timedelta(days=3))

    assert spans(subscription)[1:] == [
        ("10-16 12", "11-01 00", "paused"),
        ("11-01 00", "11-04 00", "paused"),
        ("11-04 00", "12-04 00", "regular"),
        ("12-04 00", "01-04 00", "regular"),
    ]
    assert invoices() == [
        ("paid", [("fee", 2000)]),
        ("void", [("fee", 2000)]),
        ("paid", [("fee", 2000)]),
        ("paid", [("fee", 2000), ("usage", 300)]),
    ]
    assert thread.unfinished() == []


def test_a_trial_can_be_ended_now(thread: Thread) -> None:
    subscription = started(thread, version_of("trial", trial_days=14))
    thread.sandbox.advance(OCT_11)
    lifecycle.end_trial(**said(thread, subscription))
    thread.settle()

    assert spans(subscription) == [("10-01 00", "10-11 00", "trial"), ("10-11 00", "11-11 00", "regular")]
    assert invoices()[-1] == ("paid", [("fee", 2000)])
    assert ("trial_ended", ACTOR) in events(subscription)
    with pytest.raises(ChangeRefused, match="in no trial"):
        lifecycle.end_trial(**said(thread, subscription, "again"))
    advance(thread, datetime(2026, 11, 11, tzinfo=UTC))
    assert spans(subscription)[-1] == ("11-11 00", "12-11 00", "regular")
    assert thread.unfinished() == []


def test_a_contract_is_sent_its_invoices_and_followed(thread: Thread) -> None:
    subscription = started(thread, payment_method="", days_until_due=30)
    theirs = at_stripe(subscription)
    assert (theirs["collection_method"], theirs["days_until_due"], subscription.status) == (
        "send_invoice",
        30,
        "active",
    )
    in_dashboard(subscription, days_until_due=14)
    thread.settle()
    subscription.refresh_from_db()
    assert (subscription.collection_method, subscription.days_until_due) == ("send_invoice", 14)
    assert events(subscription)[-1] == ("collection", "stripe:dashboard")


class TestWhatSomebodyDoesInTheDashboard:
    def test_a_pause_and_its_end(self, thread: Thread) -> None:
        subscription = started(thread)
        thread.settle()
        thread.sandbox.advance(OCT_11)
        in_dashboard(subscription, pause_collection={"behavior": "void"})
        thread.settle()
        thread.sandbox.advance(OCT_20)
        in_dashboard(subscription, pause_collection="")
        thread.settle()

        assert [kind for *_, kind in spans(subscription)] == ["regular", "paused", "regular"]
        assert spans(subscription)[1][:2] == ("10-11 00", "10-20 00")
        assert events(subscription)[2:] == [("paused", "stripe:dashboard"), ("resumed", "stripe:dashboard")]

    def test_a_planned_end_and_an_end_now(self, thread: Thread) -> None:
        subscription = started(thread)
        in_dashboard(subscription, cancel_at_period_end=True)
        thread.settle()
        in_dashboard(subscription, cancel_at_period_end=False)
        thread.settle()
        thread.sandbox.advance(OCT_11)
        gateway.request("delete", f"/v1/subscriptions/{subscription.stripe_subscription_id}", {})
        thread.settle()

        assert spans(subscription) == [("10-01 00", "10-11 00", "regular")]
        assert [kind for kind, _ in events(subscription)[2:]] == ["cancel_planned", "cancel_undone", "ended"]
        assert {actor for _, actor in events(subscription)[2:]} == {"stripe:dashboard"}
        assert InvoiceOrder.objects.get().period == subscription.periods.get()

    def test_a_price_that_we_sell_counts_from_the_next_period_on(self, thread: Thread) -> None:
        large = version_of("large", fee_minor=6000)
        subscription = started(thread)
        item = at_stripe(subscription)["items"]["data"][0]["id"]
        in_dashboard(
            subscription, items=[{"id": item, "price": large.stripe_price_id, "quantity": 2}], proration_behavior="none"
        )
        thread.settle()
        assert ("terms", "stripe:dashboard") in events(subscription)
        advance(thread, NOVEMBER)

        subscription.refresh_from_db()
        assert (subscription.plan_version, subscription.seats) == (large, 2)
        assert [row.plan_version for row in subscription.periods.order_by("starts_at")][1:] == [large]
        assert invoices()[-1] == ("paid", [("fee", 12000)])

    def test_a_price_that_is_not_ours_is_held_by_name_until_it_is_mended(self, thread: Thread) -> None:
        subscription = started(thread)
        theirs = at_stripe(subscription)["items"]["data"][0]
        own = {"currency": "usd", "product": theirs["price"]["product"], "recurring": {"interval": "month"}}
        in_dashboard(subscription, items=[{"id": theirs["id"], "price_data": {**own, "unit_amount": 777}}])
        thread.settle()
        subscription.refresh_from_db()
        strange = at_stripe(subscription)["items"]["data"][0]["price"]["id"]
        assert strange in subscription.held_reason
        in_dashboard(
            subscription,
            items=[{"id": theirs["id"], "price": PlanVersion.objects.get(plan__code="pro").stripe_price_id}],
        )
        thread.settle()

        subscription.refresh_from_db()
        assert subscription.held_reason == ""
        assert [kind for kind, _ in events(subscription)[2:]] == ["held", "released"]

    def test_a_schedule_is_followed_and_not_fought(self, thread: Thread) -> None:
        large = version_of("large", fee_minor=6000)
        subscription = started(thread)
        stripe_id = subscription.stripe_subscription_id
        made = gateway.request("post", "/v1/subscription_schedules", {"from_subscription": stripe_id}).data
        phase = made["phases"][0]
        first = {"items": [{"price": phase["items"][0]["price"], "quantity": 1}]}
        first |= {"start_date": phase["start_date"], "end_date": phase["end_date"]}
        then = {"items": [{"price": large.stripe_price_id, "quantity": 1}], "duration": {"interval": "month"}}
        gateway.request("post", f"/v1/subscription_schedules/{made['id']}", {"phases": [first, then]})
        thread.settle()
        subscription.refresh_from_db()
        assert subscription.stripe_schedule_id == made["id"]
        with pytest.raises(ChangeRefused, match="release"):
            lifecycle.cancel_at_period_end(**said(thread, subscription))


@pytest.mark.parametrize("status", ["past_due", "unpaid"])
def test_stripe_s_own_statuses_are_followed_and_said(thread: Thread, status: str) -> None:
    subscription = started(thread)
    from billing.subscriptions.operations import project_subscription

    project_subscription({**at_stripe(subscription), "status": status}, now=now_of(thread))

    subscription.refresh_from_db()
    assert subscription.status == status
    assert events(subscription)[-1] == ("status", "stripe:billing")


def test_a_look_from_before_changes_nothing(thread: Thread) -> None:
    """Our own answer that was slow to come, after a webhook that saw more."""
    from billing.subscriptions.history import next_reading
    from billing.subscriptions.operations import project_subscription

    subscription = started(thread)
    early = next_reading()
    before = at_stripe(subscription)
    lifecycle.cancel_at_period_end(**said(thread, subscription))

    project_subscription(before, now=now_of(thread), reading=early)

    assert Subscription.objects.get().cancel_at == NOVEMBER
