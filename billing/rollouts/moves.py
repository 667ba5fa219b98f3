"""
Moving a subscription to other terms, and back: intended here, told to Stripe, done when the next period opens.

Stripe's price is changed without proration. The period that is open keeps its terms; which price the renewal's invoice
carries decides, in `take_effect`, which terms the next period has. So however late we hear of a renewal, and wherever
a worker died, the fee that Stripe charges and the terms that we rate by are of one version.
"""

import logging
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Case, Exists, F, IntegerField, OuterRef, Q, QuerySet, When

from billing.catalog.models import PlanVersion
from billing.rollouts import guards
from billing.rollouts.models.rollouts import Rollout, RolloutMove
from billing.rollouts.under_way import DETAIL_CHARS_MAX, drop_told, price_change, take_off_meters
from billing.stripe import gateway, outbox, readers
from billing.stripe.errors import OutboxConflict, StripeRefused, StripeUnavailable
from billing.stripe.models import OutboxIntent
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.operations import ENDED_STATUSES

logger = logging.getLogger(__name__)

# Who moves on is told to Stripe this long before the period ends: seats changed after that are prorated at the new fee.
TOLD_AHEAD = timedelta(hours=24)
TOLD_AT_ONCE_MAX = 500
UNANSWERED_MAX = 3
State, Direction = RolloutMove.State, RolloutMove.Direction


def intend_stage(rollout: Rollout, *, now: datetime) -> int:
    """
    Intend the moves of everybody on the baseline whom the stages up to this one reach; return how many are new.

    Runs in the caller's transaction, which holds the rollout.
    """
    reached = [member for member in guards.members(rollout, stage=rollout.stage) if not member.is_on_candidate]
    settled = Q(state__in=RolloutMove.LIVE) | Q(
        state=State.REFUSED, rollout=rollout, intended_at__gte=guards.going_on_since(rollout)
    )
    busy = set(
        RolloutMove.objects.filter(settled, subscription_id__in=[one.subscription_id for one in reached]).values_list(
            "subscription_id", flat=True
        )
    )
    intended = [
        RolloutMove(
            rollout=rollout,
            subscription_id=member.subscription_id,
            direction=Direction.FORWARD,
            from_version=rollout.baseline,
            to_version=rollout.candidate,
            stage=rollout.stage,
            intended_at=now,
        )
        for member in reached
        if member.subscription_id not in busy
    ]
    RolloutMove.objects.bulk_create(intended, batch_size=2000, ignore_conflicts=True)
    return len(intended)


def intend_return(rollout: Rollout, *, because: str, now: datetime) -> int:
    """
    Drop every move that Stripe does not know of, and intend the way back of all others; return how many go back.

    Runs in the caller's transaction, which holds the rollout.
    """
    forward = RolloutMove.objects.filter(rollout=rollout, direction=Direction.FORWARD)
    forward.filter(state=State.INTENDED).update(state=State.DROPPED, detail=because[:DETAIL_CHARS_MAX])
    # Who was pinned to the new terms keeps them.
    is_promised = Q(state=State.DONE, subscription__pinned_at__isnull=False) & Q(
        effective_at__lte=F("subscription__pinned_at")
    )
    gone = forward.filter(state__in=(State.TELLING, State.TOLD, State.DONE)).exclude(is_promised)
    going_back = RolloutMove.objects.filter(
        subscription=OuterRef("subscription"), direction=Direction.BACK, state__in=RolloutMove.LIVE
    )
    # Only the latest way there is taken back: the ones before it were taken back in their time.
    latest = gone.exclude(Exists(going_back)).order_by("subscription_id", "-id").distinct("subscription_id")
    returns = [_back(move, because=because, now=now) for move in latest]
    # A pin may take the same move back at this moment: one way back is enough.
    RolloutMove.objects.bulk_create(returns, batch_size=2000, ignore_conflicts=True)
    return len(returns)


