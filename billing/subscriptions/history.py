"""
What was asked of a subscription and what happened to it, each written down once.

A request is committed before Stripe is told. What then happens is seen in Stripe's object, fetched, and whoever asked
for it is found by the request that waits for it; without one somebody did it in Stripe's dashboard.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef

from billing.stripe.models import OutboxIntent
from billing.subscriptions.change_models import ChangePreview, SubscriptionEvent, SubscriptionRequest
from billing.subscriptions.errors import ChangeRefused
from billing.subscriptions.models import Subscription

Kind, Asked = SubscriptionEvent.Kind, SubscriptionRequest.Kind
DASHBOARD, STRIPE = "stripe:dashboard", "stripe:billing"
TEXT_CHARS_MAX, REASON_CHARS_MAX = 300, 500


def next_reading() -> int:
    """Take a number before a look at Stripe: of two looks the one with the greater number is the newer one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('billing_subscription_reading')")
        return int(cursor.fetchone()[0])


def ask(
    *,
    subscription: Subscription,
    kind: str,
    idempotency_key: str,
    asked: Mapping[str, Any],
    effective_at: datetime,
    actor: str,
    reason: str,
    preview: ChangePreview | None = None,
    now: datetime,
) -> SubscriptionRequest:
    """
    Commit what is asked for; said twice with one key it is the first.

    Raises ChangeRefused where the key asked for something else before.
    """
    purpose = purpose_of(subscription.pk, kind, idempotency_key)
    request, _ = SubscriptionRequest.objects.get_or_create(
        purpose=purpose,
        defaults={
            "subscription": subscription,
            "kind": kind,
            "asked": dict(asked),
            "effective_at": effective_at,
            "requested_at": now,
            "actor": actor,
            "reason": reason[:REASON_CHARS_MAX],
            "preview": preview,
        },
    )
    if request.asked != dict(asked):
        raise ChangeRefused(
            f"{idempotency_key!r} asked for something else before; name this wish by another key",
            field="Idempotency-Key",
            is_conflict=True,
        )
    return request


def purpose_of(subscription_id: int, kind: str, idempotency_key: str) -> str:
    """What the write to Stripe is called that carries out a request."""
    return f"subscription:{subscription_id}:{kind}:{idempotency_key}"


def waiting_request(subscription: Subscription, *kinds: str) -> SubscriptionRequest | None:
    """The oldest request of these kinds that Stripe was told of, or is being told, and that nothing came of yet."""
    told = OutboxIntent.objects.filter(purpose=OuterRef("purpose")).exclude(state=OutboxIntent.State.REFUSED)
    found = SubscriptionRequest.objects.filter(Exists(told), subscription=subscription, kind__in=kinds, events=None)
    return found.order_by("pk").first()


def record(
    subscription: Subscription,
    kind: str,
    *,
    before: str = "",
    after: str = "",
    effective_at: datetime,
    now: datetime,
    request: SubscriptionRequest | None = None,
    actor: str = DASHBOARD,
    reason: str = "",
) -> SubscriptionEvent:
    """Write down what happened, by whoever asked for it. Inside the transaction of its effects."""
    return SubscriptionEvent.objects.create(
        subscription=subscription,
        kind=kind,
        before=before[:TEXT_CHARS_MAX],
        after=after[:TEXT_CHARS_MAX],
        effective_at=effective_at,
        recorded_at=now,
        actor=request.actor if request is not None else actor,
        reason=(request.reason if request is not None else reason)[:REASON_CHARS_MAX],
        request=request,
    )


def record_unless_done(request: SubscriptionRequest, *, now: datetime) -> None:
    """Write down that a request changed nothing, so that no later change of somebody else is taken for it."""
    if not request.events.exists():
        record(
            request.subscription,
            Kind.UNCHANGED,
            after=request.get_kind_display(),
            effective_at=request.effective_at,
            now=now,
            request=request,
        )
