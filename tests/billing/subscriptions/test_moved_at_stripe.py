"""
Boundaries that somebody moved in Stripe's dashboard, and seats of which no event told: followed, no period has a gap,
and usage is billed once. Figures worked out by hand; 1,000,000 tokens are 3.00.
"""

from datetime import UTC, datetime, timedelta

import pytest

from billing.invoicing.models import InvoiceClose
from billing.stripe import gateway
from billing.subscriptions import lifecycle, moving
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import project_subscription
from tests.billing.subscriptions.lives import (
    ACTOR,
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
OCT_20, OCT_25 = datetime(2026, 10, 20, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)


def second(at: datetime) -> int:
    return int(at.timestamp())


def test_a_trial_made_longer_goes_on_in_a_further_trial_and_shorter_is_cut(thread: Thread) -> None:
    subscription = started(thread, version_of("trial", trial_days=14))
    thread.settle()
    in_dashboard(subscription, trial_end=second(OCT_25))
    project_subscription(at_stripe(subscription), now=now_of(thread))
    assert spans(subscription) == [("10-01 00", "10-15 00", "trial")]  # until then it may be moved again
    subscription.refresh_from_db()
    assert (subscription.trial_ends_at, subscription.anchor_at) == (OCT_25, OCT_25)
    assert events(subscription)[-1] == ("trial_moved", "stripe:dashboard")
    told = subscription.events.last()
    assert told is not None
    assert (told.before, told.after) == ("15 Oct 2026 00:00:00 UTC", "25 Oct 2026 00:00:00 UTC")
    almost = datetime(2026, 10, 14, 23, 30, tzinfo=UTC)
    assert moving.open_due(now=almost - timedelta(hours=1), limit=10) == 0
    assert moving.open_due(now=almost, limit=10) == 1
    assert moving.open_due(now=almost, limit=10) == 0
    thread.use(1_000_000, at=OCT_16_NOON)
    advance(thread, OCT_20 - timedelta(days=1))
    in_dashboard(subscription, trial_end=second(OCT_20))
    thread.settle()
    advance(thread, OCT_20)
    thread.use(1_000_000, at=OCT_20)
    advance(thread, datetime(2026, 11, 20, tzinfo=UTC))

    assert spans(subscription) == [
        ("10-01 00", "10-15 00", "trial"),
        ("10-15 00", "10-20 00", "trial"),
        ("10-20 00", "11-20 00", "regular"),
        ("11-20 00", "12-20 00", "regular"),
    ]
    assert invoices()[-2:] == [("paid", [("fee", 2000)]), ("paid", [("fee", 2000), ("usage", 300)])]
    assert [kind for kind, _ in events(subscription)].count("trial_moved") == 2
    assert thread.unfinished() == []


def test_a_billing_date_that_begins_now_or_later_leaves_no_gap_and_bills_usage_once(thread: Thread) -> None:
    subscription = started(thread)
    thread.use(1_000_000, at=OCT_11 - timedelta(days=1))
    advance(thread, OCT_11)
    in_dashboard(subscription, billing_cycle_anchor="now", proration_behavior="none")
    thread.settle()
    assert spans(subscription) == [("10-01 00", "10-11 00", "regular"), ("10-11 00", "11-11 00", "regular")]
    assert events(subscription)[-1] == ("cycle_moved", "stripe:dashboard")
    thread.use(1_000_000, at=OCT_20)
    later = datetime(2026, 11, 20, tzinfo=UTC)
    in_dashboard(subscription, trial_end=second(later), proration_behavior="none")
    thread.settle()
    subscription.refresh_from_db()
    assert (subscription.status, subscription.anchor_at, subscription.trial_ends_at) == ("trialing", later, None)
    advance(thread, datetime(2026, 11, 9, tzinfo=UTC))  # Stripe lists events of 30 days
    advance(thread, datetime(2026, 11, 11, tzinfo=UTC))
    thread.use(1_000_000, at=datetime(2026, 11, 15, tzinfo=UTC))
    advance(thread, later)

    assert spans(subscription)[1:] == [
        ("10-11 00", "11-11 00", "regular"),
        ("11-11 00", "11-20 00", "regular"),  # opened by the renewal: no task went to it
        ("11-20 00", "12-20 00", "regular"),
    ]
    assert [lines for _, lines in invoices() if lines] == [
        [("fee", 2000)],
        [("fee", 2000)],
        [("fee", 2000), ("usage", 300), ("usage", 300), ("usage", 300)],
    ]
    thread.redeliver_everything()
    assert [kind for kind, _ in events(subscription)].count("cycle_moved") == 2
    # Sooner than the period would end: nothing is cut before Stripe's next one has begun.
    sooner = datetime(2026, 12, 5, tzinfo=UTC)
    in_dashboard(subscription, trial_end=second(sooner), proration_behavior="none")
    thread.settle()
    advance(thread, sooner)
    assert spans(subscription)[-2:] == [("11-20 00", "12-05 00", "regular"), ("12-05 00", "01-05 00", "regular")]
    assert thread.unfinished() == []


def test_a_boundary_off_the_calendar_is_held_by_name_with_the_remedy(thread: Thread) -> None:
    monthly = version_of("calendar", alignment="calendar", time_zone="UTC")
    subscription = started(thread, monthly)
    thread.settle()
    advance(thread, OCT_11)
    in_dashboard(subscription, billing_cycle_anchor="now", proration_behavior="none")
    thread.settle()

    subscription.refresh_from_db()
    assert "11 Nov 2026" in subscription.held_reason
    assert "begin one on terms that count from its start" in subscription.held_reason
    assert spans(subscription) == [("10-01 00", "11-01 00", "regular")]
    lifecycle.cancel(**said(thread, subscription), prorate=False)
    assert Subscription.objects.get().ended_at == OCT_11
    assert events(subscription)[-1] == ("ended", ACTOR)


def test_seats_changed_a_minute_before_the_renewal_are_on_it_although_no_event_told(thread: Thread) -> None:
    subscription = started(thread)
    thread.settle()
    thread.use(1_000_000, at=OCT_11)
    advance(thread, NOVEMBER - timedelta(minutes=1))
    item = at_stripe(subscription)["items"]["data"][0]["id"]
    in_dashboard(subscription, items=[{"id": item, "quantity": 3}], proration_behavior="none")
    lost = [event["id"] for event in thread.new_events() if event["type"] == "customer.subscription.updated"]
    thread.advance_our_clock_to(NOVEMBER)
    thread.sandbox.advance(NOVEMBER)
    # The renewal's own event of the subscription is lost as well.
    fresh = [event for event in thread.events() if event["type"] == "customer.subscription.updated"]
    thread._delivered.update(event["id"] for event in fresh)
    thread.settle()

    assert lost
    assert invoices()[-1] == ("paid", [("fee", 6000), ("usage", 300)])
    assert [row.seats for row in subscription.periods.order_by("starts_at")] == [1, 3]
    assert ("terms", "stripe:dashboard") in events(subscription)
    assert not InvoiceClose.objects.exclude(held_reason="").exists()
    assert gateway.retrieve(f"/v1/invoices/{at_stripe(subscription)['latest_invoice']}")["total"] == 6300
