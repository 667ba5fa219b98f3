"""A subscription starts at Stripe once, with its customer and card, wherever a first try broke off."""

import pytest

from billing.catalog.operations import sync_catalog_to_stripe
from billing.stripe import gateway
from billing.stripe.errors import StripeUnavailable
from billing.stripe.models import OutboxIntent
from billing.subscriptions.models import Subscription
from billing.subscriptions.operations import PlanNotOffered, SubscriptionNotFound, start_at_stripe
from tests.factories import OCTOBER, CustomerFactory, SubscriptionFactory
from tests.sandbox.client import SandboxProcess

pytestmark = pytest.mark.usefixtures("committed_db")


def agreed() -> Subscription:
    """A subscription of 3 seats that Stripe does not know; its plan is for sale there."""
    subscription = SubscriptionFactory(customer=CustomerFactory(customer_key="acme"), seats=3)
    sync_catalog_to_stripe(now=OCTOBER)
    return subscription


def start(subscription: Subscription, card: str = "pm_card_visa") -> Subscription:
    return start_at_stripe(subscription_id=subscription.pk, payment_method=card, now=OCTOBER)


def test_creates_customer_card_and_subscription(at_sandbox: SandboxProcess) -> None:
    started = start(agreed())

    assert started.status == "active"
    customer = gateway.retrieve(f"/v1/customers/{started.customer.stripe_customer_id}")
    assert customer["metadata"]["customer_key"] == "acme"
    assert customer["invoice_settings"]["default_payment_method"].startswith("pm_")
    subscription = gateway.retrieve(f"/v1/subscriptions/{started.stripe_subscription_id}")
    (item,) = subscription["items"]["data"]
    assert (item["price"]["id"], item["quantity"]) == (started.plan_version.stripe_price_id, 3)
    assert subscription["metadata"]["subscription_id"] == str(started.pk)
    period = started.periods.get()
    assert (period.starts_at.timestamp(), period.ends_at.timestamp()) == (
        item["current_period_start"],
        item["current_period_end"],
    )
    assert started.anchor_at.timestamp() == subscription["billing_cycle_anchor"]
    assert at_sandbox.problems() == []


def test_said_twice_is_done_once(at_sandbox: SandboxProcess) -> None:
    subscription = agreed()

    assert start(subscription).stripe_subscription_id == start(subscription).stripe_subscription_id

    state = at_sandbox.state()
    assert (len(state["customer"]), len(state["subscription"])) == (1, 1)


@pytest.mark.parametrize(
    "broken", ["POST /v1/customers$", "POST /v1/payment_methods", "POST /v1/customers/cus", "POST /v1/subscriptions"]
)
def test_goes_on_where_a_failure_left_it(at_sandbox: SandboxProcess, broken: str) -> None:
    subscription = agreed()
    # More often than the client itself tries again.
    at_sandbox.fault(mode="error_500", operation=broken, times=5)
    with pytest.raises(StripeUnavailable):
        start(subscription)
    at_sandbox.clear_faults()

    assert start(subscription).status == "active"

    state = at_sandbox.state()
    assert (len(state["customer"]), len(state["subscription"])) == (1, 1)
    assert not OutboxIntent.objects.exclude(state="succeeded").exists()


def test_a_declined_card_leaves_it_incomplete(at_sandbox: SandboxProcess) -> None:
    assert start(agreed(), card="pm_card_chargeCustomerFail").status == "incomplete"


def test_without_a_price_at_stripe_is_refused(at_sandbox: SandboxProcess) -> None:
    with pytest.raises(PlanNotOffered, match="sync"):
        start(SubscriptionFactory())


def test_of_no_subscription_is_refused(at_sandbox: SandboxProcess) -> None:
    with pytest.raises(SubscriptionNotFound):
        start_at_stripe(subscription_id=0, payment_method="pm_card_visa", now=OCTOBER)