def take_back(subscription_id: int, *, because: str, now: datetime) -> None:
    """
    Keep a subscription that is on its way, but not there, on the terms it has. In the caller's transaction.

    Waits for whoever is just beginning to tell Stripe, and then takes that back.
    """
    under_way = RolloutMove.objects.select_for_update(no_key=True).filter(
        subscription_id=subscription_id, direction=Direction.FORWARD, state__in=RolloutMove.LIVE
    )
    for move in under_way:
        if move.state == State.INTENDED:
            _settle(move, State.DROPPED, detail=because)
        elif not _live(subscription_id).filter(direction=Direction.BACK).exists():
            # Or a roll-back does at this moment: one way back is enough.
            RolloutMove.objects.bulk_create([_back(move, because=because, now=now)], ignore_conflicts=True)


def tell_due_moves(*, now: datetime) -> int:
    """
    Tell Stripe of every move whose time has come; return how many Stripe knows of now. Not inside a transaction.

    What Stripe cannot be asked for just now is tried again by the next call; what was begun is ended first.
    """
    _drop_overtaken()
    _drop_passed_over(now=now)
    ending_soon = BillingPeriod.objects.filter(
        subscription=OuterRef("subscription"), starts_at__lte=now, ends_at__gt=now, ends_at__lte=now + TOLD_AHEAD
    )
    due = RolloutMove.objects.filter(
        Q(state=State.TELLING)
        | Q(state=State.INTENDED, direction=Direction.BACK)
        | Q(Exists(ending_soon), state=State.INTENDED, rollout__state=Rollout.State.RUNNING)
    )
    told = unanswered = 0
    is_ready = Q(subscription__status__in=guards.MOVABLE_STATUSES, to_version__stripe_price_id__isnull=False)
    # What was begun first, then the ways back; those that can only wait never stand before one that can be told.
    in_order = due.annotate(
        place=Case(When(state=State.TELLING, then=0), When(is_ready, then=1), default=2, output_field=IntegerField())
    ).order_by("place", "direction", "id")
    for move_id in in_order.values_list("id", flat=True)[:TOLD_AT_ONCE_MAX]:
        state = tell_move(move_id=move_id, now=now)
        told += state == State.TOLD
        unanswered += state == State.TELLING
        if unanswered == UNANSWERED_MAX:
            break  # Stripe is not there; each further try would wait for its time-out
    return told


def tell_move(*, move_id: int, now: datetime) -> str:
    """Tell Stripe of one move, if it may still be; return its state. Safe to repeat, and to do twice at once."""
    if not _begin_telling(move_id):
        return RolloutMove.objects.values_list("state", flat=True).get(pk=move_id)
    move = RolloutMove.objects.select_related("subscription", "from_version", "to_version").get(pk=move_id)
    try:
        is_told = _change_price(move, now=now)
    except StripeUnavailable as failure:
        _note(move, detail=str(failure))
        return State.TELLING
    except (StripeRefused, OutboxConflict) as refused:
        _note(move, state=State.REFUSED, detail=str(refused) or "refused")
        return State.REFUSED
    if not is_told:
        _note(move, state=State.REFUSED, detail="its subscription at Stripe has neither the old price nor the new one")
        return State.REFUSED
    _note(move, state=State.TOLD, told_at=now, detail="")
    return State.TOLD


def take_effect(*, subscription_id: int, stripe_price_ids: Collection[str], starts_at: datetime) -> None:
    """
    Give the subscription the terms whose price its renewal carries, before its next period opens at `starts_at`.

    Runs in the caller's transaction. A renewal without a price of a move that is under way changes nothing: Stripe
    renewed before it was told, and the move counts from the period after.
    """
    moves = list(
        RolloutMove.objects.select_related("to_version")
        .filter(subscription_id=subscription_id, state__in=(State.TELLING, State.TOLD))
        .order_by("id")
    )
    renewed = [index for index, move in enumerate(moves) if move.to_version.stripe_price_id in stripe_price_ids]
    if not renewed:
        return
    subscription = Subscription.objects.select_for_update().get(pk=subscription_id)
    *earlier, taken = moves[: renewed[-1] + 1]
    for move in earlier:
        _settle(move, State.UNDONE)
    _settle(taken, State.DONE, effective_at=starts_at)
    if subscription.plan_version_id != taken.to_version_id:
        subscription.plan_version = taken.to_version
        subscription.save(update_fields=["plan_version"])
        logger.info("subscription %s has %s from %s on", subscription_id, taken.to_version_id, starts_at)


