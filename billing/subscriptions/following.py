"""
What Stripe's subscription says beyond our rows, brought to them: pauses, planned ends, another way of paying, items
that somebody changed in the dashboard. Whoever asked us for it is named; else it was done at Stripe.

Inside the caller's transaction, with customer and subscription locked. From an object just fetched.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from billing.stripe.readers import id_of
from billing.subscriptions import moving, pausing
from billing.subscriptions.at_stripe import items_of, quantities, terms_from
from billing.subscriptions.change_models import ScheduledChange, SubscriptionEvent, SubscriptionRequest
from billing.subscriptions.changes import Unfollowable, bring_items_of_dashboard, terms_text
from billing.subscriptions.history import DASHBOARD, STRIPE, Asked, counts_from, purpose_of, record, who_asked
from billing.subscriptions.models import Subscription
from billing.subscriptions.queries import latest_period

logger = logging.getLogger(__name__)
Kind = SubscriptionEvent.Kind
HELD_CHARS_MAX = 500
END_TASK = "task:follow_subscriptions"


def follow(
    subscription: Subscription,
    theirs: Mapping[str, Any],
    *,
    changed_at: datetime | None,
    now: datetime,
    told: SubscriptionRequest | None = None,
) -> None:
    """
    Bring everything but status and end. `changed_at` is when Stripe says that something changed, where an event told;
    `told` is the request whose answer this is.
    """
    at = changed_at or now.replace(microsecond=0)
    _follow_collection(subscription, theirs, at=at, now=now)
    _follow_schedule(subscription, theirs, at=at, now=now)
    _follow_planned_end(subscription, theirs, at=at, now=now, told=told)
    held = [_follow_items(subscription, theirs, now=now)]
    held.append(moving.follow_boundaries(subscription, theirs, at=at, now=now, told=told))
    _hold(subscription, "; ".join(filter(None, held)), at=at, now=now)
    _follow_pause(subscription, theirs, at=at, now=now, told=told)


def shows_nothing_new(subscription: Subscription, snapshot: Mapping[str, Any]) -> bool:
    """Whether an event's snapshot of the subscription says nothing that our rows do not say already."""
    latest = latest_period(subscription.pk)
    if latest is None or (terms_from(snapshot) or latest.starts_at) > latest.starts_at:
        return False
    ours = {item.version.stripe_price_id: item.seats for item in items_of(subscription, at=latest.ends_at)}
    return (
        subscription.status == snapshot["status"]
        and not subscription.held_reason
        and ours == quantities(snapshot)
        and _collection(snapshot) in (None, (subscription.collection_method, subscription.days_until_due))
        and id_of(snapshot.get("schedule")) == subscription.stripe_schedule_id
        and _instant(snapshot.get("cancel_at")) == subscription.cancel_at
        and bool(snapshot.get("pause_collection")) == (subscription.paused_from is not None)
        and moving.is_as_shown(subscription, snapshot)
    )


def _follow_collection(subscription: Subscription, theirs: Mapping[str, Any], *, at: datetime, now: datetime) -> None:
    said = _collection(theirs)
    held = (subscription.collection_method, subscription.days_until_due)
    if said is None or said == held:
        return
    before = collection_text(subscription)
    subscription.collection_method, subscription.days_until_due = said
    subscription.save(update_fields=["collection_method", "days_until_due"])
    record(subscription, Kind.COLLECTION, before=before, after=collection_text(subscription), effective_at=at, now=now)


def collection_text(subscription: Subscription) -> str:
    """How its invoices are paid, in words."""
    if subscription.collection_method == Subscription.CollectionMethod.SEND_INVOICE:
        return f"Sent, to be paid within {subscription.days_until_due} days"
    return "Charged automatically"


def _collection(theirs: Mapping[str, Any]) -> tuple[str, int | None] | None:
    method = theirs.get("collection_method")
    if method is None:
        return None
    is_sent = method == Subscription.CollectionMethod.SEND_INVOICE
    return str(method), int(theirs.get("days_until_due") or 0) if is_sent else None


def _follow_schedule(subscription: Subscription, theirs: Mapping[str, Any], *, at: datetime, now: datetime) -> None:
    schedule = id_of(theirs.get("schedule"))
    if schedule == subscription.stripe_schedule_id:
        return
    before, subscription.stripe_schedule_id = subscription.stripe_schedule_id, schedule
    subscription.save(update_fields=["stripe_schedule_id"])
    record(subscription, Kind.SCHEDULE, before=before, after=schedule, effective_at=at, now=now)


