"""Bugs of field.md section E that reached customers elsewhere, each as a test here."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from django.db import connections

from billing.stripe import gateway
from billing.subscriptions import lifecycle
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import change_terms
from billing.subscriptions.starting import reactivate, subscribe
from tests.billing.subscriptions.lives import (
    ACTOR,
    NOVEMBER,
    OCT_11,
    OCT_16_NOON,
    ada,
    advance,
    at_stripe,
    events,
    invoices,
    now_of,
    said,
    spans,
    started,
)
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread

pytestmark = pytest.mark.usefixtures("committed_db")


def together(*works: Callable[[], object]) -> list[BaseException]:
    """Do all works at once, each on a connection of its own; return what they raised."""
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        try:
            gate.wait(timeout=60)
            work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        done = [pool.submit(run, work) for work in works]
        return [error for future in done if (error := future.exception(timeout=120)) is not None]


def test_autumn_2026_07_21_a_checkout_that_is_sent_twice_makes_one_subscription(thread: Thread) -> None:
    """E43: two clicks at once, and a third after a crash: one subscription here, one at Stripe, one fee."""
    plan, customer, now = version_of("checkout", fee_minor=1500), ada(), now_of(thread)
    asked = {
        "customer_id": customer.pk, "plan_version": plan, "seats": 1, "payment_method": "pm_card_visa",
        "actor": "service:checkout", "reason": "", "idempotency_key": "session-1", "now": now,
    }  # fmt: skip
    raised = together(*[lambda: subscribe(**asked)] * 2)  # type: ignore[arg-type]
    subscribe(**asked | {"now": now + timedelta(minutes=5)})  # type: ignore[arg-type]
    thread.settle()

    assert [type(one).__name__ for one in raised] in ([], ["StripeUnavailable"])
    assert Subscription.objects.count() == 1
    assert len(list(gateway.listed("/v1/subscriptions", status="all"))) == 1
    assert invoices() == [("paid", [("fee", 1500)])]


def test_two_checkouts_of_one_customer_at_once_make_one_subscription(thread: Thread) -> None:
    """
    The kind of bug under which E43 lists Sentry's 87715 and 84158 and PostHog's 2183; their own texts were not read.
    Two tabs, each with a key of its own, are about one subscription, and one fee is asked for.
    """
    plan, customer, now = version_of("checkout", fee_minor=1500), ada(), now_of(thread)
    asked = {
        "customer_id": customer.pk, "plan_version": plan, "seats": 1, "payment_method": "pm_card_visa",
        "actor": "service:checkout", "reason": "", "now": now,
    }  # fmt: skip
    tabs = [partial(subscribe, **asked, idempotency_key=f"tab-{number}") for number in (1, 2)]  # type: ignore[arg-type]
    raised = together(*tabs)
    thread.settle()

    assert [type(one).__name__ for one in raised] in ([], ["StripeUnavailable"])
    assert Subscription.objects.count() == 1
    assert len(list(gateway.listed("/v1/subscriptions", status="all"))) == 1
    assert invoices() == [("paid", [("fee", 1500)])]


def test_readthedocs_4503_an_upgrade_leaves_one_recurring_charge(thread: Thread) -> None:
    """E39: the other plan takes the place of the item; it does not come beside it."""
    large = version_of("large", fee_minor=6000)
    subscription = started(thread)
    thread.sandbox.advance(OCT_11)
    change_terms(**said(thread, subscription), plan_version=large, seats=1)
    advance(thread, NOVEMBER)

    assert len(at_stripe(subscription)["items"]["data"]) == 1
    assert [amount for _, amount in invoices()[-1][1]][-1] == 6000
    assert len(list(gateway.listed("/v1/subscriptions"))) == 1


def test_onetimesecret_3692_who_comes_back_has_one_live_subscription(thread: Thread) -> None:
    """E43: cancelled and come back twice at once: the old one stays ended, one new one lives."""
    old = started(thread)
    lifecycle.cancel(**said(thread, old), prorate=False)
    thread.sandbox.advance(OCT_11)
    again = said(thread, old, "again")
    together(*[lambda: reactivate(**again)] * 2)
    reactivate(**again)
    thread.settle()

    live = [one for one in gateway.listed("/v1/subscriptions", status="all") if one["status"] == "active"]
    assert len(live) == 1
    assert list(Subscription.objects.order_by("pk").values_list("status", flat=True)) == ["canceled", "active"]


def test_killbill_1503_1505_a_repair_after_a_repair_is_no_illegal_state(thread: Thread) -> None:
    """E40: changed, changed back and cancelled with credit: each credit is of what was billed, and the sum is exact."""
    large = version_of("large", fee_minor=6000)
    subscription = started(thread)
    small = subscription.plan_version
    advance(thread, OCT_11)
    change_terms(**said(thread, subscription), plan_version=large, seats=2)
    thread.sandbox.advance(OCT_16_NOON)
    change_terms(**said(thread, subscription, "back"), plan_version=small, seats=1)
    thread.sandbox.advance(OCT_16_NOON + timedelta(days=1))
    lifecycle.cancel(**said(thread, subscription), prorate=True)
    thread.settle()

    assert thread.unfinished() == []
    # 21, 15.5 and 14.5 of 31 days were left: each line is floored on its own.
    assert invoices()[-1] == (
        "paid",
        [("fee", -6000), ("fee", -1355), ("fee", -936), ("fee", 1000), ("fee", 8129)],
    )


def test_polar_6134_a_stale_webhook_does_not_overwrite(thread: Thread) -> None:
    """E39: every event of a life once more, after its end: it stays ended, and nothing is written twice."""
    subscription = started(thread)
    thread.settle()
    lifecycle.cancel_at_period_end(**said(thread, subscription))
    lifecycle.undo_cancellation(**said(thread, subscription))
    thread.sandbox.advance(OCT_11)
    lifecycle.cancel(**said(thread, subscription), prorate=True)
    thread.settle()
    before = (events(subscription), spans(subscription), invoices())
    thread.redeliver_everything()

    assert (events(subscription), spans(subscription), invoices()) == before


class TestRaces:
    def test_a_change_against_a_cancellation(self, thread: Thread) -> None:
        """Whichever Stripe takes first: the subscription is over, its last period ends there, nothing is left open."""
        large = version_of("large", fee_minor=6000)
        subscription = started(thread)
        thread.sandbox.advance(OCT_11)
        change, cancel = said(thread, subscription, "change"), said(thread, subscription, "cancel")
        together(
            lambda: change_terms(**change, plan_version=large, seats=2),
            lambda: lifecycle.cancel(**cancel, prorate=False),
        )
        thread.settle()

        subscription.refresh_from_db()
        assert (subscription.status, subscription.ended_at) == ("canceled", OCT_11)
        ends = subscription.periods.latest("starts_at").ends_at
        assert ends - OCT_11 <= timedelta(seconds=1)
        assert thread.unfinished() == []

    def test_one_key_twice_at_once_is_one_change(self, thread: Thread) -> None:
        subscription = started(thread)
        thread.sandbox.advance(OCT_11)
        asked = said(thread, subscription)
        raised = together(*[lambda: change_terms(**asked, plan_version=subscription.plan_version, seats=3)] * 2)
        thread.settle()

        assert [type(one).__name__ for one in raised] in ([], ["StripeUnavailable"])
        assert [row.seats for row in subscription.periods.order_by("starts_at")] == [1, 3]
        assert [kind for kind, _ in events(subscription)].count("terms") == 1

    def test_a_change_against_the_close_of_the_renewal(self, thread: Thread) -> None:
        """Asked for a second before the month ends, while its renewal is closed: periods touch, fees are expected."""
        large = version_of("large", fee_minor=6000)
        subscription = started(thread)
        thread.settle()
        thread.sandbox.advance(NOVEMBER - timedelta(seconds=1))
        asked = said(thread, subscription)
        thread.sandbox.advance(NOVEMBER)
        thread.advance_our_clock_to(NOVEMBER)
        together(lambda: change_terms(**asked, plan_version=large, seats=1), thread.settle)
        thread.settle()

        found = list(subscription.periods.order_by("starts_at").values_list("starts_at", "ends_at"))
        assert [end for _, end in found[:-1]] == [start for start, _ in found[1:]]
        assert thread.unfinished() == []


def test_a_crash_between_stripe_s_answer_and_ours_is_brought_by_the_webhook(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after Stripe took the pause: the webhook brings it, from the second and by whom it was asked."""

    def die(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the process died")

    subscription = started(thread)
    thread.settle()
    thread.sandbox.advance(OCT_11)
    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "project_subscription", die)
        with pytest.raises(RuntimeError):
            lifecycle.pause(**said(thread, subscription))
    thread.settle()

    assert spans(subscription)[1] == ("10-11 00", "11-01 00", "paused")
    assert events(subscription)[-1] == ("paused", ACTOR)
    lifecycle.pause(**said(thread, subscription))
    assert len(spans(subscription)) == 2


def test_seats_up_and_down_within_one_second_end_as_the_last_word(thread: Thread) -> None:
    subscription = started(thread)
    thread.sandbox.advance(OCT_11)
    plan = subscription.plan_version
    change_terms(**said(thread, subscription, "up"), plan_version=plan, seats=5)
    from billing.subscriptions.errors import ChangeRefused

    with pytest.raises(ChangeRefused, match="change within it"):
        change_terms(**said(thread, subscription, "down"), plan_version=plan, seats=1)
    thread.sandbox.advance(OCT_11 + timedelta(seconds=1))
    change_terms(**said(thread, subscription, "down"), plan_version=plan, seats=1)
    advance(thread, NOVEMBER)

    assert [row.seats for row in subscription.periods.order_by("starts_at")] == [1, 5, 1, 1]
    assert invoices()[-1][0] == "paid"