def on_the_way(rollout: Rollout) -> bool:
    """Whether a customer is on the way to the candidate still."""
    return rollout.moves.filter(direction=Direction.FORWARD, state__in=RolloutMove.LIVE).exists()


def left_behind(rollout: Rollout) -> bool:
    """Whether a customer whom the stages reach is on the baseline, and Stripe did not refuse to move them."""
    refused = set(rollout.moves.filter(state=State.REFUSED).values_list("subscription_id", flat=True))
    reached = guards.members(rollout, stage=rollout.stage)
    return any(not member.is_on_candidate and member.subscription_id not in refused for member in reached)


def _begin_telling(move_id: int) -> bool:
    """
    Commit that Stripe is about to be told; False where that may not be any more, or not yet.

    The rollout is held, so that nobody halts it between the look and the word. A move that was begun is ended, for
    Stripe may know of it already: after a halt when people resume or roll back.
    """
    rollout_id = RolloutMove.objects.values_list("rollout_id", flat=True).get(pk=move_id)
    with transaction.atomic():
        rollout = Rollout.objects.select_for_update(no_key=True).get(pk=rollout_id)
        move = RolloutMove.objects.select_for_update(of=("self",), no_key=True).get(pk=move_id)
        if move.state == State.TELLING:
            if move.direction == Direction.FORWARD and rollout.state == Rollout.State.HALTED:
                return False  # asked for again once people say how it goes on
            return not _live(move.subscription_id).filter(state=State.TELLING, id__lt=move.pk).exists()
        if move.state != State.INTENDED:
            return False
        subscription = Subscription.objects.get(pk=move.subscription_id)
        why_never = _why_never(move, subscription)
        if why_never:
            _settle(move, State.DROPPED, detail=why_never)
            return False
        is_free_to = move.direction == Direction.BACK or rollout.state == Rollout.State.RUNNING
        why_not_now = _why_not_now(move, subscription)
        if why_not_now or not is_free_to:
            _note(move, detail=why_not_now)
            return False
        move.state = State.TELLING
        move.save(update_fields=["state"])
    return True


def _why_never(move: RolloutMove, subscription: Subscription) -> str:
    """Why a move that Stripe does not know of is none any more, or nothing."""
    if subscription.status in ENDED_STATUSES:
        return f"the subscription is {subscription.get_status_display().lower()}"
    if move.direction == Direction.FORWARD and subscription.pinned_at is not None:
        return f"the subscription is pinned: {subscription.pinned_because}"
    is_elsewhere = subscription.plan_version_id not in (move.from_version_id, move.to_version_id)
    if is_elsewhere or (move.direction == Direction.FORWARD and subscription.plan_version_id == move.to_version_id):
        return "the subscription has other terms meanwhile"
    return ""


def _why_not_now(move: RolloutMove, subscription: Subscription) -> str:
    """What a move waits for, or nothing."""
    if subscription.status not in guards.MOVABLE_STATUSES:
        return f"waits while the subscription is {subscription.get_status_display().lower()}"
    if not PlanVersion.objects.filter(pk=move.to_version_id, stripe_price_id__isnull=False).exists():
        return "waits for its new price to be at Stripe; sync the catalogue"
    if _live(move.subscription_id).filter(state=State.TELLING).exists():
        return "waits until Stripe has answered about the move before"
    return ""


