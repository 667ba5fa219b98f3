"""What the tests of whole lives share: subscribing, moving the clock, and looking at periods, events and invoices."""

from datetime import UTC, datetime
from typing import Any

from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.customers.operations import create_customer
from billing.invoicing.models import Invoice
from billing.stripe import gateway
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.starting import subscribe
from tests.billing.thread import Thread

ACTOR = "user:tester"
OCT_11 = datetime(2026, 10, 11, tzinfo=UTC)
OCT_16_NOON = datetime(2026, 10, 16, 12, tzinfo=UTC)
NOVEMBER, DECEMBER = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


def now_of(thread: Thread) -> datetime:
    return datetime.fromtimestamp(thread.sandbox.now(), tz=UTC)


def ada() -> Customer:
    return create_customer(
        customer_key="ada", name="Ada", email="ada@example.com", kind="individual", currency="USD",
        created_at=datetime(2026, 10, 1, tzinfo=UTC), actor=ACTOR,
    )  # fmt: skip


def started(thread: Thread, version: PlanVersion | None = None, *, seats: int = 1, **terms: Any) -> Subscription:
    asked: dict[str, Any] = {"actor": ACTOR, "reason": "a test", "idempotency_key": "start", "now": now_of(thread)}
    asked |= {"payment_method": "pm_card_visa"} | terms
    plan = version or PlanVersion.objects.get(plan__code="pro")
    return subscribe(customer_id=ada().pk, plan_version=plan, seats=seats, **asked)


def advance(thread: Thread, to: datetime) -> None:
    thread.advance_our_clock_to(to)
    thread.sandbox.advance(to)
    thread.settle()


def said(thread: Thread, subscription: Subscription, key: str = "key", **others: Any) -> dict[str, Any]:
    """What every operation is told."""
    return {
        "subscription_id": subscription.pk,
        "actor": ACTOR,
        "reason": "the customer asked",
        "idempotency_key": key,
        "now": now_of(thread),
    } | others


def spans(subscription: Subscription) -> list[tuple[str, str, str]]:
    rows = BillingPeriod.objects.filter(subscription=subscription).order_by("starts_at")
    return [(f"{row.starts_at:%m-%d %H}", f"{row.ends_at:%m-%d %H}", row.kind) for row in rows]


def at_stripe(subscription: Subscription) -> dict[str, Any]:
    subscription.refresh_from_db()
    return gateway.retrieve(f"/v1/subscriptions/{subscription.stripe_subscription_id}")


def in_dashboard(subscription: Subscription, **params: Any) -> None:
    """Somebody changes it at Stripe."""
    gateway.request("post", f"/v1/subscriptions/{subscription.stripe_subscription_id}", params)


def events(subscription: Subscription) -> list[tuple[str, str]]:
    return list(subscription.events.order_by("pk").values_list("kind", "actor"))


def invoices() -> list[tuple[str, list[tuple[str, int]]]]:
    return [
        (
            row.status,
            [
                (line.kind, line.amount_minor)
                for line in row.lines.order_by("kind", "amount_minor")
                if line.amount_minor
            ],
        )
        for row in Invoice.objects.order_by("created_at", "pk")
    ]
