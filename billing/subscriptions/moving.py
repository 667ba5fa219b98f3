"""
Boundaries that somebody moved at Stripe: a trial made longer or shorter, a billing date that begins now or later.

Our terms stay frozen and no period becomes longer. A boundary that comes later is reached by a further period of the
same kind, opened shortly before the running one ends; one that comes sooner cuts the running one, once Stripe's period
has begun there. Inside the caller's transaction, with customer and subscription locked.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Max

from billing.catalog.models import Alignment
from billing.customers.operations import lock_customer
from billing.subscriptions import pausing
from billing.subscriptions.change_models import SubscriptionEvent, SubscriptionRequest
from billing.subscriptions.history import Asked, record, who_asked
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.opening import cadence_of, open_period
from billing.subscriptions.queries import latest_period

logger = logging.getLogger(__name__)
EventKind, Kind, Status = SubscriptionEvent.Kind, BillingPeriod.Kind, Subscription.Status
# A further period is opened so long before the running one ends: until then its boundary may move again.
AHEAD = timedelta(hours=1)
# Of a calendar Stripe's boundary may be so far from ours: it keeps an hour of UTC all year.
DRIFT_MAX = timedelta(hours=1)


def follow_boundaries(
    subscription: Subscription,
    theirs: Mapping[str, Any],
    *,
    at: datetime,
    now: datetime,
    told: SubscriptionRequest | None = None,
) -> str:
    """
    Bring a boundary that Stripe has elsewhere than we; return what cannot be followed, by name and with the remedy.

    What changed is recorded with before and after, by whoever asked for it, else `stripe:dashboard`.
    """
    latest = latest_period(subscription.pk)
    if latest is None or "current_period_start" not in theirs["items"]["data"][0]:
        return ""
    held = _off_the_calendar(subscription, theirs)
    if held:
        return held
    if theirs["status"] != Status.TRIALING:
        _begin_where_stripe_began(subscription, latest, theirs, at=at, now=now, told=told)
        return ""
    if subscription.plan_version.alignment == Alignment.CALENDAR:
        return ""
    return _meet_later(subscription, latest, until=_instant(theirs["trial_end"]), at=at, now=now)


def is_as_shown(subscription: Subscription, snapshot: Mapping[str, Any]) -> bool:
    """Whether an event's snapshot has the boundaries where our row has them."""
    if subscription.plan_version.alignment == Alignment.CALENDAR:
        return not _off_the_calendar(subscription, snapshot)
    anchor = snapshot.get("billing_cycle_anchor")
    return anchor is None or _instant(anchor) == subscription.anchor_at


def open_further(subscription: Subscription) -> BillingPeriod | None:
    """
    Open the period that goes on from the latest one to a boundary that was moved behind it; None where none was.

    It is of the same kind: a trial goes on, and what is paid for goes on under its terms, with its part of each
    allowance. Stripe bills no fee of it.
    """
    latest = latest_period(subscription.pk)
    if latest is None or subscription.ended_at is not None or not _is_moved_behind(subscription, latest):
        return None
    starts_at, ends_at = latest.ends_at, subscription.anchor_at
    is_paused = subscription.paused_from is not None and latest.kind != Kind.TRIAL
    kind = Kind.PAUSED if is_paused else Kind(latest.kind)
    rows = None
    if kind == Kind.REGULAR:
        rows = pausing.part_of_allowances(subscription, at=starts_at, ends_at=ends_at)
    return open_period(subscription, starts_at=starts_at, ends_at=ends_at, kind=kind, allowances=rows)


def open_due(*, now: datetime, limit: int) -> int:
    """Open the further periods of boundaries that were moved, shortly before they begin; return how many."""
    moved = Subscription.objects.filter(ended_at=None, status=Status.TRIALING)
    moved = moved.exclude(plan_version__alignment=Alignment.CALENDAR).annotate(until=Max("periods__ends_at"))
    due = moved.filter(until__lt=F("anchor_at"), until__lte=now + AHEAD).order_by("pk")
    opened = 0
    for number, customer_id in list(due.values_list("pk", "customer_id")[:limit]):
        with transaction.atomic():
            lock_customer(customer_id=customer_id)
            rows = Subscription.objects.select_for_update(of=("self",)).select_related("plan_version")
            opened += open_further(rows.get(pk=number)) is not None
    return opened


def boundary_text(at: datetime | None) -> str:
    return "" if at is None else f"{at:%d %b %Y %H:%M:%S} UTC"


def _is_moved_behind(subscription: Subscription, latest: BillingPeriod) -> bool:
    is_anchored = subscription.plan_version.alignment != Alignment.CALENDAR
    return is_anchored and subscription.anchor_at > latest.ends_at


