"""A change of terms against itself, against accrual and against a second change, with real connections."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

from billing.catalog.models import PlanVersion
from billing.rating.operations import accrue_period
from billing.rating.queries import period_totals
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import project_subscription
from tests.billing import usage
from tests.factories import NOVEMBER, OCTOBER, CustomerFactory, PlanVersionFactory, SubscriptionFactory

pytestmark = pytest.mark.usefixtures("committed_db")

CHANGED_AT = OCTOBER + timedelta(days=10)


@pytest.fixture
def subscription() -> Subscription:
    usage.define_token_meters()
    card = usage.rate_card()
    small, large = (PlanVersionFactory(rate_card=card, fee_minor=fee) for fee in (2000, 6000))
    for version, price in ((small, "price_small"), (large, "price_large")):
        PlanVersion.objects.filter(pk=version.pk).update(stripe_price_id=price)
    customer = CustomerFactory(customer_key="acme", stripe_customer_id="cus_1")
    return SubscriptionFactory(customer=customer, plan_version=small, stripe_subscription_id="sub_1", status="active")


def at_stripe(price: str, at: Any = CHANGED_AT, seats: int = 1) -> dict[str, Any]:
    return {
        "id": "sub_1",
        "customer": "cus_1",
        "status": "active",
        "metadata": {"terms_from": str(int(at.timestamp()))},
        "items": {"data": [{"id": "si_1", "price": {"id": price}, "quantity": seats}]},
    }


def together(*works: Callable[[], object]) -> list[BaseException]:
    """Do all works at once, each on a connection of its own; return what they raised."""
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        try:
            gate.wait(timeout=60)
            work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        done = [pool.submit(run, work) for work in works]
        return [error for future in done if (error := future.exception(timeout=120)) is not None]


def test_the_answer_and_its_webhooks_divide_the_period_once(subscription: Subscription) -> None:
    usage.use_dollars("acme", OCTOBER, "30")
    usage.use_dollars("acme", CHANGED_AT, "12")
    period = subscription.periods.get()
    now = CHANGED_AT + timedelta(minutes=1)

    raised = together(
        *[lambda: project_subscription(at_stripe("price_large"), now=now)] * 4,
        *[lambda: accrue_period(period_id=period.pk, now=now)] * 2,
    )

    assert raised == []
    before, rest = subscription.periods.order_by("starts_at")
    assert (before.ends_at, rest.starts_at, rest.ends_at) == (CHANGED_AT, CHANGED_AT, NOVEMBER)
    rated = [(period_totals(one.pk).rated, period_totals(one.pk).included) for one in (before, rest)]
    # 20 USD are included in October; they are used before the change, and nothing of them is billed because of it.
    assert rated == [(30, 20), (12, 0)]


def test_two_changes_at_once_cut_at_both_instants_or_refuse_the_earlier(subscription: Subscription) -> None:
    later = CHANGED_AT + timedelta(hours=1)

    raised = together(
        lambda: project_subscription(at_stripe("price_large"), now=later),
        lambda: project_subscription(at_stripe("price_small", at=later, seats=3), now=later),
    )

    assert raised == []
    found = list(subscription.periods.order_by("starts_at").values_list("starts_at", "ends_at"))
    assert found[0][0] == OCTOBER
    assert found[-1][1] == NOVEMBER
    assert [end for _, end in found[:-1]] == [start for start, _ in found[1:]]
    assert later in [start for start, _ in found]
