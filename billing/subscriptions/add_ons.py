"""
Which add-ons a subscription has, from when until when. Inside the caller's transaction, with the subscription locked.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from django.db.models import Q

from billing.subscriptions.models import Subscription, SubscriptionAddOn
from billing.subscriptions.opening import Item


def bring_add_ons(
    subscription: Subscription, wanted: Sequence[Item], *, at: datetime, kept_plans: Collection[int]
) -> None:
    """Add and remove add-ons from the instant on; another number of seats is the one removed and the other added."""
    asked = {(item.version.pk, item.seats) for item in wanted}
    kept: dict[tuple[int, int], SubscriptionAddOn] = {}
    # Also those that would come, or go, with the next period: what was asked for before counts no more.
    rows = subscription.add_ons.filter(Q(removed_at=None) | Q(removed_at__gte=at)).select_related("plan_version")
    for row in rows.order_by("added_at", "pk"):
        key = (row.plan_version_id, row.seats)
        if key in asked and key not in kept:
            kept[key] = row
        elif row.plan_version.plan_id not in kept_plans:
            # Before any other comes: a version is there once.
            _settle(row, added_at=row.added_at, removed_at=max(at, row.added_at))
    for item in wanted:
        found = kept.get((item.version.pk, item.seats))
        if found is not None:
            _settle(found, added_at=min(at, found.added_at), removed_at=None)
        else:
            SubscriptionAddOn.objects.create(
                subscription=subscription, plan_version=item.version, seats=item.seats, added_at=at
            )


def bring_forward(subscription: Subscription, *, to: datetime) -> None:
    """Let what was to come or go later, with the next period, do so at this instant: the next period begins here."""
    for row in subscription.add_ons.filter(Q(added_at__gt=to) | Q(removed_at__gt=to)).order_by("pk"):
        removed_at = row.removed_at if row.removed_at is None else min(row.removed_at, to)
        _settle(row, added_at=min(row.added_at, to), removed_at=removed_at)


def _settle(row: SubscriptionAddOn, *, added_at: datetime, removed_at: datetime | None) -> None:
    if (row.added_at, row.removed_at) != (added_at, removed_at):
        row.added_at, row.removed_at = added_at, removed_at
        row.save(update_fields=["added_at", "removed_at"])
