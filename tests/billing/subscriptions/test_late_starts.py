"""A start that reaches Stripe hours after it was agreed on: its first period ends with Stripe's, and is billed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors

from billing.catalog.models import PlanVersion
from billing.stripe.errors import StripeRefused, StripeUnavailable
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.operations import start_at_stripe
from tests.billing.subscriptions.lives import advance, at_stripe, invoices, now_of, spans, started
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread
from tests.factories import SubscriptionFactory

pytestmark = pytest.mark.usefixtures("committed_db")
LATE = timedelta(hours=2, minutes=30)
OCT_1 = datetime(2026, 10, 1, tzinfo=UTC)


def started_late(
    thread: Thread, version: PlanVersion | None = None, *, late: timedelta = LATE, **terms: Any
) -> Subscription:
    """Agreed on while Stripe is silent, and repeated under its key `late` after that."""
    agreed_at = now_of(thread)
    thread.sandbox.fault(mode="error_500", operation="POST /v1/subscriptions$", times=9)
    with pytest.raises(StripeUnavailable):
        started(thread, version, **terms)
    thread.sandbox.clear_faults()
    waiting = Subscription.objects.get()
    assert waiting.status == "pending"
    thread.sandbox.advance(agreed_at + late)
    thread.advance_our_clock_to(now_of(thread))
    late_start = start_at_stripe(subscription_id=waiting.pk, now=now_of(thread))
    thread.settle()  # Stripe lists no event that is older than a month
    return late_start


def test_a_month_that_began_late_at_stripe_is_billed_whole(thread: Thread) -> None:
    """Usage before Stripe's beginning is billed too: 3.00, and 6.00 on the last day, after what was our end."""
    subscription = started_late(thread)
    assert spans(subscription) == [("10-01 00", "11-01 02", "regular")]
    thread.use(1_000_000, at=OCT_1 + timedelta(hours=1))
    thread.use(2_000_000, at=datetime(2026, 11, 1, 1, tzinfo=UTC))
    advance(thread, datetime(2026, 11, 1, 2, 30, tzinfo=UTC))

    assert spans(subscription)[:2] == [("10-01 00", "11-01 02", "regular"), ("11-01 02", "12-01 02", "regular")]
    assert thread.unfinished() == []
    assert sorted(invoices()) == [("paid", [("fee", 2000)]), ("paid", [("fee", 2000), ("usage", 900)])]
    assert list(subscription.periods.order_by("starts_at").values_list("state", flat=True)) == ["closed", "open"]


def test_a_late_start_in_its_trial_keeps_the_trial_s_end(thread: Thread) -> None:
    subscription = started_late(thread, version_of("tried", trial_days=14))
    advance(thread, datetime(2026, 10, 15, tzinfo=UTC))

    assert spans(subscription)[:2] == [("10-01 00", "10-15 00", "trial"), ("10-15 00", "11-15 00", "regular")]
    assert thread.unfinished() == []
    assert invoices()[-1] == ("paid", [("fee", 2000)])


def test_a_start_after_the_trial_is_over_goes_on_from_the_trial_s_end(thread: Thread) -> None:
    """It was free as long as was agreed; from then on Stripe's first month, and what was used before it, is billed."""
    brief = version_of("brief", trial_days=1)
    with pytest.raises(StripeRefused, match="in the future"):
        started_late(thread, brief, late=timedelta(days=1, hours=3))
    subscription = started(thread, brief, idempotency_key="another")
    thread.settle()
    assert (subscription.status, spans(subscription)) == (
        "active", [("10-01 00", "10-02 00", "trial"), ("10-02 00", "11-02 03", "regular")],
    )  # fmt: skip
    thread.use(1_000_000, at=datetime(2026, 10, 2, 1, tzinfo=UTC))
    advance(thread, datetime(2026, 11, 2, 3, tzinfo=UTC))

    assert thread.unfinished() == []
    assert sorted(invoices()) == [("paid", [("fee", 2000)]), ("paid", [("fee", 2000), ("usage", 300)])]
    assert list(subscription.periods.order_by("starts_at").values_list("state", flat=True)) == [
        "closed",
        "closed",
        "open",
    ]


def test_a_late_start_within_a_calendar_month_ends_with_it(thread: Thread) -> None:
    subscription = started_late(thread, version_of("calendar", alignment="calendar"))
    (item,) = at_stripe(subscription)["items"]["data"]
    assert spans(subscription) == [("10-01 00", "11-01 00", "regular")]
    assert item["current_period_end"] == datetime(2026, 11, 1, tzinfo=UTC).timestamp()


def test_a_late_start_across_the_end_of_a_calendar_month_bills_both(thread: Thread) -> None:
    """Agreed on 23:00 of the 31st and begun 01:30 of the 1st: the hour's usage goes onto the invoice of December."""
    thread.sandbox.advance(datetime(2026, 10, 31, 23, tzinfo=UTC))
    subscription = started_late(thread, version_of("calendar", alignment="calendar"))
    thread.use(1_000_000, at=datetime(2026, 10, 31, 23, 30, tzinfo=UTC))
    thread.use(1_000_000, at=datetime(2026, 11, 5, tzinfo=UTC))
    advance(thread, datetime(2026, 12, 1, tzinfo=UTC))

    assert spans(subscription) == [
        ("10-31 23", "11-01 00", "regular"), ("11-01 00", "12-01 00", "regular"), ("12-01 00", "01-01 00", "regular"),
    ]  # fmt: skip
    assert thread.unfinished() == []
    assert invoices()[-1] == ("paid", [("fee", 2000), ("usage", 300), ("usage", 300)])


LONGER = "UPDATE billing_billingperiod SET ends_at = ends_at + interval '1 hour'"
BIND = "UPDATE billing_subscription SET stripe_subscription_id = 'sub_1'"


@pytest.mark.parametrize("statements", [LONGER, f"{BIND}; {LONGER}"])
def test_a_period_ends_later_only_as_its_subscription_is_bound(
    statements: str, owner_connection: psycopg.Connection
) -> None:
    SubscriptionFactory()
    with pytest.raises(errors.IntegrityError) as refusal, owner_connection.transaction():
        owner_connection.execute(statements.encode())
    assert refusal.value.diag.constraint_name == "billing_billingperiod_terms"
    with owner_connection.transaction():
        owner_connection.execute(f"{LONGER}; {BIND}".encode())
    assert f"{BillingPeriod.objects.get().ends_at:%H}" == "01"
