"""
Moves that Stripe was told of and that have not taken effect: what a price's change asks of Stripe, and how a move makes
room for a change that the customer asks for.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from billing.catalog.models import PlanVersion, UsageDelivery
from billing.invoicing.metered.sending import MeterStuck, withdraw
from billing.rollouts.models.rollouts import RolloutMove
from billing.stripe import gateway, outbox, readers
from billing.stripe.models import OutboxIntent
from billing.subscriptions.at_stripe import metered_changes
from billing.subscriptions.models import Subscription
from billing.subscriptions.queries import latest_period

logger = logging.getLogger(__name__)

StripeDict = dict[str, Any]
State, Direction = RolloutMove.State, RolloutMove.Direction
DETAIL_CHARS_MAX = 500


def price_change(
    subscription: Subscription, *, old: PlanVersion, new: PlanVersion, fetched: Mapping[str, Any]
) -> StripeDict | None:
    """
    Return what Stripe is asked for, so that the next renewal is of the new version; {} if it has its price already,
    None if it has neither.

    An add-on that the new version includes is not billed apart any more; one that only the old version included is.
    """
    by_price = {readers.id_of(item["price"]): item for item in fetched["items"]["data"]}
    if new.stripe_price_id in by_price:
        return {}
    item = by_price.get(old.stripe_price_id or "")
    if item is None:
        return None
    items: list[StripeDict] = [{"id": item["id"], "price": new.stripe_price_id, "quantity": item["quantity"]}]
    before, after = (set(version.bundled.values_list("plan_id", flat=True)) for version in (old, new))
    for row in subscription.add_ons.filter(removed_at=None).select_related("plan_version"):
        own = by_price.get(row.plan_version.stripe_price_id or "")
        if row.plan_version.plan_id in after:
            items += [{"id": own["id"], "deleted": True}] if own is not None else []
        elif row.plan_version.plan_id in before and own is None:
            items.append({"price": row.plan_version.stripe_price_id, "quantity": row.seats})
    items += metered_changes(fetched, new)
    return {"items": items, "proration_behavior": "none"}


def take_off_meters(subscription: Subscription, *, old: PlanVersion, now: datetime) -> None:
    """
    Bring Stripe's meters of the period to nothing before the items of the old version go: its usage goes as lines.

    What does not count at Stripe, or can be sent no more, the period's close says; it does not keep the price waiting.
    Not inside a transaction. Raises StripeUnavailable.
    """
    latest = latest_period(subscription.pk)
    if latest is None or latest.plan_version_id != old.pk or old.usage_delivery != UsageDelivery.METER_EVENTS:
        return
    try:
        withdraw(period=latest, reason="Another version's price is told to Stripe for the renewal.", now=now)
    except MeterStuck as stuck:
        logger.error("usage of %s stays on Stripe's meters before its items go: %s", latest, stuck)


def give_way(subscription: Subscription, *, now: datetime) -> None:
    """
    Let Stripe have the price of the subscription's own terms again, so that a change is prorated at what was paid.

    A move whose price it had is dropped; the way back is intended anew, and a stage takes in its customers again. Not
    inside a transaction. Raises what outbox.perform raises; if the process dies after it, `moves` finds the move later.
    """
    told = subscription.rollout_moves.filter(state=State.TOLD).select_related("to_version").order_by("-id")
    moves = list(told.exclude(to_version_id=subscription.plan_version_id))
    if not moves:
        return
    target = str(subscription.stripe_subscription_id)
    fetched = gateway.retrieve(f"/v1/subscriptions/{target}")
    prices = {readers.id_of(item["price"]) for item in fetched["items"]["data"]}
    for move in moves:
        if move.to_version.stripe_price_id in prices:
            purpose = f"rollout-move:{move.pk}:gives-way"
            known = OutboxIntent.objects.filter(purpose=purpose).first()
            own = price_change(subscription, old=move.to_version, new=subscription.plan_version, fetched=fetched)
            params = known.params if known is not None else own
            if params:
                outbox.perform(purpose=purpose, operation="subscriptions.update", target=target, params=params, now=now)
            drop_told(move, because="the subscription was changed before the renewal", now=now)


def drop_told(move: RolloutMove, *, because: str, now: datetime) -> None:
    """Drop a move whose price Stripe does not have any more; who was to go back still is. A settled one stays."""
    with transaction.atomic():
        Subscription.objects.select_for_update(no_key=True).get(pk=move.subscription_id)
        mine = RolloutMove.objects.filter(pk=move.pk, state=State.TOLD)
        if not mine.update(state=State.DROPPED, detail=because[:DETAIL_CHARS_MAX]):
            return
        is_there_still = Subscription.objects.filter(
            pk=move.subscription_id, plan_version=move.from_version_id
        ).exists()
        if move.direction == Direction.BACK and is_there_still:
            again = RolloutMove(
                rollout_id=move.rollout_id,
                subscription_id=move.subscription_id,
                direction=Direction.BACK,
                from_version_id=move.from_version_id,
                to_version_id=move.to_version_id,
                stage=move.stage,
                because=move.because,
                intended_at=now,
            )
            RolloutMove.objects.bulk_create([again], ignore_conflicts=True)
