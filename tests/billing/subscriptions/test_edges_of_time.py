"""
Instants at which two clocks meet: the calendar's midnight and Stripe's in summer, an end and a renewal of one second.
No usage is of no period, and none is billed twice. Figures worked out by hand; 1,000,000 tokens are 3.00.
"""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from billing.catalog.models import Rate
from billing.reconciliation.operations import reconcile
from billing.stripe import gateway
from billing.stripe.errors import StripeUnavailable
from billing.subscriptions import lifecycle
from billing.subscriptions.ending import end_at
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import create_subscription
from tests.billing.invoicing.ordering import carry_out_all
from tests.billing.subscriptions.lives import (
    ACTOR,
    NOVEMBER,
    OCT_11,
    advance,
    in_dashboard,
    invoices,
    now_of,
    said,
    spans,
    started,
)
from tests.billing.subscriptions.test_moved_unheard import lose
from tests.billing.subscriptions.test_renewals_out_of_order import OCTOBER, hear, unheard
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import Thread
from tests.factories import CustomerFactory, PlanVersionFactory, RateFactory

pytestmark = pytest.mark.usefixtures("committed_db")
NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
# 1 November in New York is still summer: midnight there, and where Stripe has it all year.
MIDNIGHT, STRIPES = datetime(2026, 11, 1, 4, tzinfo=UTC), datetime(2026, 11, 1, 5, tzinfo=UTC)
HALF_AN_HOUR = timedelta(minutes=30)


def begun_in_new_york(thread: Thread) -> Subscription:
    """A month of the calendar there, from its first day on."""
    thread.sandbox.advance(NOON)
    thread.advance_our_clock_to(NOON)
    subscription = started(thread, version_of("calendar", alignment="calendar", time_zone="America/New_York"))
    thread.settle()
    advance(thread, OCT_11)
    return subscription


def used_beside_midnight(thread: Thread) -> None:
    """A million tokens before midnight in New York, and two half an hour after it."""
    thread.use(1_000_000, at=MIDNIGHT - timedelta(days=1))
    thread.use(2_000_000, at=MIDNIGHT + HALF_AN_HOUR)
    advance(thread, STRIPES + timedelta(hours=2))
    carry_out_all(thread)


def outside(thread: Thread) -> list[tuple[str, str, str]]:
    run = reconcile(range_start=NOON, range_end=now_of(thread), now=thread.now, actor=ACTOR)
    return list(run.discrepancies.values_list("subject", "left_value", "right_value"))


def test_an_end_with_the_period_is_the_calendars_in_summer_too(thread: Thread) -> None:
    """It ends at midnight there, as was said, and not with Stripe's period an hour later."""
    subscription = begun_in_new_york(thread)
    planned = lifecycle.cancel_at_period_end(**said(thread, subscription))
    assert planned.cancel_at == MIDNIGHT
    used_beside_midnight(thread)

    subscription.refresh_from_db()
    assert (subscription.ended_at, spans(subscription)) == (MIDNIGHT, [("10-01 12", "11-01 04", "regular")])
    assert [one for one in invoices() if one[1] == [("usage", 300)]] == [("paid", [("usage", 300)])]
    # What was used after an end is nobody's, and is named.
    assert outside(thread) == [("usage outside every billing period, first 2026-11-01T04:00Z", "1", "0")]


def test_an_end_planned_in_the_dashboard_leaves_no_hour_of_summer_to_nobody(thread: Thread) -> None:
    subscription = begun_in_new_york(thread)
    in_dashboard(subscription, cancel_at_period_end=True)
    thread.settle()
    used_beside_midnight(thread)

    subscription.refresh_from_db()
    assert subscription.ended_at == STRIPES
    assert spans(subscription) == [("10-01 12", "11-01 04", "regular"), ("11-01 04", "11-01 05", "regular")]
    assert invoices()[-1] == ("paid", [("usage", 300), ("usage", 600)])
    assert (outside(thread), thread.unfinished()) == ([], [])


