"""Scheduled changes around a renewal, after failures nobody thought of, and an end within a pause."""

from datetime import timedelta
from typing import Any

import pytest

from billing.subscriptions import lifecycle, operations, scheduling
from billing.subscriptions.change_models import ScheduledChange
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.scheduling import Phase
from tests.billing.subscriptions.lives import (
    DECEMBER,
    NOVEMBER,
    OCT_11,
    OCT_16_NOON,
    advance,
    invoices,
    now_of,
    said,
    spans,
    started,
)
from tests.billing.subscriptions.test_scheduling import plan
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread

pytestmark = pytest.mark.usefixtures("committed_db")
MINUTE = timedelta(minutes=1)


def due(thread: Thread, after: timedelta = timedelta(0)) -> int:
    return scheduling.apply_due(now=now_of(thread) + after, limit=10)


def row() -> ScheduledChange:
    return ScheduledChange.objects.latest("pk")


def test_one_that_missed_its_renewal_counts_from_the_period_that_began(thread: Thread) -> None:
    """The task stood still: told before our next period is open, large would be billed from December on only."""
    subscription = started(thread)
    plan(thread, subscription, Phase(NOVEMBER, version_of("large", fee_minor=6000), 1))
    thread.sandbox.advance(NOVEMBER + 10 * MINUTE)
    assert due(thread) == 0
    assert "Waits for the period that begins 2026-11-01" in row().detail
    thread.advance_our_clock_to(now_of(thread))
    thread.settle()
    assert due(thread, 6 * MINUTE) == 1

    assert row().state == "done"
    assert spans(subscription) == [
        ("10-01 00", "11-01 00", "regular"), ("11-01 00", "11-01 00", "regular"), ("11-01 00", "12-01 00", "regular"),
    ]  # fmt: skip
    advance(thread, DECEMBER)
    # −20.00 and +60.00 of all but ten minutes of November, and December.
    [(_, lines)] = [one for one in invoices() if len(one[1]) > 1]
    assert lines[0][1] < -1990
    assert lines[-2][1] + lines[-1][1] > 11900


def test_one_that_stripe_never_got_before_the_renewal_is_told_anew_after_it(thread: Thread) -> None:
    subscription = started(thread)
    plan(thread, subscription, Phase(NOVEMBER, version_of("large", fee_minor=6000), 1))
    thread.sandbox.advance(NOVEMBER - 30 * MINUTE)
    thread.sandbox.fault(mode="error_500", operation="POST /v1/subscriptions/.*", times=9)
    assert due(thread) == 0
    thread.sandbox.clear_faults()
    advance(thread, NOVEMBER + 20 * MINUTE)
    assert due(thread) == 1

    assert row().state == "done"
    assert [one.plan_version.plan.code for one in subscription.periods.order_by("starts_at")] == ["pro", "pro", "large"]
    assert sum(line[1] for line in lines_waiting(thread)) > 3900


def lines_waiting(thread: Thread) -> list[tuple[str, int]]:
    return [(item["description"], item["amount"]) for item in thread.sandbox.state()["invoiceitem"]]


def test_a_period_that_never_opens_is_waited_for_a_day(thread: Thread) -> None:
    subscription = started(thread)
    plan(thread, subscription, Phase(NOVEMBER - timedelta(hours=2), version_of("large", fee_minor=6000), 1))
    thread.sandbox.advance(NOVEMBER + 10 * MINUTE)
    assert due(thread) == 0
    assert due(thread, timedelta(days=1)) == 1
    assert (row().state, "no period follows" in row().detail) == ("refused", True)


def test_what_stripe_has_done_is_not_called_refused(thread: Thread, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer cannot be followed at this moment: the webhook does that."""
    subscription = started(thread)
    plan(thread, subscription, Phase(OCT_11, version_of("large", fee_minor=6000), 1))
    thread.sandbox.advance(OCT_11 + MINUTE)

    def fails(*_: Any, **__: Any) -> None:
        raise operations.SubscriptionError("not now")

    monkeypatch.setattr(operations, "apply_change", fails)
    assert due(thread) == 0
    assert (row().state, "not now" in row().detail) == ("waiting", True)
    monkeypatch.undo()
    assert due(thread, 6 * MINUTE) == 1
    assert row().state == "done"
    assert [one.plan_version.plan.code for one in subscription.periods.order_by("starts_at")] == ["pro", "large"]


def test_one_that_fails_unexpectedly_holds_up_no_other(thread: Thread) -> None:
    """Its add-on names a version that is none; the next row is another customer's."""
    subscription, other = started(thread), thread.subscribe("bob")
    large = version_of("large", fee_minor=6000)
    ScheduledChange.objects.create(
        subscription=subscription, plan_version=large, seats=1, add_ons=[[0, 1]], effective_at=OCT_11, reason="r",
        requested_by="user:eve", requested_at=now_of(thread), idempotency_key="odd", next_attempt_at=OCT_11,
    )  # fmt: skip
    plan(thread, other, Phase(OCT_11 + MINUTE, large, 2))
    thread.sandbox.advance(OCT_11 + 2 * MINUTE)
    assert due(thread) == 1

    odd, followed = ScheduledChange.objects.order_by("pk")
    assert (odd.state, odd.detail, followed.state) == ("waiting", "KeyError: 0", "done")
    assert odd.next_attempt_at > now_of(thread)


def test_a_phase_waits_for_the_one_before(thread: Thread) -> None:
    """Stripe is silent about the first: done after the second, it would undo that."""
    subscription = started(thread)
    small = subscription.plan_version
    plan(thread, subscription, Phase(OCT_11, small, 2), Phase(OCT_11 + 2 * MINUTE, small, 3))
    thread.sandbox.advance(OCT_11 + MINUTE)
    thread.sandbox.fault(mode="error_500", operation="POST /v1/subscriptions/.*", times=9)
    assert due(thread) == 0
    thread.sandbox.clear_faults()
    thread.sandbox.advance(OCT_11 + 3 * MINUTE)
    assert due(thread) == 0
    assert due(thread, 4 * MINUTE) == 2
    assert [one.seats for one in subscription.periods.order_by("starts_at")] == [1, 2, 3]


def test_an_end_within_a_pause_opens_no_period_that_is_billed(thread: Thread) -> None:
    """The renewal in the pause was not heard of when the end was: what lies between is paused, too."""
    subscription = started(thread)
    thread.sandbox.advance(OCT_16_NOON)
    lifecycle.pause(**said(thread, subscription))
    thread.sandbox.advance(NOVEMBER + timedelta(days=9))
    lifecycle.cancel(**said(thread, subscription), prorate=False)

    assert spans(subscription) == [
        ("10-01 00", "10-16 12", "regular"), ("10-16 12", "11-01 00", "paused"), ("11-01 00", "11-10 00", "paused"),
    ]  # fmt: skip
    assert BillingPeriod.objects.latest("starts_at").allowances.get().amount is None