def _meet_later(
    subscription: Subscription, latest: BillingPeriod, *, until: datetime, at: datetime, now: datetime
) -> str:
    """Stripe charges nothing until `until`: the end of a trial, or a billing date that was moved by one."""
    is_trial = latest.kind == Kind.TRIAL
    known = subscription.trial_ends_at if is_trial else subscription.anchor_at
    if until != known:
        if until <= latest.starts_at:
            return (
                f"its trial at Stripe ends {boundary_text(until)}, before the period that began here"
                f" {boundary_text(latest.starts_at)}: set it to a later instant there"
            )
        before = subscription.trial_ends_at if is_trial else latest.ends_at
        subscription.anchor_at = until
        if is_trial:
            subscription.trial_ends_at = until
        subscription.save(update_fields=["anchor_at", "trial_ends_at"])
        record(
            subscription, EventKind.TRIAL_MOVED if is_trial else EventKind.CYCLE_MOVED, before=boundary_text(before),
            after=boundary_text(until), effective_at=at, now=now, reason=_why(is_trial=is_trial),
        )  # fmt: skip
    if latest.ends_at <= now + AHEAD:
        open_further(subscription)
    return ""


def _why(*, is_trial: bool) -> str:
    if is_trial:
        return "Moved at Stripe: all usage is included until then."
    return "Moved at Stripe: its own prorations stand, usage until then is billed by the terms that run."


def _begin_where_stripe_began(
    subscription: Subscription,
    latest: BillingPeriod,
    theirs: Mapping[str, Any],
    *,
    at: datetime,
    now: datetime,
    told: SubscriptionRequest | None,
) -> None:
    """Stripe's period began within ours: a trial ended before its time, or the billing date was moved to there."""
    moved = pausing.moved_cycle(latest, theirs)
    is_resumed = latest.kind == Kind.PAUSED and not theirs.get("pause_collection")
    if moved is None or latest.state != BillingPeriod.State.OPEN or is_resumed:
        return  # a resumption brings its own period
    is_trial = latest.kind == Kind.TRIAL
    known = subscription.trial_ends_at if is_trial else subscription.anchor_at
    is_anchored = subscription.plan_version.alignment != Alignment.CALENDAR
    is_moved = is_anchored and moved[0] in (_instant(theirs["billing_cycle_anchor"]), subscription.anchor_at)
    if not is_trial and not is_moved:
        return
    before = latest.ends_at
    kind = Kind.PAUSED if latest.kind == Kind.PAUSED else Kind.REGULAR
    pausing.begin_cycle(subscription, theirs, latest, starts_at=moved[0], ends_at=moved[1], kind=kind, now=now)
    if is_trial and subscription.trial_ends_at != moved[0]:
        subscription.trial_ends_at = moved[0]
        subscription.save(update_fields=["trial_ends_at"])
    if known == moved[0]:
        return  # it was written down when it was moved
    record(
        subscription, EventKind.TRIAL_ENDED if is_trial else EventKind.CYCLE_MOVED, before=boundary_text(before),
        after=boundary_text(moved[0]), effective_at=moved[0], now=now,
        request=who_asked(subscription, Asked.END_TRIAL, told=told, at=at),
    )  # fmt: skip


def _off_the_calendar(subscription: Subscription, theirs: Mapping[str, Any]) -> str:
    """Terms of a calendar have their boundaries there: one that was moved elsewhere cannot be followed."""
    version = subscription.plan_version
    if version.alignment != Alignment.CALENDAR or theirs.get("cancel_at") is not None:
        return ""
    if theirs["status"] == Status.TRIALING:
        ends_at = _instant(theirs["trial_end"])
        if subscription.trial_ends_at in (None, ends_at):
            return ""
        return (
            f"its trial ends {boundary_text(ends_at)} at Stripe and {boundary_text(subscription.trial_ends_at)} here,"
            f" and its terms are billed by the calendar of {version.time_zone}: set the trial's end back at Stripe"
        )
    _, ends_at = pausing.cycle_at_stripe(theirs)
    if abs(ends_at - cadence_of(subscription).nearest(ends_at)) <= DRIFT_MAX:
        return ""
    return (
        f"its period ends {boundary_text(ends_at)} at Stripe, and its terms are billed by the calendar of"
        f" {version.time_zone}: let the billing date begin with the calendar again at Stripe, or end it and begin one"
        " on terms that count from its start"
    )


def _instant(second: Any) -> datetime:
    return datetime.fromtimestamp(int(second), tz=UTC)
