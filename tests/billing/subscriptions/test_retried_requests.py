"""Requests that failed, were repeated or crossed others: each counts from when Stripe did it, and is told as it was."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.invoicing.models import InvoiceClose
from billing.stripe import gateway, outbox, redriving
from billing.stripe.errors import OutboxSuperseded, StripeRefused, StripeUnavailable
from billing.stripe.models import OutboxIntent
from billing.subscriptions import lifecycle, scheduling
from billing.subscriptions.change_models import ScheduledChange
from billing.subscriptions.errors import ChangeRefused
from billing.subscriptions.history import next_reading
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import change_terms, project_subscription
from tests.billing.subscriptions.lives import (
    ACTOR,
    NOVEMBER,
    OCT_11,
    OCT_16_NOON,
    advance,
    at_stripe,
    events,
    in_dashboard,
    now_of,
    said,
    spans,
    started,
)
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread

pytestmark = pytest.mark.usefixtures("committed_db")
OCT_20 = datetime(2026, 10, 20, tzinfo=UTC)
VOID = {"behavior": "void"}


def failing(thread: Thread, do: Any, mode: Any = "connection_reset", **asked: Any) -> None:
    """Ask once, in vain: Stripe never had it, or its answer was lost."""
    thread.sandbox.fault(operation="POST /v1/subscriptions/", mode=mode)
    with gateway.one_try(), pytest.raises(StripeUnavailable):
        do(**asked)
    thread.sandbox.clear_faults()


class TestARequestThatFailedOnce:
    def test_another_pause_or_resumption_counts_from_its_own_instant(self, thread: Thread) -> None:
        """Day 11 in vain, day 16 under another key; then a resumption likewise, day 16 and day 20."""
        subscription = started(thread)
        thread.sandbox.advance(OCT_11)
        failing(thread, lifecycle.pause, **said(thread, subscription, "pause-1"))
        thread.sandbox.advance(OCT_16_NOON)
        lifecycle.pause(**said(thread, subscription, "pause-2", actor="user:other"))
        failing(thread, lifecycle.resume, **said(thread, subscription, "resume-1"))
        thread.sandbox.advance(OCT_20)
        lifecycle.resume(**said(thread, subscription, "resume-2", actor="user:other"))

        assert spans(subscription)[:2] == [("10-01 00", "10-16 12", "regular"), ("10-16 12", "10-20 00", "paused")]
        assert events(subscription)[2:] == [("paused", "user:other"), ("resumed", "user:other")]

    def test_the_same_one_repeated_counts_from_when_it_worked(self, thread: Thread) -> None:
        subscription = started(thread)
        thread.sandbox.advance(OCT_11)
        failing(thread, lifecycle.pause, **said(thread, subscription, "pause"))
        thread.sandbox.advance(OCT_11 + timedelta(hours=3))
        paused = lifecycle.pause(**said(thread, subscription, "pause"))

        assert paused.paused_from == OCT_11 + timedelta(hours=3)
        assert spans(subscription)[1][:1] == ("10-11 03",)

    def test_one_that_was_abandoned_does_not_backdate_what_the_dashboard_does(self, thread: Thread) -> None:
        subscription = started(thread)
        thread.sandbox.advance(OCT_11)
        failing(thread, lifecycle.pause, **said(thread, subscription))
        lost = OutboxIntent.objects.get(purpose__contains=":pause:")
        redriving.abandon(intent_id=lost.pk, actor=ACTOR, reason="not wanted", now=now_of(thread))
        thread.sandbox.advance(OCT_20)
        in_dashboard(subscription, pause_collection=VOID)
        thread.settle()

        assert spans(subscription)[1][:1] == ("10-20 00",)
        assert events(subscription)[-1] == ("paused", "stripe:dashboard")

    def test_a_pause_that_missed_its_own_end_is_not_begun_after_it(self, thread: Thread) -> None:
        subscription = started(thread)
        asked = said(thread, subscription, until=OCT_11)
        failing(thread, lifecycle.pause, **asked)
        thread.sandbox.advance(OCT_16_NOON)
        scheduling.apply_due(now=now_of(thread), limit=9)
        with pytest.raises(ChangeRefused, match="pause anew"):
            lifecycle.pause(**asked | {"now": now_of(thread)})
        assert at_stripe(subscription)["pause_collection"] is None


class TestAnAnswerFromStripesMemory:
    def test_is_not_taken_for_what_is_so_now(self, thread: Thread) -> None:
        """Carried out with its answer lost, undone in the dashboard, repeated: Stripe repeats its old body."""
        subscription = started(thread)
        thread.sandbox.advance(OCT_11)
        failing(thread, lifecycle.pause, "timeout_after_commit", **said(thread, subscription))
        thread.settle()
        assert events(subscription)[-1] == ("paused", ACTOR)
        thread.sandbox.advance(OCT_11 + timedelta(hours=1))
        in_dashboard(subscription, pause_collection="")
        thread.settle()
        again = lifecycle.pause(**said(thread, subscription))

        assert again.paused_from is None
        assert spans(subscription)[-1][2] == "regular"
        assert events(subscription)[-1] == ("resumed", "stripe:dashboard")

    def test_a_pause_is_not_sent_again_over_its_resumption(self, thread: Thread) -> None:
        subscription = started(thread)
        thread.sandbox.advance(OCT_11)
        failing(thread, lifecycle.pause, "timeout_after_commit", **said(thread, subscription))
        thread.settle()
        thread.sandbox.advance(OCT_11 + timedelta(hours=1))
        lifecycle.resume(**said(thread, subscription))
        with pytest.raises(OutboxSuperseded):
            lifecycle.pause(**said(thread, subscription))

        assert Subscription.objects.get().paused_from is None
        assert events(subscription)[-1] == ("resumed", ACTOR)


class TestTheEndOfAPause:
    def test_of_one_that_is_over_ends_no_later_one(self, thread: Thread) -> None:
        subscription = started(thread)
        thread.sandbox.advance(OCT_11)
        lifecycle.pause(**said(thread, subscription, "first", until=OCT_20))
        thread.sandbox.advance(OCT_16_NOON)
        lifecycle.resume(**said(thread, subscription))
        thread.sandbox.advance(OCT_16_NOON + timedelta(hours=1))
        lifecycle.pause(**said(thread, subscription, "second"))
        thread.sandbox.advance(OCT_20)
        scheduling.apply_due(now=now_of(thread), limit=9)

        assert at_stripe(subscription)["pause_collection"] is not None
        assert subscription.paused_from == OCT_16_NOON + timedelta(hours=1)
        assert ScheduledChange.objects.get().state == "cancelled"

    def test_comes_at_its_time_although_the_answer_to_the_pause_was_lost(self, thread: Thread) -> None:
        subscription = started(thread)
        thread.sandbox.advance(OCT_11)
        failing(thread, lifecycle.pause, "timeout_after_commit", **said(thread, subscription, until=OCT_20))
        thread.settle()
        thread.sandbox.advance(OCT_20)
        scheduling.apply_due(now=now_of(thread), limit=9)

        assert spans(subscription)[1:] == [("10-11 00", "10-20 00", "paused"), ("10-20 00", "11-01 00", "regular")]
        assert ScheduledChange.objects.get().state == "done"

    def test_is_cancelled_with_a_pause_that_stripe_refuses(self, thread: Thread) -> None:
        subscription = started(thread)
        thread.sandbox.advance(OCT_11)
        gateway.request("delete", f"/v1/subscriptions/{subscription.stripe_subscription_id}", {})
        with pytest.raises(StripeRefused):
            lifecycle.pause(**said(thread, subscription, until=OCT_20))

        row = ScheduledChange.objects.get()
        assert (row.state, row.settled_by) == ("cancelled", ACTOR)


def test_terms_of_the_next_period_begin_with_the_one_that_an_end_of_the_trial_begins(thread: Thread) -> None:
    """Asked for from 15 October on; the trial is ended on the 11th: nothing is cut on the 15th, add-ons count."""
    boost, large = version_of("boost", is_add_on=True, fee_minor=500), version_of("large", fee_minor=6000)
    subscription = started(thread, version_of("trial", trial_days=14))
    asked = said(thread, subscription, plan_version=large, seats=1, add_ons=[(boost, 2)], from_next_period=True)
    change_terms(**asked)
    thread.sandbox.advance(OCT_11)
    lifecycle.end_trial(**said(thread, subscription))
    project_subscription(at_stripe(subscription), now=now_of(thread), reading=next_reading())
    thread.settle()  # by now that instant is behind us

    assert spans(subscription) == [("10-01 00", "10-11 00", "trial"), ("10-11 00", "11-11 00", "regular")]
    period = subscription.periods.latest("starts_at")
    assert (period.plan_version, [(row.plan_version, row.seats) for row in period.add_ons.all()]) == (
        large,
        [(boost, 2)],
    )
    assert thread.unfinished() == []


def test_a_foreign_item_holds_and_the_rest_is_followed(thread: Thread) -> None:
    """Beside terms that wait for the next period: another way of paying is followed, and the close is held."""
    subscription = started(thread)
    change_terms(**said(thread, subscription, plan_version=subscription.plan_version, seats=2, from_next_period=True))
    product = at_stripe(subscription)["items"]["data"][0]["price"]["product"]
    own = {"currency": "usd", "product": product, "recurring": {"interval": "month"}, "unit_amount": 777}
    in_dashboard(subscription, items=[{"price_data": own}], proration_behavior="none", days_until_due=9,
                 collection_method="send_invoice")  # fmt: skip
    thread.settle()
    subscription.refresh_from_db()
    strange = at_stripe(subscription)["items"]["data"][1]["price"]["id"]
    assert strange in subscription.held_reason
    assert subscription.days_until_due == 9
    advance(thread, NOVEMBER)

    assert strange in InvoiceClose.objects.get().held_reason
    assert thread.unfinished() == []


def test_a_write_that_an_older_look_overtook_is_told_as_what_it_was(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook takes its number after ours, looks before our write, and is first to bring what it saw."""
    subscription = started(thread)
    thread.sandbox.advance(OCT_11)
    perform = outbox.perform

    def overtaken(**asked: Any) -> dict[str, Any]:
        reading, seen = next_reading(), at_stripe(subscription)
        answer = perform(**asked)
        project_subscription(seen, now=now_of(thread), reading=reading)
        return answer

    monkeypatch.setattr(outbox, "perform", overtaken)
    paused = lifecycle.pause(**said(thread, subscription))

    assert paused.paused_from == OCT_11
    assert events(subscription)[-1] == ("paused", ACTOR)


def test_a_cancellation_whose_first_answer_was_lost_is_no_refusal(thread: Thread) -> None:
    """The second try within one call finds it cancelled: of DELETE Stripe remembers no key."""
    subscription = started(thread)
    thread.sandbox.advance(OCT_11)
    thread.sandbox.fault(operation="DELETE /v1/subscriptions/", mode="timeout_after_commit")
    ended = lifecycle.cancel(**said(thread, subscription), prorate=False)

    assert (ended.status, ended.ended_at) == ("canceled", OCT_11)
    assert events(subscription)[-1] == ("ended", ACTOR)
    assert OutboxIntent.objects.get(operation="subscriptions.cancel").state == "succeeded"
