"""
What was asked of a subscription and what happened to it, each written down once.

A request is committed before Stripe is told. What then happens is seen in Stripe's object, fetched, and whoever asked
for it is found by the request that waits for it; without one somebody did it in Stripe's dashboard.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from billing.stripe.models import OutboxIntent
from billing.subscriptions.change_models import ChangePreview, SubscriptionEvent, SubscriptionRequest
from billing.subscriptions.errors import ChangeRefused
from billing.subscriptions.models import Subscription

Kind, Asked = SubscriptionEvent.Kind, SubscriptionRequest.Kind
DASHBOARD, STRIPE = "stripe:dashboard", "stripe:billing"
TEXT_CHARS_MAX, REASON_CHARS_MAX = 300, 500
# A write that was not answered may have been carried out within this: a call ends within a minute, and Stripe's event
# bears the second of the change.
UNANSWERED_FOR = timedelta(minutes=10)


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


def who_asked(
    subscription: Subscription, *kinds: str, told: SubscriptionRequest | None = None, at: datetime
) -> SubscriptionRequest | None:
    """
    Who asked for a change of these kinds that Stripe shows at `at`: `told`, whose answer this is, where it asked for
    such a one, else the newest request that Stripe carried out, or may have just now, and that nothing came of yet.

    One that was never carried out waits for nothing: a later change by somebody else is not its.
    """
    waiting = SubscriptionRequest.objects.filter(subscription=subscription, kind__in=kinds, events=None)
    found = list(waiting.order_by("-pk"))
    if told is not None and told in found:
        return told
    intents = {one.purpose: one for one in OutboxIntent.objects.filter(purpose__in=[one.purpose for one in found])}
    return next((one for one in found if one.purpose in intents and _may_be_done(intents[one.purpose], at)), None)


def _may_be_done(intent: OutboxIntent, at: datetime) -> bool:
    if intent.state != OutboxIntent.State.INTENDED:
        return intent.state == OutboxIntent.State.SUCCEEDED
    return any(abs(at - sent_at) <= UNANSWERED_FOR for sent_at in _sent_at(intent))


def counts_from(request: SubscriptionRequest | None, *, at: datetime) -> datetime:
    """
    From which second a change counts that Stripe shows at `at`: that at which its request was sent last until then, and
    never one from before, at which it had failed. `at` itself for what nobody asked us for.
    """
    intent = None if request is None else OutboxIntent.objects.filter(purpose=request.purpose).first()
    if request is None or intent is None:
        return at
    sent = [moment.replace(microsecond=0) for moment in _sent_at(intent)]
    before = [moment for moment in sent if moment <= at]
    return max(before, default=at)


def _sent_at(intent: OutboxIntent) -> list[datetime]:
    """When it was sent: by the tries, and by what a process that died has left."""
    known = [moment for moment in (intent.first_sent_at, intent.sending_since) if moment is not None]
    return known + list(intent.tries.values_list("at", flat=True))


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