@pytest.mark.parametrize("has_minimum", [False, True])
def test_the_hour_until_stripes_boundary_owes_nothing_of_a_whole_period(has_minimum: bool) -> None:
    """A minimum was that of the day before: owed again for the hour, it would be twice what was agreed on."""
    rate = RateFactory()
    if has_minimum:
        Rate.objects.create(
            rate_card=rate.rate_card,
            charge_model="minimum_commitment",
            terms={"amount": "100"},
            effective_from=rate.effective_from,
        )
    plan = PlanVersionFactory(
        rate_card=rate.rate_card, interval="day", alignment="calendar", time_zone="America/New_York"
    )
    noon, midnight = datetime(2026, 10, 21, 12, tzinfo=UTC), datetime(2026, 10, 22, 4, tzinfo=UTC)
    subscription = create_subscription(
        customer=CustomerFactory(), plan_version=plan, seats=1, starts_at=noon, actor=ACTOR
    )  # fmt: skip
    end = midnight + timedelta(hours=1)
    with transaction.atomic():
        end_at(
            subscription, status="canceled", ended_at=end, cycle=(end - timedelta(days=1), end), request=None,
            actor=ACTOR, now=end,
        )  # fmt: skip
    last = subscription.periods.latest("starts_at")
    assert (last.starts_at, last.ends_at) == (midnight, end)
    assert last.allowances.filter(amount=None).exists() == has_minimum


def test_an_end_in_the_very_second_of_a_renewal_that_was_not_heard_of(thread: Thread) -> None:
    """Stripe billed a month of which a second was left: it is ours too, so that its invoice has a period."""
    subscription = started(thread)
    thread.settle()
    thread.use(1_000_000, at=OCT_11)
    renewed = unheard(thread, NOVEMBER)
    gateway.request("delete", f"/v1/subscriptions/{subscription.stripe_subscription_id}")
    hear(lose(thread, "customer.subscription.deleted"))
    thread.settle()
    hear(renewed)
    carry_out_all(thread)

    rows = list(subscription.periods.order_by("starts_at").values_list("starts_at", "ends_at", "state"))
    assert rows == [(OCTOBER, NOVEMBER, "closed"), (NOVEMBER, NOVEMBER + timedelta(seconds=1), "closed")]
    assert invoices()[1:] == [("paid", [("fee", 2000), ("usage", 300)])]
    assert thread.unfinished() == []


@pytest.mark.parametrize(("interval", "rest_minor"), [("day", 41), ("month", 1)])
def test_a_start_repeated_in_the_hour_after_the_calendars_midnight(
    thread: Thread, interval: str, rest_minor: int
) -> None:
    """
    Agreed on 23:30 in New York and told to Stripe 00:30, where a day begins 01:00: Stripe bills the rest of that hour
    instead of the one agreed on, then the whole. Told the boundary of the day after, it refused for good.
    """
    before = MIDNIGHT - HALF_AN_HOUR
    thread.sandbox.advance(before)
    thread.advance_our_clock_to(before)
    plan = version_of("calendar", alignment="calendar", time_zone="America/New_York", interval=interval)
    thread.sandbox.fault(mode="error_500", operation="POST /v1/customers$", times=9)
    with pytest.raises(StripeUnavailable):
        started(thread, plan)
    thread.sandbox.clear_faults()
    thread.sandbox.advance(MIDNIGHT + HALF_AN_HOUR)
    subscription = started(thread, plan)
    thread.use(1_000_000, at=MIDNIGHT - timedelta(minutes=20))
    thread.use(2_000_000, at=MIDNIGHT + HALF_AN_HOUR)
    advance(thread, STRIPES)

    winter = "12-01 05" if interval == "month" else "11-02 05"
    assert spans(subscription) == [("11-01 03", "11-01 04", "regular"), ("11-01 04", winter, "regular")]
    assert invoices() == [("paid", [("fee", rest_minor)]), ("paid", [("fee", 2000), ("usage", 300)])]
    assert thread.unfinished() == []


def test_a_renewal_heard_of_before_the_end_within_its_hour(thread: Thread) -> None:
    """Looked at when all is over at Stripe: it opens a month, which the end, heard of later, cuts to half an hour."""
    subscription = started(thread)
    thread.settle()
    thread.use(1_000_000, at=OCT_11)
    renewed = unheard(thread, NOVEMBER)
    thread.use(2_000_000, at=NOVEMBER + timedelta(minutes=10))
    renewed += unheard(thread, NOVEMBER + HALF_AN_HOUR)
    gateway.request("delete", f"/v1/subscriptions/{subscription.stripe_subscription_id}")
    ended = lose(thread, "")
    hear(renewed, "invoice.")
    thread.settle()
    hear(renewed + ended)
    thread.settle()
    carry_out_all(thread)

    rows = list(subscription.periods.order_by("starts_at").values_list("starts_at", "ends_at", "state"))
    assert rows == [(OCTOBER, NOVEMBER, "closed"), (NOVEMBER, NOVEMBER + HALF_AN_HOUR, "closed")]
    assert invoices()[1:] == [("paid", [("fee", 2000), ("usage", 300)]), ("paid", [("usage", 600)])]
    assert thread.unfinished() == []
