"""
Ends that came otherwise than they were said, and what a reactivation on a calendar asks for. Figures worked out by
hand: 20.00 a month of 31 days, 3.00 for 1,000,000 tokens.
"""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from billing.stripe import gateway
from billing.subscriptions import lifecycle
from billing.subscriptions.change_models import EndOutcome
from billing.subscriptions.end_comparing import compare_ends_due
from billing.subscriptions.end_previews import preview_end
from billing.subscriptions.ending import end_at
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import change_terms, create_subscription
from billing.subscriptions.paying_again import what_is_paid_again
from billing.subscriptions.starting import reactivate
from tests.billing.invoicing.ordering import carry_out_all
from tests.billing.subscriptions.lives import (
    ACTOR,
    OCT_11,
    OCT_16_NOON,
    advance,
    invoices,
    now_of,
    said,
    started,
)
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread
from tests.factories import CustomerFactory, PlanVersionFactory

pytestmark = pytest.mark.usefixtures("committed_db")
OCT_20, OCT_25 = datetime(2026, 10, 20, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)


def test_an_end_that_came_otherwise_says_in_what(thread: Thread) -> None:
    """Planned for the 25th with its fee given back; somebody ended it in the dashboard on the 20th without that."""
    subscription = started(thread)
    thread.use(1_000_000, at=OCT_11 - timedelta(days=1))
    advance(thread, OCT_11)
    end = preview_end(
        subscription_id=subscription.pk, how="at", at=OCT_25, prorate=True, actor=ACTOR, now=now_of(thread)
    )  # fmt: skip
    lifecycle.cancel_at_date(**said(thread, subscription), at=OCT_25, prorate=True, preview=end)
    advance(thread, OCT_20)
    thread.use(2_000_000, at=OCT_16_NOON)
    gateway.request("delete", f"/v1/subscriptions/{Subscription.objects.get().stripe_subscription_id}")
    thread.settle()  # it is ended by its event, and the closing invoice ordered
    carry_out_all(thread)
    assert compare_ends_due(now=OCT_20 + timedelta(hours=3), limit=10) == 0  # an invoice may give it back yet
    assert compare_ends_due(now=OCT_20 + timedelta(days=3), limit=10) == 1

    ended, fee, usage = EndOutcome.objects.get().differences
    assert ended == "It ended 20 Oct 2026 00:00:00 UTC, and was to end 25 Oct 2026 00:00:00 UTC"
    assert fee == "The fee: −$4.52 said, −$7.75 for the second of the end, $0.00 invoiced"  # 7 and 12 of 31 days
    assert usage == "The usage: $3.00 said, as rated then, $9.00 invoiced"


def test_a_reactivation_on_a_calendar_asks_for_what_it_said(thread: Thread) -> None:
    subscription = started(thread, version_of("calendar", alignment="calendar", time_zone="UTC"))
    advance(thread, OCT_16_NOON)
    lifecycle.cancel(**said(thread, subscription, "end"), prorate=False)
    carry_out_all(thread)
    thread.sandbox.advance(OCT_20)
    paid = what_is_paid_again(Subscription.objects.get(), now=now_of(thread))

    # 12 of 31 days of a new fee; of the old one 15.5 were paid and are nobody's.
    assert (paid.fee_minor, paid.from_balance_minor, paid.unused_minor) == (774, 0, 1000)
    assert paid.unused_until == datetime(2026, 11, 1, tzinfo=UTC)
    reactivate(**said(thread, subscription, "again"))
    thread.settle()
    assert invoices()[-1] == ("paid", [("fee", 774)])


def test_what_an_earlier_change_gave_back_was_not_given_back_by_the_end(thread: Thread) -> None:
    """The second seat's credit waits for an invoice, which the end brings; of the first 15.5 of 31 days are lost."""
    subscription = started(thread, seats=2)
    advance(thread, OCT_11)
    change_terms(**said(thread, subscription, "fewer"), plan_version=subscription.plan_version, seats=1)
    advance(thread, OCT_16_NOON)
    lifecycle.cancel(**said(thread, subscription, "end"), prorate=False)
    thread.settle()
    carry_out_all(thread)
    assert what_is_paid_again(Subscription.objects.get(), now=now_of(thread)).unused_minor == 1000


@pytest.mark.parametrize(
    ("ended", "cycle", "last"),
    [
        ("04:30", ("2026-10-21 05:00", "2026-10-22 05:00"), "04:30"),  # before Stripe's renewal
        ("04:30", ("2026-10-21 05:00", "2026-10-22 04:30"), "04:30"),  # with Stripe's period: as it was planned
        ("05:00", ("2026-10-21 05:00", "2026-10-22 05:00"), "05:00"),  # with its boundary
        ("05:15", ("2026-10-22 05:00", "2026-10-23 05:00"), "05:15"),  # after a renewal that was not heard of
        ("04:00", ("2026-10-22 04:00", "2026-10-23 04:00"), None),
    ],
)
def test_an_end_beside_the_calendars_midnight_in_summer(ended: str, cycle: tuple[str, str], last: str | None) -> None:
    """
    New York's days begin at 04:00 UTC then, Stripe's at 05:00. What was used between them lay in no period; and of an
    end within an hour of Stripe's renewal another period was opened behind it, which the database refused for ever.
    """
    plan = PlanVersionFactory(interval="day", alignment="calendar", time_zone="America/New_York")
    noon = datetime(2026, 10, 21, 12, tzinfo=UTC)
    subscription = create_subscription(
        customer=CustomerFactory(), plan_version=plan, seats=1, starts_at=noon, actor=ACTOR
    )  # fmt: skip
    ended_at = datetime.fromisoformat(f"2026-10-22 {ended}Z")
    start, end = (datetime.fromisoformat(f"{one}Z") for one in cycle)
    with transaction.atomic():
        end_at(
            subscription, status="canceled", ended_at=ended_at, cycle=(start, end), request=None, actor=ACTOR,
            now=ended_at,
        )  # fmt: skip
    midnight = datetime(2026, 10, 22, 4, tzinfo=UTC)
    ends = [(noon, midnight)] + ([(midnight, ended_at)] if last else [])
    assert list(subscription.periods.order_by("starts_at").values_list("starts_at", "ends_at")) == ends
