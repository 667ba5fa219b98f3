"""Kill Bill's 2005 of field.md section E: a plan billed by the day, through the sandbox, over a change of clocks."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from billing.catalog.models import PlanVersion
from billing.invoicing.closing import advance_close
from billing.invoicing.late import settle_late_usage
from billing.invoicing.models import Invoice, InvoiceClose
from billing.invoicing.orders.carrying_out import due_orders
from billing.invoicing.orders.thresholds import order_threshold_invoices
from billing.rating.operations import accrue_changed_periods
from billing.reconciliation.operations import reconcile
from billing.stripe import gateway, poll
from billing.subscriptions import comparing, end_comparing, moving, scheduling
from billing.subscriptions.at_stripe import require_begun_there
from billing.subscriptions.errors import PlanNotOffered
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.starting import subscribe
from ledger import queries as ledger
from tests.billing.subscriptions.lives import advance, invoices, now_of, started
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread
from tests.factories import CustomerFactory, PlanVersionFactory
from tests.sandbox.client import SandboxProcess

pytestmark = pytest.mark.usefixtures("committed_db")

DAY = timedelta(days=1)
FEE, USAGE = 100, 300  # 1.00 a day in advance; a million tokens a day, which cost 3.00, in arrears


def begun(thread: Thread, version: PlanVersion, *, at: datetime) -> Subscription:
    """A subscription from that instant on."""
    thread.sandbox.advance(at)
    thread.advance_our_clock_to(at)
    subscription = started(thread, version)
    thread.settle()
    return subscription


def everything_again(thread: Thread) -> None:
    """Every event, every movement, every close and every regular task once more, on the same day."""
    thread.redeliver_everything()
    now = thread.now
    assert poll.fetch_missed_events(now=now) == []
    assert poll.fetch_missed_balance_transactions(now=now) == 0
    for close_id in InvoiceClose.objects.values_list("pk", flat=True):
        advance_close(close_id=close_id, now=now)
    accrue_changed_periods(now=now, finished_at=lambda: now)
    settle_late_usage(now=now)
    assert order_threshold_invoices(now=now) == []
    assert moving.open_due(now=now, limit=10) == scheduling.apply_due(now=now, limit=10) == 0
    assert comparing.compare_due(now=now, limit=10) == end_comparing.compare_ends_due(now=now, limit=10) == 0
    assert due_orders(now=now, limit=10) == []
    thread.settle()


def said_to_pay() -> list[tuple[str, list[tuple[str, int]]]]:
    """Our invoices that ask for something."""
    return [one for one in invoices() if one[1]]


def fee_periods() -> list[tuple[datetime, datetime]]:
    """What Stripe's fees of our invoices are for, but the trial's of nothing."""
    found = gateway.listed("/v1/invoices")
    lines = [line for invoice in found for line in invoice["lines"]["data"] if line["amount"] == FEE]
    spans = [(line["period"]["start"], line["period"]["end"]) for line in lines]
    return sorted((datetime.fromtimestamp(start, tz=UTC), datetime.fromtimestamp(end, tz=UTC)) for start, end in spans)


def require_days(thread: Thread, subscription: Subscription, boundaries: list[datetime]) -> None:
    """Our periods touch from the first boundary to the last, and everything that is kept of them agrees."""
    rows = BillingPeriod.objects.filter(subscription=subscription).order_by("starts_at")
    assert [(row.starts_at, row.ends_at) for row in rows] == list(pairwise(boundaries))
    assert [row.kind for row in rows] == ["trial"] + ["regular"] * (len(boundaries) - 2)
    assert Invoice.objects.exclude(status="paid").count() == 0
    assert thread.unfinished() == []
    assert ledger.out_of_balance() == []
    run = reconcile(range_start=boundaries[0], range_end=now_of(thread), now=thread.now, actor="user:tester")
    assert list(run.discrepancies.values_list("check_code", "subject", "left_value", "right_value")) == []


def test_killbill_2005_a_day_is_invoiced_once_with_its_own_period(thread: Thread) -> None:
    """
    E40: one day's trial and three days over the end of New York's summer time, by an anchor at 08:22:28 UTC: on each
    one invoice for that day, and none for whatever runs again on it.
    """
    first = datetime(2026, 10, 30, 8, 22, 28, tzinfo=UTC)
    days = [first + number * DAY for number in range(5)]
    subscription = begun(thread, version_of("daily", interval="day", trial_days=1, fee_minor=FEE), at=first)
    for number, today in enumerate(days[:-1]):
        advance(thread, today)
        thread.use(1_000_000, at=today + timedelta(minutes=1))
        # The trial's usage is free; from the second paid day on there is that of the day before.
        paid = [("paid", [("fee", FEE)] + [("usage", USAGE)] * (before > 0)) for before in range(number)]
        assert said_to_pay() == paid
        if number == 2:
            everything_again(thread)
        assert said_to_pay() == paid
        assert fee_periods() == list(pairwise(days[1 : number + 2]))

    assert [charge["amount"] for charge in gateway.listed("/v1/charges")] == [FEE + USAGE, FEE + USAGE, FEE]
    require_days(thread, subscription, days)


def test_killbill_2005_days_of_new_york_are_its_own_over_the_change_of_clocks(thread: Thread) -> None:
    """
    E40: 04:22:28 in New York, then from midnight to midnight there. After the trial 20:37:32 of a day are left, 0.85;
    1 November has 25 hours, is one day, and costs what a day costs.
    """
    first, new_york = datetime(2026, 10, 30, 8, 22, 28, tzinfo=UTC), ZoneInfo("America/New_York")
    plan = version_of(
        "daily", interval="day", trial_days=1, fee_minor=FEE, alignment="calendar", time_zone="America/New_York"
    )
    subscription = begun(thread, plan, at=first)
    advance(thread, first + DAY)
    part = [("paid", [("fee", 85)])]
    assert said_to_pay() == part
    days = [datetime(2026, 11, number, tzinfo=new_york).astimezone(UTC) for number in range(1, 4)]
    for number, today in enumerate(days[:-1], start=1):
        # Stripe keeps winter's hour.
        advance(thread, today.replace(hour=5))
        assert said_to_pay() == part + [("paid", [("fee", FEE)])] * number

    require_days(thread, subscription, [first, first + DAY, *days])


@pytest.mark.parametrize("interval", ["day", "week", "month"])
def test_a_calendar_is_not_begun_in_the_hour_in_which_stripe_has_not(at_sandbox: SandboxProcess, interval: str) -> None:
    """
    Monday, 1 June, 00:30 in New York is 04:30 UTC; Stripe's day there begins at 05:00. A month billed that half hour,
    and its whole fee on an invoice that no period of ours was of; a day and a week were refused by Stripe.
    """
    half_past = datetime(2026, 6, 1, 4, 30, tzinfo=UTC)
    plan = PlanVersionFactory(interval=interval, alignment="calendar", time_zone="America/New_York")
    asked: dict[str, Any] = {
        "customer_id": CustomerFactory().pk, "plan_version": plan, "seats": 1, "actor": "a", "reason": "",
    }  # fmt: skip
    with pytest.raises(PlanNotOffered, match=r"keeps at 05:00 UTC all year; start it 31 minutes later"):
        subscribe(**asked, idempotency_key="early", now=half_past)
    assert Subscription.objects.count() == 0

    for at in (
        half_past - timedelta(minutes=31),
        half_past + timedelta(minutes=31),
        datetime(2026, 12, 1, 5, tzinfo=UTC),
    ):
        require_begun_there(plan, at=at)
