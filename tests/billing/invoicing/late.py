"""Worlds with late usage: one customer, one closed October, and what arrives after it."""

from datetime import UTC, datetime, timedelta

from billing.invoicing.late import settle_late_usage
from billing.invoicing.models import Invoice
from billing.rating.models import LateUsage
from billing.rating.operations import accrue_period
from billing.reconciliation.operations import reconcile
from billing.stripe import gateway
from billing.subscriptions.models import BillingPeriod, Subscription
from ledger import queries as ledger
from tests.billing.thread import SECOND_MONTH, START, Thread

OCT_10 = datetime(2026, 10, 10, 12, tzinfo=UTC)
OCT_20 = datetime(2026, 10, 20, 15, 30, tzinfo=UTC)
NOV_10 = datetime(2026, 11, 10, 12, tzinfo=UTC)
THIRD_MONTH = datetime(2026, 12, 1, tzinfo=UTC)


def bill_october(thread: Thread, *, tokens: int = 1_000_000) -> Invoice:
    """Ada uses a million tokens on 10 October, 3.00 USD, and pays 20.00 + 3.00 on 1 November."""
    thread.subscribe()
    thread.use(tokens, at=OCT_10)
    thread.settle()
    thread.sandbox.advance(SECOND_MONTH)
    thread.settle()
    return Invoice.objects.get(billing_reason="subscription_cycle")


def bill_november(thread: Thread) -> Invoice:
    thread.advance_our_clock_to(THIRD_MONTH)
    thread.sandbox.advance(THIRD_MONTH)
    thread.settle()
    return Invoice.objects.order_by("-created_at")[0]


def cancel(thread: Thread) -> None:
    """The subscription ends at once, at Stripe, without an invoice."""
    stripe_id = Subscription.objects.get().stripe_subscription_id
    gateway.request("delete", f"/v1/subscriptions/{stripe_id}")
    thread.settle()
    assert Subscription.objects.get().status == "canceled"


def notice(thread: Thread) -> None:
    """What arrived reaches its windows, and the task looks at it; documents are made and paid."""
    thread.aggregate()
    settle_late_usage(now=thread.now)
    thread.settle()


def october() -> BillingPeriod:
    return BillingPeriod.objects.get(starts_at=START)


def late_usage() -> LateUsage:
    return LateUsage.objects.get()


def assert_reconciled(thread: Thread) -> None:
    assert thread.unfinished() == []
    for period in BillingPeriod.objects.filter(state="open"):
        accrue_period(period_id=period.pk, now=thread.now)
    until = datetime.fromtimestamp(thread.sandbox.now(), tz=UTC) + timedelta(hours=1)
    run = reconcile(range_start=START, range_end=until, now=thread.now, actor="user:tester")
    found = [(one.subject, one.left_value, one.right_value) for one in run.discrepancies.all()]
    assert found == [], found
    assert ledger.out_of_balance() == []
