"""
Boundaries that were moved at Stripe, and of which nobody told, or too late: no gap, and usage billed once. Figures
worked out by hand; 1,000,000 tokens are 3.00.
"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from billing.subscriptions import moving
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import project_subscription
from config import clock
from tests.billing.subscriptions.lives import (
    NOVEMBER,
    OCT_11,
    advance,
    at_stripe,
    events,
    in_dashboard,
    invoices,
    now_of,
    spans,
    started,
)
from tests.billing.subscriptions.test_moved_at_stripe import OCT_20, OCT_25, second
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread, post_event

pytestmark = pytest.mark.usefixtures("committed_db", "in_november")
OCT_15, NOV_20 = datetime(2026, 10, 15, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)


def lose(thread: Thread, beginning: str = "customer.subscription.updated") -> list[dict[str, object]]:
    """What Stripe has told of since, and nobody hears of."""
    lost = [one for one in thread.events() if one["type"].startswith(beginning) and one["id"] not in thread._delivered]
    thread._delivered.update(one["id"] for one in lost)
    return lost


def pass_unheard(thread: Thread, to: datetime) -> None:
    """Time passes; of the subscription no event comes."""
    thread.advance_our_clock_to(to)
    thread.sandbox.advance(to)
    assert lose(thread)
    thread.settle()


def require_gapless(subscription: Subscription) -> None:
    rows = list(subscription.periods.order_by("starts_at"))
    assert all(before.ends_at == after.starts_at for before, after in pairwise(rows))


def test_a_longer_trial_of_which_nobody_told_is_found_by_its_renewal(thread: Thread) -> None:
    subscription = started(thread, version_of("trial", trial_days=14))
    thread.settle()
    in_dashboard(subscription, trial_end=second(OCT_25))
    assert lose(thread)
    thread.use(1_000_000, at=OCT_20)
    pass_unheard(thread, OCT_25)

    assert spans(subscription) == [
        ("10-01 00", "10-15 00", "trial"), ("10-15 00", "10-25 00", "trial"), ("10-25 00", "11-25 00", "regular"),
    ]  # fmt: skip
    subscription.refresh_from_db()
    assert (subscription.trial_ends_at, subscription.status) == (OCT_25, "active")
    assert invoices()[-1] == ("paid", [("fee", 2000)])
    assert thread.unfinished() == []


def test_a_billing_date_that_began_unheard_is_found_by_the_next_renewal(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: thread.now)  # what arrives waits four days from then
    subscription = started(thread)
    thread.settle()
    advance(thread, OCT_11)
    in_dashboard(subscription, billing_cycle_anchor="now", proration_behavior="none")
    assert lose(thread)
    thread.settle()
    assert spans(subscription) == [("10-01 00", "11-01 00", "regular")]
    thread.use(1_000_000, at=OCT_11 - timedelta(days=1))
    thread.use(1_000_000, at=OCT_25)
    thread.use(1_000_000, at=NOVEMBER + timedelta(days=5))
    pass_unheard(thread, NOVEMBER + timedelta(days=10))

    assert spans(subscription) == [
        ("10-01 00", "10-11 00", "regular"), ("10-11 00", "11-11 00", "regular"), ("11-11 00", "12-11 00", "regular"),
    ]  # fmt: skip
    assert invoices()[-1] == ("paid", [("fee", 2000), ("usage", 300), ("usage", 600)])
    # Put into a trial to move the date, the date having begun again meanwhile: told before the renewal that was first.
    thread.settle()
    december = datetime(2026, 12, 11, tzinfo=UTC)
    thread.advance_our_clock_to(december)
    thread.sandbox.advance(december)
    late = lose(thread, "")
    thread.sandbox.advance(december + timedelta(minutes=30))
    in_dashboard(subscription, trial_end=second(december + timedelta(days=9)), proration_behavior="none")
    for event in thread.new_events():
        assert post_event(event).status_code == 200
    thread.now += timedelta(minutes=1)
    thread._project()
    waits = [error for kind, _, error in thread.unfinished() if kind == "customer.subscription.updated"]
    assert len(waits) == 1
    assert "renewal that is not known here" in waits[0]
    assert spans(subscription)[-1] == ("11-11 00", "12-11 00", "regular")
    for event in late:
        assert post_event(event).status_code == 200
    thread.settle()
    assert spans(subscription)[-1] == ("12-11 00", "01-11 00", "regular")
    advance(thread, december + timedelta(days=9))
    assert spans(subscription)[-2:] == [("12-11 00", "12-20 00", "regular"), ("12-20 00", "01-20 00", "regular")]
    require_gapless(subscription)
    assert thread.unfinished() == []


def test_a_boundary_moved_back_after_the_further_period_was_opened(thread: Thread) -> None:
    subscription = started(thread, version_of("trial", trial_days=14))
    thread.settle()
    in_dashboard(subscription, trial_end=second(OCT_25))
    project_subscription(at_stripe(subscription), now=now_of(thread))
    assert moving.open_due(now=OCT_15 - timedelta(minutes=30), limit=10) == 1
    thread.sandbox.advance(OCT_15 - timedelta(minutes=20))
    in_dashboard(subscription, trial_end=second(OCT_15))
    project_subscription(at_stripe(subscription), now=now_of(thread))
    advance(thread, OCT_15)
    thread.use(1_000_000, at=OCT_20)
    advance(thread, datetime(2026, 11, 15, tzinfo=UTC))

    assert spans(subscription) == [
        ("10-01 00", "10-15 00", "trial"), ("10-15 00", "10-15 00", "trial"),  # a second
        ("10-15 00", "11-15 00", "regular"), ("11-15 00", "12-15 00", "regular"),
    ]  # fmt: skip
    require_gapless(subscription)
    subscription.refresh_from_db()
    assert (subscription.held_reason, subscription.anchor_at) == ("", OCT_15)
    assert invoices()[-2:] == [("paid", [("fee", 2000)]), ("paid", [("fee", 2000), ("usage", 300)])]
    # A date moved twice says from where to where.
    for day in (datetime(2026, 12, 24, tzinfo=UTC), datetime(2026, 12, 10, tzinfo=UTC)):
        in_dashboard(subscription, trial_end=second(day), proration_behavior="none")
        thread.settle()
    last = subscription.events.filter(kind="cycle_moved").last()
    assert last is not None
    assert (last.before, last.after) == ("24 Dec 2026 00:00:00 UTC", "10 Dec 2026 00:00:00 UTC")


def test_terms_of_a_calendar_that_are_put_into_a_trial_are_held_at_once(thread: Thread) -> None:
    subscription = started(thread, version_of("calendar", alignment="calendar", time_zone="UTC"))
    thread.settle()
    advance(thread, OCT_11)
    in_dashboard(subscription, trial_end=second(NOV_20), proration_behavior="none")
    thread.settle()

    subscription.refresh_from_db()
    assert "20 Nov 2026 00:00:00 UTC at Stripe and 01 Nov 2026 00:00:00 UTC here" in subscription.held_reason
    in_dashboard(subscription, trial_end=second(NOVEMBER), proration_behavior="none")
    thread.settle()
    subscription.refresh_from_db()
    assert (subscription.held_reason, events(subscription)[-1][0]) == ("", "released")
