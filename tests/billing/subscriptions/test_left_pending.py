"""A subscription that Stripe does not know: refused again under its key, carried on by another one, and left."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.invoicing.orders.models import InvoiceOrder
from billing.stripe import outbox
from billing.stripe.errors import StripeRefused, StripeUnavailable
from billing.stripe.models import OutboxIntent
from billing.subscriptions import lifecycle
from billing.subscriptions.errors import ChangeRefused, SubscriptionConflict
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import start_at_stripe
from tests.billing.subscriptions.lives import ACTOR, events, now_of, said, spans, started
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread

pytestmark = pytest.mark.usefixtures("committed_db")
NO_CARD = "pm_0123456789"


def refused(thread: Thread, **terms: Any) -> Subscription:
    """Stripe knows no such card."""
    with pytest.raises(StripeRefused):
        started(thread, payment_method=NO_CARD, **terms)
    return Subscription.objects.get()


def creations() -> list[tuple[str, str]]:
    rows = OutboxIntent.objects.filter(operation="subscriptions.create").order_by("created_at", "purpose")
    return [(row.purpose.partition(":create")[2], row.state) for row in rows]


def test_a_card_that_was_refused_is_followed_by_another_under_a_new_key(thread: Thread) -> None:
    waiting = refused(thread)
    with pytest.raises(StripeRefused):
        started(thread, payment_method=NO_CARD)
    with pytest.raises(SubscriptionConflict, match="cancel it first"):
        started(thread, idempotency_key="another", seats=2)

    carried = started(thread, idempotency_key="another")

    assert (carried.pk, carried.status) == (waiting.pk, "active")
    assert started(thread, idempotency_key="another").pk == waiting.pk
    assert thread.sandbox.counts()["subscription"] == 1


def test_a_creation_that_was_refused_is_asked_for_anew_and_never_sent_again(thread: Thread) -> None:
    """The trial's end passed while Stripe was silent."""
    brief = version_of("brief", trial_days=1)
    thread.sandbox.fault(mode="error_500", operation="POST /v1/subscriptions$", times=9)
    with pytest.raises(StripeUnavailable):
        started(thread, brief)
    thread.sandbox.clear_faults()
    with pytest.raises(ChangeRefused, match="has not answered"):
        lifecycle.cancel(**said(thread, Subscription.objects.get()), prorate=False)
    thread.sandbox.advance(datetime(2026, 10, 2, 3, tzinfo=UTC))
    for _ in range(2):
        with pytest.raises(StripeRefused, match="in the future"):
            started(thread, brief)

    assert started(thread, brief, idempotency_key="another").status == "active"

    assert started(thread, brief).status == "active"  # the first key, too, is that subscription now
    assert creations() == [("", "abandoned"), (":2", "succeeded")]
    assert thread.sandbox.counts()["subscription"] == 1


def test_one_that_stripe_does_not_know_can_be_left(thread: Thread) -> None:
    waiting = refused(thread)
    thread.sandbox.advance(now_of(thread) + timedelta(days=3))
    with pytest.raises(ChangeRefused, match="or cancel it now"):
        lifecycle.cancel_at_period_end(**said(thread, waiting))
    ended = [lifecycle.cancel(**said(thread, waiting, "leave"), prorate=False) for _ in range(2)][1]

    assert (ended.status, spans(ended)) == ("canceled", [("10-01 00", "10-04 00", "regular")])
    assert events(ended)[-1] == ("ended", ACTOR)
    assert InvoiceOrder.objects.get().kind == "closing"
    with pytest.raises(ChangeRefused, match="reactivate"):
        lifecycle.cancel(**said(thread, waiting, "more"), prorate=False)
    with pytest.raises(ChangeRefused, match="start another one"):
        started(thread, payment_method=NO_CARD)
    again = started(thread, idempotency_key="another")
    assert (again.pk == waiting.pk, again.status) == (False, "active")


def test_one_that_was_left_while_stripe_was_told_is_cancelled_there(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look and Stripe's answer somebody ends it: no subscription may live on that nobody sees."""
    waiting, perform = refused(thread), outbox.perform

    def leave_first(**asked: Any) -> Any:
        if asked["operation"] == "subscriptions.create":
            monkeypatch.undo()
            lifecycle.cancel(**said(thread, waiting), prorate=False)
        return perform(**asked)

    monkeypatch.setattr(outbox, "perform", leave_first)
    told: Any = {"subscription_id": waiting.pk, "payment_method": "pm_card_visa", "now": now_of(thread)}
    assert start_at_stripe(**told).status == "canceled"
    (there,) = thread.sandbox.state()["subscription"]
    assert there["status"] == "canceled"
