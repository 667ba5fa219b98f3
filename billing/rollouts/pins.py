"""Pinning a subscription to the terms it has, so that no rollout moves it, and letting it go again."""

from datetime import datetime

from django.db import transaction

from billing.rollouts import moves
from billing.rollouts.refusals import NotFound, NotNow, reason_of, require_may
from billing.subscriptions.models import Subscription

PIN = "billing.pin_subscription"


def pin(*, subscription_id: int, reason: str, actor: str, now: datetime) -> Subscription:
    """
    Keep the subscription on the terms it has; a move that is under way is taken back. Pinned again it stays as it is.

    Raises NotFound, NotPermitted, and InvalidTerms without a reason.
    """
    require_may(actor, PIN, what="pin a subscription")
    reason = reason_of(reason)
    with transaction.atomic():
        subscription = _locked(subscription_id)
        if subscription.pinned_at is None:
            subscription.pinned_at = now
            subscription.pinned_because = f"{reason} ({actor.removeprefix('user:')})"[:500]
            subscription.save(update_fields=["pinned_at", "pinned_because"])
            moves.take_back(subscription_id, because=f"pinned: {reason}", now=now)
    return subscription


def unpin(*, subscription_id: int, actor: str) -> Subscription:
    """Let rollouts move the subscription again. Raises NotFound, NotPermitted, and NotNow if it is not pinned."""
    require_may(actor, PIN, what="unpin a subscription")
    with transaction.atomic():
        subscription = _locked(subscription_id)
        if subscription.pinned_at is None:
            raise NotNow("the subscription is not pinned")
        subscription.pinned_at, subscription.pinned_because = None, ""
        subscription.save(update_fields=["pinned_at", "pinned_because"])
    return subscription


def _locked(subscription_id: int) -> Subscription:
    found = Subscription.objects.select_for_update(of=("self",), no_key=True).select_related("customer", "plan_version")
    subscription = found.filter(pk=subscription_id).first()
    if subscription is None:
        raise NotFound(f"there is no subscription {subscription_id}")
    return subscription
