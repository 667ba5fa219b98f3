"""
What a pause is here: a period of its own, in which nothing is billed, and then the next one.

Ours is Stripe's `pause_collection` with behaviour `void`: its periods go on, and each renewal is void. A subscription
whose trial ended without a card is `paused` by Stripe itself, and counts anew from when it is resumed.
Inside the caller's transaction, with customer and subscription locked.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from billing.catalog.models import Alignment
from billing.subscriptions.add_ons import bring_forward
from billing.subscriptions.errors import PeriodConflict
from billing.subscriptions.models import BillingPeriod, PeriodAllowance, Subscription
from billing.subscriptions.opening import (
    WHOLE,
    Item,
    add_ons_at,
    allowances_of,
    cadence_of,
    open_period,
    places_of,
)
from billing.subscriptions.periods import MICROSECOND
from billing.subscriptions.proration import part_of_amount
from billing.subscriptions.queries import latest_period
from billing.subscriptions.splitting import accrue_part

Kind, State = BillingPeriod.Kind, BillingPeriod.State
# Stripe counts from a little after us; less than this from a boundary of ours is that boundary.
DRIFT_MAX = timedelta(hours=1)
# Before the key of a pause: the key of its scheduled end.
END_OF = "until:"


def open_after_pause(subscription: Subscription, stripe_subscription: Mapping[str, Any]) -> BillingPeriod | None:
    """
    Open the period that Stripe began when the subscription was resumed, and one of the pause before it; None where
    periods went on through the pause.

    Stripe pauses a subscription whose trial ends without a card, and counts anew from when it is resumed. Raises
    PeriodConflict where Stripe's period begins before ours ends.
    """
    starts_at, ends_at = cycle_at_stripe(stripe_subscription)
    latest = latest_period(subscription.pk)
    if latest is None or latest.ends_at >= ends_at:
        return None
    if starts_at < latest.ends_at:
        raise PeriodConflict(f"the period that was resumed begins {starts_at:%F %T}, before {latest.ends_at:%F %T}")
    if starts_at > latest.ends_at:
        open_period(subscription, starts_at=latest.ends_at, ends_at=starts_at, kind=Kind.PAUSED)
    subscription.anchor_at = datetime.fromtimestamp(stripe_subscription["billing_cycle_anchor"], tz=UTC)
    subscription.save(update_fields=["anchor_at"])
    return open_period(subscription, starts_at=starts_at, ends_at=ends_at)


def pause_period(subscription: Subscription, *, at: datetime, now: datetime) -> datetime:
    """
    Begin the pause in the open period, which ends at `at` and goes on as a pause to the same end; return from when.

    The fee of the rest was paid in advance and stays paid. A trial is free already: it goes on, and so does a pause
    that begins after the latest period, with the next one.
    """
    latest = latest_period(subscription.pk)
    if latest is None or latest.kind != Kind.REGULAR or latest.state != State.OPEN or at >= latest.ends_at:
        return at
    at = max(at, latest.starts_at + timedelta(seconds=1))
    if at >= latest.ends_at:
        return at
    _go_on(latest, subscription, at=at, ends_at=latest.ends_at, kind=Kind.PAUSED, now=now)
    return at


def resume_period(
    subscription: Subscription, stripe_subscription: Mapping[str, Any], *, at: datetime, now: datetime
) -> datetime:
    """
    End the pause in the open period; return from when.

    Stripe's boundaries stay where they were, and the rest of the period includes its part of each allowance; or they
    were moved to the resumption, where the period had not been paid for: then a whole one begins there.
    """
    latest = latest_period(subscription.pk)
    if latest is None or latest.kind != Kind.PAUSED or latest.state != State.OPEN:
        return at
    moved = moved_cycle(latest, stripe_subscription)
    if moved is not None:
        begin_cycle(subscription, stripe_subscription, latest, starts_at=moved[0], ends_at=moved[1], now=now)
        return moved[0]
    at = max(at, latest.starts_at + timedelta(seconds=1))
    if at >= latest.ends_at:
        return at
    rows = part_of_allowances(subscription, at=at, ends_at=latest.ends_at)
    _go_on(latest, subscription, at=at, ends_at=latest.ends_at, kind=Kind.REGULAR, allowances=rows, now=now)
    return at


def cycle_at_stripe(stripe_subscription: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """Start and end of the current period at Stripe."""
    item = stripe_subscription["items"]["data"][0]
    return (
        datetime.fromtimestamp(item["current_period_start"], tz=UTC),
        datetime.fromtimestamp(item["current_period_end"], tz=UTC),
    )


def moved_cycle(latest: BillingPeriod, stripe_subscription: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """
    Return Stripe's current period where it began within our latest one and goes on after it; None elsewhere. Of a trial
    that was made much shorter it may also end before it.
    """
    if "current_period_start" not in stripe_subscription["items"]["data"][0]:
        return None
    starts_at, ends_at = cycle_at_stripe(stripe_subscription)
    is_within = latest.starts_at < starts_at < latest.ends_at
    goes_on = ends_at > latest.ends_at + DRIFT_MAX or latest.kind == Kind.TRIAL
    return (starts_at, ends_at) if is_within and goes_on else None


def begin_cycle(
    subscription: Subscription,
    stripe_subscription: Mapping[str, Any],
    latest: BillingPeriod,
    *,
    starts_at: datetime,
    ends_at: datetime,
    kind: str = Kind.REGULAR,
    now: datetime,
) -> BillingPeriod:
    """
    End the latest period where Stripe began another one, and open that: of a trial or a pause that was ended, or where
    the billing date was moved to.

    Terms that were to begin with the next period begin here: it is the next one, and Stripe has billed them.
    """
    bring_forward(subscription, to=starts_at)
    if subscription.plan_version.alignment == Alignment.ANCHOR:
        subscription.anchor_at = datetime.fromtimestamp(stripe_subscription["billing_cycle_anchor"], tz=UTC)
        subscription.save(update_fields=["anchor_at"])
    else:
        ends_at = cadence_of(subscription).nearest(ends_at)
    return _go_on(latest, subscription, at=starts_at, ends_at=ends_at, kind=kind, now=now)


def _go_on(
    latest: BillingPeriod,
    subscription: Subscription,
    *,
    at: datetime,
    ends_at: datetime,
    kind: str,
    allowances: list[PeriodAllowance] | None = None,
    now: datetime,
) -> BillingPeriod:
    latest.ends_at = at
    latest.save(update_fields=["ends_at"])
    accrue_part(latest, now=now)
    rest = open_period(subscription, starts_at=at, ends_at=ends_at, kind=kind, allowances=allowances)
    accrue_part(rest, now=now)
    return rest


def part_of_allowances(subscription: Subscription, *, at: datetime, ends_at: datetime) -> list[PeriodAllowance]:
    """What the rest of a period includes after a pause: its part of the time of each allowance."""
    whole_from, whole_to = cadence_of(subscription).containing(at + (ends_at - at) / 2)
    part = min(WHOLE, Fraction((ends_at - at) // MICROSECOND, (whole_to - whole_from) // MICROSECOND))
    items = [Item(subscription.plan_version, subscription.seats), *add_ons_at(subscription, at)]
    rows = allowances_of(items, at=at)
    for row in rows:
        if row.amount is not None:
            row.amount = part_of_amount(row.amount, part, places=places_of(row))
    return rows