def _follow_planned_end(
    subscription: Subscription,
    theirs: Mapping[str, Any],
    *,
    at: datetime,
    now: datetime,
    told: SubscriptionRequest | None,
) -> None:
    cancel_at = _instant(theirs.get("cancel_at"))
    if cancel_at == subscription.cancel_at:
        return
    before = _text(subscription.cancel_at)
    subscription.cancel_at, subscription.canceled_at = cancel_at, _instant(theirs.get("canceled_at"))
    subscription.save(update_fields=["cancel_at", "canceled_at"])
    kind = Kind.CANCEL_UNDONE if cancel_at is None else Kind.CANCEL_PLANNED
    asked = Asked.UNDO_CANCEL if cancel_at is None else Asked.CANCEL_LATER
    request = who_asked(subscription, asked, told=told, at=at)
    record(
        subscription,
        kind,
        before=before,
        after=_text(cancel_at),
        effective_at=at,
        now=now,
        request=request,
    )


def _follow_items(subscription: Subscription, theirs: Mapping[str, Any], *, now: datetime) -> str:
    """
    Items that differ from our terms: of versions we sell they count from the next period on, as frozen terms stay
    frozen; what cannot be followed is returned, by name, to be held until somebody mends it at Stripe.
    """
    latest = latest_period(subscription.pk)
    if latest is None:
        return ""
    before = terms_text(subscription, at=latest.ends_at)
    try:
        is_changed = bring_items_of_dashboard(subscription, theirs, at=latest.ends_at)
    except Unfollowable as unfollowable:
        return str(unfollowable)
    if is_changed:
        after = terms_text(subscription, at=latest.ends_at)
        actor = STRIPE if subscription.stripe_schedule_id else DASHBOARD
        record(
            subscription, Kind.TERMS, before=before, after=after, effective_at=latest.ends_at, now=now, actor=actor,
            reason="Changed at Stripe: its own prorations stand, and our terms follow with the next period.",
        )  # fmt: skip
    return ""


def _hold(subscription: Subscription, held: str, *, at: datetime, now: datetime) -> None:
    """Say by name what cannot be followed, or that all can be again."""
    held = held[:HELD_CHARS_MAX]
    if held == subscription.held_reason:
        return
    was, subscription.held_reason = subscription.held_reason, held
    subscription.save(update_fields=["held_reason"])
    if held:
        logger.error("subscription %s cannot be followed: %s", subscription.pk, held)
    record(subscription, Kind.HELD if held else Kind.RELEASED, before=was, after=held, effective_at=at, now=now)


def _follow_pause(
    subscription: Subscription,
    theirs: Mapping[str, Any],
    *,
    at: datetime,
    now: datetime,
    told: SubscriptionRequest | None,
) -> None:
    is_paused = bool(theirs.get("pause_collection"))
    if is_paused == (subscription.paused_from is not None):
        return
    request = who_asked(subscription, Asked.PAUSE if is_paused else Asked.RESUME, told=told, at=at)
    last = subscription.events.filter(kind__in=(Kind.PAUSED, Kind.RESUMED)).order_by("pk").last()
    at = counts_from(request, at=at)
    at = at if last is None else max(at, last.effective_at)
    if is_paused:
        from_when = pausing.pause_period(subscription, at=at, now=now)
        subscription.paused_from, kind = from_when, Kind.PAUSED
    else:
        from_when = pausing.resume_period(subscription, theirs, at=at, now=now)
        subscription.paused_from, kind = None, Kind.RESUMED
    subscription.save(update_fields=["paused_from"])
    behaviour = str((theirs.get("pause_collection") or {}).get("behavior", ""))
    said = f"Invoices at Stripe: {behaviour.replace('_', ' ')}" if behaviour else ""
    record(subscription, kind, after=said, effective_at=from_when, now=now, request=request)
    _cancel_other_ends(subscription, request, is_paused=is_paused, now=now)


def _cancel_other_ends(
    subscription: Subscription, request: SubscriptionRequest | None, *, is_paused: bool, now: datetime
) -> None:
    """
    Cancel the scheduled ends of every pause but the one that has begun just now: of one that is over, that would end a
    later one. The resumption that is being carried out just now settles itself.
    """
    if is_paused and request is None:
        return  # nobody can tell whether one of them is its end
    waiting = ScheduledChange.objects.filter(
        subscription=subscription, kind=ScheduledChange.Kind.RESUME, state=ScheduledChange.State.WAITING
    )
    for row in waiting:
        if is_paused:
            own = purpose_of(subscription.pk, Asked.PAUSE, row.idempotency_key.removeprefix(pausing.END_OF))
        else:
            own = purpose_of(subscription.pk, Asked.RESUME, f"scheduled:{row.pk}")
        if request is None or request.purpose != own:
            row.state, row.settled_at, row.settled_by = ScheduledChange.State.CANCELLED, now, END_TASK
            row.detail = "The pause that it was to end is over."
            row.save(update_fields=["state", "settled_at", "settled_by", "detail"])


def _instant(second: Any) -> datetime | None:
    return None if second is None else datetime.fromtimestamp(int(second), tz=UTC)


def _text(at: datetime | None) -> str:
    return "" if at is None else f"{at:%d %b %Y %H:%M:%S} UTC"