def _drop_overtaken() -> None:
    """End what an end of the subscription, or a change of its plan, has made pointless."""
    # Said twice: a renewal that settles a move at this moment is waited for, and what it wrote stays.
    waiting = RolloutMove.objects.filter(state__in=(State.INTENDED, State.TOLD))
    ended = waiting.filter(subscription__status__in=ENDED_STATUSES)
    waiting.filter(pk__in=ended.values("pk")).update(state=State.DROPPED, detail="the subscription ended")
    is_elsewhere = ~Q(subscription__plan_version=F("from_version")) & ~Q(subscription__plan_version=F("to_version"))
    changed = waiting.filter(is_elsewhere)
    waiting.filter(pk__in=changed.values("pk")).update(
        state=State.DROPPED, detail="the subscription has other terms meanwhile"
    )


def _drop_passed_over(*, now: datetime) -> None:
    """End a move that a renewal passed without, if Stripe does not have its price: whatever took it away there."""
    later = BillingPeriod.objects.filter(
        subscription=OuterRef("subscription"), starts_at__gt=OuterRef("told_at"), starts_at__lte=now
    )
    passed = RolloutMove.objects.filter(Exists(later), state=State.TOLD).order_by("told_at", "id")
    for move in passed.select_related("subscription", "to_version")[:TOLD_AT_ONCE_MAX]:
        try:
            fetched = gateway.retrieve(f"/v1/subscriptions/{move.subscription.stripe_subscription_id}")
        except (StripeUnavailable, StripeRefused):
            logger.exception("Stripe did not say which price the subscription of move %s has", move.pk)
            return
        if any(readers.id_of(item["price"]) == move.to_version.stripe_price_id for item in fetched["items"]["data"]):
            _note(move, told_at=now)  # Stripe had renewed before it was told: it counts from the next one
        else:
            drop_told(move, because="Stripe renewed without the new price, and does not have it", now=now)


def _change_price(move: RolloutMove, *, now: datetime) -> bool:
    """
    Give the subscription's item at Stripe the new price; False if it has neither the old price nor the new one.

    What was asked for once is asked for again as it was, whatever Stripe says meanwhile: the outbox knows it.
    """
    purpose, target = f"rollout-move:{move.pk}", str(move.subscription.stripe_subscription_id)
    known = OutboxIntent.objects.filter(purpose=purpose).first()
    if known is not None:
        params: dict[str, Any] | None = known.params
    else:
        fetched = gateway.retrieve(f"/v1/subscriptions/{target}")
        params = price_change(move.subscription, old=move.from_version, new=move.to_version, fetched=fetched)
    if params is None:
        return False
    if params:
        take_off_meters(move.subscription, old=move.from_version, now=now)
        outbox.perform(purpose=purpose, operation="subscriptions.update", target=target, params=params, now=now)
    return True


def _back(move: RolloutMove, *, because: str, now: datetime) -> RolloutMove:
    return RolloutMove(
        rollout_id=move.rollout_id,
        subscription_id=move.subscription_id,
        direction=Direction.BACK,
        from_version_id=move.to_version_id,
        to_version_id=move.from_version_id,
        stage=move.stage,
        because=because[:200],
        intended_at=now,
    )


def _live(subscription_id: int) -> QuerySet[RolloutMove]:
    return RolloutMove.objects.filter(subscription_id=subscription_id, state__in=RolloutMove.LIVE)


def _settle(move: RolloutMove, state: str, *, detail: str = "", effective_at: datetime | None = None) -> None:
    move.state, move.detail, move.effective_at = state, detail[:DETAIL_CHARS_MAX], effective_at
    move.save(update_fields=["state", "detail", "effective_at"])


def _note(move: RolloutMove, **changes: Any) -> None:
    """A renewal may have settled the move meanwhile: what it wrote stays."""
    if "detail" in changes:
        changes["detail"] = changes["detail"][:DETAIL_CHARS_MAX]
    RolloutMove.objects.filter(pk=move.pk, state=move.state).update(**changes)
