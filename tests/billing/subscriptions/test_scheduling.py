"""Changes at a named instant and chains of phases, carried out by the task; refused with a remedy; cancellable."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.catalog.models import PlanVersion
from billing.subscriptions import lifecycle, scheduling
from billing.subscriptions.change_models import ScheduledChange
from billing.subscriptions.errors import ChangeRefused
from billing.subscriptions.models import Subscription
from billing.subscriptions.scheduling import Phase
from tests.billing.subscriptions.lives import (
    ACTOR,
    DECEMBER,
    NOVEMBER,
    OCT_11,
    OCT_16_NOON,
    advance,
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
OCT_20 = datetime(2026, 10, 20, tzinfo=UTC)


def plan(thread: Thread, subscription: Subscription, *phases: Phase, **others: Any) -> list[ScheduledChange]:
    return scheduling.schedule(phases=list(phases), **said(thread, subscription, **others))


def apply(thread: Thread, at: datetime) -> int:
    thread.sandbox.advance(at)
    return scheduling.apply_due(now=now_of(thread), limit=10)


def test_an_instant_within_a_period_cuts_it_exactly_there_however_late_the_task_is(thread: Thread) -> None:
    large = version_of("large", fee_minor=6000)
    subscription = started(thread)
    rows = plan(thread, subscription, Phase(OCT_16_NOON, large, 2))
    assert plan(thread, subscription, Phase(OCT_16_NOON, large, 2)) == rows
    assert apply(thread, OCT_11) == 0
    assert apply(thread, OCT_16_NOON + timedelta(minutes=7)) == 1
    assert scheduling.apply_due(now=now_of(thread), limit=10) == 0
    advance(thread, NOVEMBER)

    assert spans(subscription)[:2] == [("10-01 00", "10-16 12", "regular"), ("10-16 12", "11-01 00", "regular")]
    # Half of the month: −10.00 and +60.00, by Stripe from the same second; then 120.00 for November.
    assert invoices()[-1] == ("paid", [("fee", -1000), ("fee", 6000), ("fee", 12000)])
    assert [row.state for row in ScheduledChange.objects.all()] == ["done"]
    assert ("terms", ACTOR) in events(subscription)


def test_phases_that_begin_with_periods_are_billed_by_the_renewals(thread: Thread) -> None:
    """Small in October, large from November on, small and two seats from December on: no proration anywhere."""
    large = version_of("large", fee_minor=6000)
    subscription = started(thread)
    small = PlanVersion.objects.get(plan__code="pro")
    plan(thread, subscription, Phase(NOVEMBER, large, 1), Phase(DECEMBER, small, 2))
    for boundary in (NOVEMBER, DECEMBER):
        assert apply(thread, boundary - timedelta(hours=2)) == 0
        assert apply(thread, boundary - timedelta(minutes=59)) == 1
        advance(thread, boundary)

    assert [(row.plan_version, row.seats) for row in subscription.periods.order_by("starts_at")] == [
        (small, 1), (large, 1), (small, 2),
    ]  # fmt: skip
    assert invoices()[-2:] == [("paid", [("fee", 6000)]), ("paid", [("fee", 4000)])]
    assert thread.unfinished() == []


def test_it_can_be_cancelled_before_its_time_and_not_after(thread: Thread) -> None:
    subscription = started(thread)
    small = PlanVersion.objects.get()
    [row, later] = plan(thread, subscription, Phase(OCT_11, small, 2), Phase(OCT_20, small, 3))
    told: dict[str, Any] = {"actor": ACTOR, "reason": "not any more", "now": now_of(thread)}
    for _ in range(2):
        assert scheduling.cancel_scheduled(scheduled_id=row.pk, **told).state == "cancelled"
    assert apply(thread, OCT_20) == 1
    with pytest.raises(ChangeRefused, match="cannot be cancelled"):
        scheduling.cancel_scheduled(scheduled_id=later.pk, **told)
    assert [one.seats for one in subscription.periods.order_by("starts_at")] == [1, 3]


def test_one_that_cannot_be_carried_out_is_refused_with_the_remedy_and_the_end_cancels_the_rest(thread: Thread) -> None:
    large = version_of("large", fee_minor=6000, max_seats=9)
    subscription = started(thread)
    plan(thread, subscription, Phase(OCT_11, large, 2), Phase(OCT_20, large, 3))
    PlanVersion.objects.filter(pk=large.pk).update(status="retired", retired_at=now_of(thread))
    assert apply(thread, OCT_11) == 1
    refused = ScheduledChange.objects.earliest("effective_at")
    assert refused.state == "refused"
    assert "choose a published version" in refused.detail
    lifecycle.cancel(**said(thread, subscription), prorate=False)
    assert ScheduledChange.objects.latest("effective_at").state == "cancelled"
    assert apply(thread, OCT_20) == 0


def test_a_pause_until_an_instant_ends_by_itself(thread: Thread) -> None:
    subscription = started(thread)
    thread.sandbox.advance(OCT_11)
    lifecycle.pause(**said(thread, subscription), until=OCT_20)
    assert apply(thread, OCT_20) == 1

    assert [kind for *_, kind in spans(subscription)] == ["regular", "paused", "regular"]
    assert events(subscription)[-1] == ("resumed", ACTOR)


def test_what_cannot_be_scheduled_is_said_at_once(thread: Thread) -> None:
    subscription = started(thread)
    small = PlanVersion.objects.get()
    yearly = version_of("yearly", interval="year")
    for phases, field, words in (
        ([Phase(OCT_20, small, 2), Phase(OCT_11, small, 1)], "phases", "order"),
        ([], "phases", "1 to 24"),
        ([Phase(now_of(thread), small, 2)], "effective_at", "not ahead"),
        ([Phase(OCT_20, yearly, 1)], "", "begin another one"),
    ):
        with pytest.raises(ChangeRefused, match=words) as refusal:
            plan(thread, subscription, *phases)
        assert refusal.value.field == field
    plan(thread, subscription, Phase(OCT_20, small, 2))
    with pytest.raises(ChangeRefused, match="something else before") as conflict:
        plan(thread, subscription, Phase(OCT_20, small, 3))
    assert conflict.value.is_conflict
    with pytest.raises(ChangeRefused, match="already"):
        plan(thread, subscription, Phase(OCT_20, small, 3), key="another")


def test_stripe_s_silence_puts_it_off_and_it_is_done_once(thread: Thread) -> None:
    subscription = started(thread)
    plan(thread, subscription, Phase(OCT_11, PlanVersion.objects.get(), 4))
    thread.sandbox.advance(OCT_11)
    thread.sandbox.fault(mode="error_500_after_commit", operation="POST /v1/subscriptions/.*", times=3)
    assert scheduling.apply_due(now=now_of(thread), limit=10) == 0
    assert "did not answer" in ScheduledChange.objects.get().detail
    assert scheduling.apply_due(now=now_of(thread) + timedelta(minutes=6), limit=10) == 1
    assert [row.seats for row in subscription.periods.order_by("starts_at")] == [1, 4]
