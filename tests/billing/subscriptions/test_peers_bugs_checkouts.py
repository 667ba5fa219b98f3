"""
Two subscriptions of one customer by way of a checkout (field.md E43): one is made here, the other by a session that is
paid at Stripe. Two works of ours at once are in test_peers_bugs_subscriptions.
"""

from datetime import datetime, timedelta
from typing import Any

import pytest

from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.customers.operations import create_at_stripe
from billing.invoicing.models import Invoice
from billing.reconciliation.comparison import Scope
from billing.reconciliation.stripe_checks import customers_subscriptions
from billing.stripe import gateway
from billing.stripe.errors import StripeUnavailable
from billing.stripe.models import InboxEvent
from billing.subscriptions.errors import ChangeRefused
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.starting import subscribe
from ledger import queries as ledger
from tests.billing.subscriptions.lives import NOVEMBER, ada, invoices, now_of
from tests.billing.subscriptions.test_terms_at_stripe import version_of
from tests.billing.thread import ROUNDS_MAX, Thread, post_event
from tests.stripe_sandbox.payer import Payer

pytestmark = pytest.mark.usefixtures("committed_db")


class Shop:
    """One customer whom a page at Stripe sells the plan to as well."""

    def __init__(self, thread: Thread) -> None:
        self.thread, self.customer = thread, ada()
        self.plan: PlanVersion = version_of("checkout", fee_minor=1500)
        self.stripe_customer_id = create_at_stripe(customer_id=self.customer.pk, now=now_of(thread))

    def session(self) -> str:
        """The address of a page that sells the plan, open for a day."""
        asked: dict[str, Any] = {
            "mode": "subscription", "customer": self.stripe_customer_id, "success_url": "https://shop.example/done",
            "line_items": [{"price": self.plan.stripe_price_id, "quantity": 1}],
        }  # fmt: skip
        return str(gateway.request("post", "/v1/checkout/sessions", asked).data["url"])

    def pay(self, *addresses: str) -> None:
        for address in addresses:
            Payer(self.thread.sandbox).pay(address)

    def subscribe(self, key: str) -> Subscription:
        """As the API does."""
        return subscribe(
            customer_id=self.customer.pk, plan_version=self.plan, seats=1, payment_method="pm_card_visa",
            actor="service:checkout", reason="", idempotency_key=key, now=now_of(self.thread),
        )  # fmt: skip

    def at_stripe(self) -> list[str]:
        return [one["id"] for one in gateway.listed("/v1/subscriptions")]

    def settle(self) -> None:
        """As Thread.settle, but that what waits for a subscription of ours goes on waiting."""
        for _ in range(ROUNDS_MAX):
            events = self.thread.new_events()
            for event in events:
                assert post_event(event).status_code == 200
            self.thread.now += timedelta(minutes=20)
            self.thread._project()
            if not self.thread._close() and not events:
                return
        raise AssertionError("the closes do not come to rest")


def named(until: datetime) -> list[tuple[str, str]]:
    """Which subscriptions at Stripe the nightly comparison says are none of ours, and whose."""
    pairs = customers_subscriptions(Scope(NOVEMBER - timedelta(days=31), until))
    return [(pair.subject, pair.customer_key) for pair in pairs if not pair.agrees]  # type: ignore[union-attr]


def test_appstrate_1325_adcp_3184_a_checkout_paid_after_another_start_takes_nothing_and_is_named(
    thread: Thread,
) -> None:
    """
    The customer subscribed by the API meanwhile. The second one was live at Stripe for ever, in a line of a log. Here
    it takes no period, no usage and no place of the first, says by whom it is paid, and is gone when it is cancelled.
    """
    shop = Shop(thread)
    left_open = shop.session()
    ours = shop.subscribe("api")
    thread.settle()
    thread.use(1_000_000, at=now_of(thread))
    shop.pay(left_open)
    shop.settle()

    [other] = set(shop.at_stripe()) - {ours.stripe_subscription_id}
    assert list(Subscription.objects.values_list("stripe_subscription_id", flat=True)) == [ours.stripe_subscription_id]
    assert BillingPeriod.objects.count() == Invoice.objects.count() == 1
    # What Stripe tells of it waits to become ours, for days, and is on the overview meanwhile.
    assert set(InboxEvent.objects.exclude(state="done").values_list("state", flat=True)) == {"failed"}
    assert named(NOVEMBER) == [(f"subscription {other}", "ada")]

    thread.advance_our_clock_to(NOVEMBER)
    thread.sandbox.advance(NOVEMBER)
    thread.aggregate()
    shop.settle()
    assert invoices() == [("paid", [("fee", 1500)]), ("paid", [("fee", 1500), ("usage", 300)])]
    assert ledger.out_of_balance() == []

    gateway.request("delete", f"/v1/subscriptions/{other}", {})
    assert named(NOVEMBER + timedelta(hours=1)) == []
    ours.refresh_from_db()
    assert (ours.status, shop.at_stripe()) == ("active", [ours.stripe_subscription_id])


def test_yosemite_3083_gitpod_15246_llmgateway_2697_two_paid_sessions_are_both_named_and_nobody_adds_a_third(
    thread: Thread,
) -> None:
    """Both tabs were paid; the one row was overwritten, and the end of it left the other. Here: none of ours."""
    shop = Shop(thread)
    shop.pay(shop.session(), shop.session())
    shop.settle()
    first, second = shop.at_stripe()
    assert {subject for subject, _ in named(NOVEMBER)} == {f"subscription {first}", f"subscription {second}"}

    with pytest.raises(ChangeRefused, match=rf"{first} \(active\), which is none of ours; cancel it there first") as no:
        shop.subscribe("api")
    assert no.value.is_conflict
    assert (Subscription.objects.count(), BillingPeriod.objects.count()) == (0, 0)
    assert sorted(shop.at_stripe()) == sorted([first, second])

    for one in (first, second):
        gateway.request("delete", f"/v1/subscriptions/{one}", {})
    ours = shop.subscribe("api")
    assert shop.subscribe("api") == ours
    assert shop.at_stripe() == [ours.stripe_subscription_id]
    assert Customer.objects.get().subscriptions.get() == ours


def test_one_that_ended_here_alone_is_named_and_nobody_adds_another(thread: Thread) -> None:
    """
    Stripe began it and its answer was lost; that is ours, and nobody is told to cancel it. Let go here before the event
    of it, it goes on at Stripe, under the id of a row of ours that has ended: as good as none.
    """
    shop = Shop(thread)
    thread.sandbox.fault(mode="error_500_after_commit", operation="POST /v1/subscriptions$", times=9)
    with pytest.raises(StripeUnavailable):
        shop.subscribe("api")
    thread.sandbox.clear_faults()
    [there] = shop.at_stripe()
    [lost] = customers_subscriptions(Scope(NOVEMBER - timedelta(days=31), NOVEMBER))
    assert "Leave it there" in lost.explanation  # type: ignore[union-attr]

    Subscription.objects.update(status="canceled", ended_at=now_of(thread))
    for is_bound in (False, True):
        assert Subscription.objects.filter(stripe_subscription_id=there).exists() == is_bound
        assert named(NOVEMBER) == [(f"subscription {there}", "ada")]
        with pytest.raises(ChangeRefused, match=rf"{there} \(active\), which (is none of ours|has ended here)"):
            shop.subscribe("another")
        shop.settle()
    gateway.request("delete", f"/v1/subscriptions/{there}", {})
    assert shop.subscribe("another").stripe_subscription_id in shop.at_stripe()
