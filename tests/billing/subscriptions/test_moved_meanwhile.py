"""
Boundaries that somebody moved in Stripe's dashboard while something else was under way here: a pause, a scheduled
change. Figures worked out by hand: 20.00 a month, 3.00 for 1,000,000 tokens.
"""

from datetime import UTC, datetime, timedelta

import pytest

from billing.invoicing.models import InvoiceClose
from billing.subscriptions import lifecycle, scheduling
from billing.subscriptions.models import Subscription
from billing.subscriptions.scheduling import Phase
from tests.billing.subscriptions.lives import (
    OCT_11,
    OCT_16_NOON,
    advance,
    in_dashboard,
    invoices,
    now_of,
    said,
    spans,
    started,
)
from tests.billing.subscriptions.test_moved_at_stripe import OCT_25, second
from tests.billing.subscriptions.test_moved_unheard import lose, pass_unheard, require_gapless
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread

pytestmark = pytest.mark.usefixtures("committed_db", "in_november")
OCT_10 = datetime(2026, 10, 10, tzinfo=UTC)
NOV_5, DEC_10 = datetime(2026, 11, 5, tzinfo=UTC), datetime(2026, 12, 10, tzinfo=UTC)


def test_a_billing_date_moved_in_a_pause(thread: Thread) -> None:
    subscription = started(thread)
    advance(thread, OCT_11)
    thread.use(1_000_000, at=OCT_10)
    lifecycle.pause(**said(thread, subscription, "first"))
    advance(thread, OCT_16_NOON)
    in_dashboard(subscription, billing_cycle_anchor="now", proration_behavior="none")
    thread.settle()
    assert spans(subscription) == [
        ("10-01 00", "10-11 00", "regular"), ("10-11 00", "10-16 12", "paused"), ("10-16 12", "11-16 12", "paused"),
    ]  # fmt: skip
    thread.use(4_000_000, at=OCT_16_NOON + timedelta(hours=1))
    advance(thread, OCT_25)
    lifecycle.resume(**said(thread, subscription, "resumed"))  # nobody paid for what began in the pause
    thread.settle()
    assert invoices() == [("paid", [("fee", 2000)]), ("void", [("fee", 2000)]), ("paid", [("fee", 2000)])]
    advance(thread, NOV_5)
    lifecycle.pause(**said(thread, subscription, "second"))
    in_dashboard(subscription, trial_end=second(DEC_10), proration_behavior="none")
    thread.settle()
    advance(thread, NOV_5 + timedelta(days=5))
    lifecycle.resume(**said(thread, subscription, "again"))  # what was paid goes on, and no fee before the date
    thread.settle()
    advance(thread, datetime(2026, 11, 25, tzinfo=UTC))
    advance(thread, DEC_10)

    assert spans(subscription)[2:] == [
        ("10-16 12", "10-25 00", "paused"), ("10-25 00", "11-05 00", "regular"), ("11-05 00", "11-10 00", "paused"),
        ("11-10 00", "11-25 00", "regular"), ("11-25 00", "12-10 00", "regular"), ("12-10 00", "01-10 00", "regular"),
    ]  # fmt: skip
    assert [lines for _, lines in invoices()[3:] if lines] == [[("fee", 2000), ("usage", 300)]]
    require_gapless(subscription)
    assert thread.unfinished() == []


def test_a_billing_date_moved_in_a_pause_of_which_nobody_told(thread: Thread) -> None:
    subscription = started(thread)
    advance(thread, OCT_11)
    lifecycle.pause(**said(thread, subscription, "first"))
    advance(thread, OCT_16_NOON)
    in_dashboard(subscription, billing_cycle_anchor="now", proration_behavior="none")
    lose(thread)
    advance(thread, OCT_25)
    pass_unheard(thread, OCT_16_NOON + timedelta(days=31))

    assert spans(subscription)[1:] == [
        ("10-11 00", "10-16 12", "paused"), ("10-16 12", "11-16 12", "paused"), ("11-16 12", "12-16 12", "paused"),
    ]  # fmt: skip
    assert {status for status, _ in invoices()[1:]} == {"void"}
    assert thread.unfinished() == []


def test_a_change_with_the_end_of_a_trial_that_was_made_shorter_is_billed_by_its_renewal(thread: Thread) -> None:
    large = version_of("large", fee_minor=6000)
    subscription = started(thread, version_of("trial", trial_days=14))
    thread.settle()
    scheduling.schedule(phases=[Phase(OCT_10, large, 1)], **said(thread, subscription, "more"))
    in_dashboard(subscription, trial_end=second(OCT_10), proration_behavior="none")
    thread.settle()
    thread.sandbox.advance(OCT_10 - timedelta(minutes=30))
    assert scheduling.apply_due(now=now_of(thread), limit=10) == 1
    advance(thread, OCT_10)

    assert terms(subscription) == [("10-01 00", "10-10 00", "trial"), ("10-10 00", "11-10 00", "large")]
    assert invoices()[-1] == ("paid", [("fee", 6000)])


def test_a_change_in_the_second_in_which_a_trial_ended_unheard_comes_after_that(thread: Thread) -> None:
    """What Stripe's renewal billed on the old terms is opened on them; from the change on each is prorated."""
    large = version_of("large", fee_minor=6000)
    subscription = started(thread, version_of("trial", trial_days=14))
    thread.settle()
    scheduling.schedule(phases=[Phase(OCT_10, large, 1)], **said(thread, subscription, "more"))
    in_dashboard(subscription, trial_end=second(OCT_10), proration_behavior="none")
    assert lose(thread)
    thread.sandbox.advance(OCT_10 + timedelta(minutes=20))
    assert scheduling.apply_due(now=now_of(thread), limit=10) == 1
    advance(thread, OCT_10 + timedelta(minutes=40))

    assert terms(subscription) == [
        ("10-01 00", "10-10 00", "trial"), ("10-10 00", "10-10 00", "trial"), ("10-10 00", "11-10 00", "large"),
    ]  # fmt: skip
    assert set(InvoiceClose.objects.values_list("held_reason", flat=True)) == {""}
    assert invoices()[-1] == ("paid", [("fee", 2000)])
    assert [one.kind for one in subscription.periods.order_by("starts_at")] == ["trial", "regular", "regular"]
    waiting = [one["amount"] for one in thread.sandbox.state()["invoiceitem"] if one["amount"]]
    assert sorted(waiting) == [-2000, 5997]  # all but 20 minutes of 31 days
    assert thread.unfinished() == []


def terms(subscription: Subscription) -> list[tuple[str, str, str]]:
    """Where each period begins and ends, and the plan of its terms."""
    rows = subscription.periods.select_related("plan_version__plan").order_by("starts_at")
    return [(f"{row.starts_at:%m-%d %H}", f"{row.ends_at:%m-%d %H}", row.plan_version.plan.code) for row in rows]
