"""What a pause at Stripe is here: a period of its own, in which nothing is billed, and then the next one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from billing.subscriptions.errors import PeriodConflict
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.opening import open_period
from billing.subscriptions.queries import latest_period


def open_after_pause(subscription: Subscription, stripe_subscription: Mapping[str, Any]) -> BillingPeriod | None:
    """
    Open the period that Stripe began when the subscription was resumed, and one of the pause before it; None where
    periods went on through the pause.

    Stripe pauses a subscription whose trial ends without a card, and counts anew from when it is resumed. Raises
    PeriodConflict where Stripe's period begins before ours ends.
    """
    item = stripe_subscription["items"]["data"][0]
    starts_at = datetime.fromtimestamp(item["current_period_start"], tz=UTC)
    ends_at = datetime.fromtimestamp(item["current_period_end"], tz=UTC)
    latest = latest_period(subscription.pk)
    if latest is None or latest.ends_at >= ends_at:
        return None
    if starts_at < latest.ends_at:
        raise PeriodConflict(f"the period that was resumed begins {starts_at:%F %T}, before {latest.ends_at:%F %T}")
    if starts_at > latest.ends_at:
        open_period(subscription, starts_at=latest.ends_at, ends_at=starts_at, kind=BillingPeriod.Kind.PAUSED)
    subscription.anchor_at = datetime.fromtimestamp(stripe_subscription["billing_cycle_anchor"], tz=UTC)
    subscription.save(update_fields=["anchor_at"])
    return open_period(subscription, starts_at=starts_at, ends_at=ends_at)
