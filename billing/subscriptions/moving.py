"""
Boundaries that somebody moved at Stripe: a trial made longer or shorter, a billing date that begins now or later.

Our terms stay frozen and no period becomes longer. A boundary that comes later is reached by a further period of the
same kind, opened shortly before the running one ends; one that comes sooner cuts the running one, once Stripe's period
has begun there. Inside the caller's transaction, with customer and subscription locked.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, OuterRef, Subquery

from billing.catalog.models import Alignment
from billing.customers.operations import lock_customer
from billing.stripe.errors import NotYetKnown
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
# A further period that was opened before its boundary was moved back is as short as a period may be.
SHORTEST = timedelta(seconds=1)


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
    held = _off_the_calendar(subscription, latest, theirs)
    if held:
        return held
    until = _free_until(subscription, latest, theirs)
    if until is not None:
        held = _meet_later(subscription, latest, until=until, at=at, now=now)
        latest = latest_period(subscription.pk) or latest
    if theirs["status"] != Status.TRIALING:
        _begin_where_stripe_began(subscription, latest, theirs, at=at, now=now, told=told)
    return held


def require_heard_of(subscription: Subscription, theirs: Mapping[str, Any]) -> None:
    """Raise NotYetKnown where a boundary was moved in a period of Stripe's of whose renewal we have not heard yet."""
    latest = latest_period(subscription.pk)
    is_anchored = subscription.plan_version.alignment != Alignment.CALENDAR
    if latest is None or subscription.ended_at is not None or not is_anchored:
        return
    if "current_period_start" not in theirs["items"]["data"][0]:
        return
    began, _ = pausing.cycle_at_stripe(theirs)
    if theirs["status"] == Status.TRIALING:
        began = _instant(theirs.get("trial_start") or 0)
        is_moved = began >= latest.ends_at
    else:
        is_moved = began > latest.ends_at + DRIFT_MAX and cadence_of(subscription).containing(began)[0] != began
    if is_moved:
        raise NotYetKnown(f"{subscription} was moved to {began:%F %T}, after a renewal that is not known here")


def is_as_shown(subscription: Subscription, snapshot: Mapping[str, Any]) -> bool:
    """Whether an event's snapshot has the boundaries where our row has them."""
    if subscription.plan_version.alignment == Alignment.CALENDAR:
        latest = latest_period(subscription.pk)
        return latest is not None and not _off_the_calendar(subscription, latest, snapshot)
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
    # The latest period of each is looked up: grouping would read the periods of all.
    periods = BillingPeriod.objects.filter(subscription=OuterRef("pk")).order_by("-ends_at")
    moved = moved.exclude(plan_version__alignment=Alignment.CALENDAR).annotate(
        until=Subquery(periods.values("ends_at")[:1])
    )
    due = moved.filter(until__lt=F("anchor_at"), until__lte=now + AHEAD).order_by("until", "pk")
    opened = 0
    for number, customer_id in list(due.values_list("pk", "customer_id")[:limit]):
        try:
            with transaction.atomic():
                lock_customer(customer_id=customer_id)
                rows = Subscription.objects.select_for_update(of=("self",)).select_related("plan_version")
                opened += open_further(rows.get(pk=number)) is not None
        except Exception:  # one that goes wrong keeps no other waiting
            logger.exception("the period of subscription %s to a boundary that was moved was not opened", number)
    return opened


def boundary_text(at: datetime | None) -> str:
    return "" if at is None else f"{at:%d %b %Y %H:%M:%S} UTC"


def _is_moved_behind(subscription: Subscription, latest: BillingPeriod) -> bool:
    is_anchored = subscription.plan_version.alignment != Alignment.CALENDAR
    return is_anchored and subscription.anchor_at > latest.ends_at


def _free_until(subscription: Subscription, latest: BillingPeriod, theirs: Mapping[str, Any]) -> datetime | None:
    """
    Until when Stripe charges nothing by a trial that began in our latest period, or before it: one that runs, or one
    that is over, went on behind that period, and of which nobody told. None without such a trial.
    """
    is_anchored = subscription.plan_version.alignment != Alignment.CALENDAR
    if not is_anchored or theirs.get("trial_end") is None or _instant(theirs.get("trial_start") or 0) >= latest.ends_at:
        return None
    until = _instant(theirs["trial_end"])
    return until if theirs["status"] == Status.TRIALING or until > latest.ends_at + DRIFT_MAX else None


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
        is_again = subscription.anchor_at > latest.starts_at
        before = known if is_trial or is_again else latest.ends_at
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
    moved = pausing.moved_cycle(latest, theirs) or _begun_unheard(subscription, latest, theirs, now=now)
    is_resumed = latest.kind == Kind.PAUSED and not theirs.get("pause_collection")
    if moved is None or latest.state != BillingPeriod.State.OPEN or is_resumed:
        return  # a resumption brings its own period
    is_trial = latest.kind == Kind.TRIAL
    known = subscription.trial_ends_at if is_trial else subscription.anchor_at
    is_anchored = subscription.plan_version.alignment != Alignment.CALENDAR
    anchors = (_instant(theirs["billing_cycle_anchor"]), subscription.anchor_at, latest.starts_at + SHORTEST)
    if not is_trial and not (is_anchored and moved[0] in anchors):
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


def _begun_unheard(
    subscription: Subscription, latest: BillingPeriod, theirs: Mapping[str, Any], *, now: datetime
) -> tuple[datetime, datetime] | None:
    """
    What began at Stripe within our latest period and is not the period that runs there: one of which nobody told until
    the next; or one from where a boundary was moved back to, when our further period had been opened.
    """
    if subscription.plan_version.alignment == Alignment.CALENDAR:
        return None
    anchor = _instant(theirs["billing_cycle_anchor"])
    first_end = replace(cadence_of(subscription), anchor_at=anchor).after(anchor)
    is_trial = latest.kind == Kind.TRIAL
    if latest.starts_at < anchor < latest.ends_at and anchor <= now:
        return (anchor, first_end) if is_trial or first_end > latest.ends_at + DRIFT_MAX else None
    starts_at, ends_at = pausing.cycle_at_stripe(theirs)
    is_here = starts_at <= latest.starts_at <= starts_at + AHEAD and ends_at > latest.starts_at + SHORTEST
    if not is_here or not (is_trial or ends_at > latest.ends_at + DRIFT_MAX):
        return None
    is_first = not subscription.periods.filter(starts_at__lt=latest.starts_at).exists()
    return None if is_first else (latest.starts_at + SHORTEST, ends_at)  # a period has a length


def _off_the_calendar(subscription: Subscription, latest: BillingPeriod, theirs: Mapping[str, Any]) -> str:
    """Terms of a calendar have their boundaries there: one that was moved elsewhere cannot be followed."""
    version = subscription.plan_version
    if version.alignment != Alignment.CALENDAR or theirs.get("cancel_at") is not None:
        return ""
    if theirs["status"] == Status.TRIALING:
        ends_at, known = _instant(theirs["trial_end"]), subscription.trial_ends_at
        if ends_at == known or (known is None and abs(ends_at - latest.ends_at) <= DRIFT_MAX):
            return ""
        return (
            f"its trial ends {boundary_text(ends_at)} at Stripe and {boundary_text(known or latest.ends_at)} here,"
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
