"""
A subscription of ours and the one at Stripe become one: whoever tells of it first binds the two. Inside the caller's
transaction, with the customer locked.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from billing.catalog.models import Alignment
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.opening import cadence_of, open_period

logger = logging.getLogger(__name__)


def bound(stripe_subscription: Mapping[str, Any]) -> Subscription | None:
    """
    Return our subscription, locked, that is this one at Stripe.

    A webhook can be faster than the answer to our own request: the first to come binds the two. Metadata, which
    anybody may edit, is believed only for a subscription that waits for its id, and of the same customer.
    """
    ours = Subscription.objects.select_for_update(of=("self",)).select_related("plan_version")
    found = ours.filter(stripe_subscription_id=stripe_subscription["id"]).first()
    our_id = str((stripe_subscription.get("metadata") or {}).get("subscription_id", ""))
    if found is not None or not our_id.isdecimal():
        return found
    waiting = ours.filter(
        pk=int(our_id),
        stripe_subscription_id=None,
        customer__stripe_customer_id=stripe_subscription["customer"],
    ).first()
    if waiting is None:
        return None
    if waiting.ended_at is not None:
        logger.error("%s was ended here before %s began at Stripe", waiting, stripe_subscription["id"])
    elif waiting.plan_version.alignment == Alignment.ANCHOR:
        waiting.anchor_at = _instant(stripe_subscription["billing_cycle_anchor"])
    if waiting.ended_at is None:
        _meet_first_period(waiting, stripe_subscription)
    waiting.stripe_subscription_id = str(stripe_subscription["id"])
    waiting.save(update_fields=["stripe_subscription_id", "anchor_at"])
    return waiting


def _meet_first_period(subscription: Subscription, stripe_subscription: Mapping[str, Any]) -> None:
    """
    Let our first period end with Stripe's, which counts from when it was told: a dead process or a repeat may be hours
    behind what we agreed on. It begins where it did, so that no usage before Stripe's beginning is lost.

    A trial's end, and the calendar's, were agreed on: where Stripe began after it, the next period goes on from there,
    and the first one's usage goes onto its invoice.
    """
    first = BillingPeriod.objects.get(subscription=subscription)
    if stripe_subscription.get("trial_end") is not None or first.state != BillingPeriod.State.OPEN:
        return
    cadence = cadence_of(subscription)
    # Not the current period's end: what we read may be from after a renewal.
    ends_at = cadence.after(_instant(stripe_subscription["start_date"]))
    if cadence.zone is None and first.kind == BillingPeriod.Kind.REGULAR:
        if ends_at > first.ends_at:
            first.ends_at = ends_at
            first.save(update_fields=["ends_at"])
        return
    latest = first
    while latest.ends_at < ends_at:
        until = ends_at if cadence.zone is None else cadence.after(latest.ends_at)
        latest = open_period(subscription, starts_at=latest.ends_at, ends_at=until)


def _instant(second: Any) -> datetime:
    return datetime.fromtimestamp(int(second), tz=UTC)
