"""
The end of a subscription: its last period ends at that second, never later, and its usage is ordered onto a closing
invoice. Inside the caller's transaction, with customer and subscription locked.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from billing.subscriptions.change_models import ScheduledChange, SubscriptionEvent, SubscriptionRequest
from billing.subscriptions.divisible import of_the_whole
from billing.subscriptions.history import DASHBOARD, STRIPE, Asked, record, who_asked
from billing.subscriptions.models import BillingPeriod, PeriodAllowance, Subscription
from billing.subscriptions.moving import open_further
from billing.subscriptions.opening import Item, add_ons_at, cadence_of, open_period
from billing.subscriptions.pausing import cycle_at_stripe
from billing.subscriptions.queries import latest_period
from billing.subscriptions.splitting import accrue_part

TASK = "task:end_subscriptions"
# A period has a length: one that would end where it begins is as long as Stripe's clock is fine.
SHORTEST = timedelta(seconds=1)
# Stripe began a little after us: so much past the end of our last period is no period of its own.
DRIFT_MAX = timedelta(hours=1)


def ended_instant(stripe_subscription: Mapping[str, Any], *, now: datetime) -> datetime:
    """When Stripe says it ended."""
    second = stripe_subscription.get("ended_at") or stripe_subscription.get("canceled_at")
    return datetime.fromtimestamp(int(second), tz=UTC) if second else now.replace(microsecond=0)


def end(
    subscription: Subscription,
    stripe_subscription: Mapping[str, Any],
    *,
    status: str,
    now: datetime,
    told: SubscriptionRequest | None = None,
) -> None:
    """
    Bring the end that Stripe tells of: the status, the last period, its closing invoice, and what was scheduled.

    `told` is the request that this is the answer to, if any.
    """
    ended_at = ended_instant(stripe_subscription, now=now)
    latest = latest_period(subscription.pk)
    if latest is not None and latest.ends_at < ended_at:
        open_further(subscription)  # a boundary that was moved, and that nobody went to yet
    request = who_asked(subscription, Asked.CANCEL, told=told, at=ended_at)
    was_planned = subscription.cancel_at is not None and request is None
    actor = _who(subscription, was_planned=was_planned, before=subscription.status)
    is_told = "current_period_start" in stripe_subscription["items"]["data"][0]
    cycle = cycle_at_stripe(stripe_subscription) if is_told else None
    if cycle is not None:
        _open_renewed(subscription, ended_at=ended_at, cycle=cycle)
    end_at(subscription, status=status, ended_at=ended_at, cycle=cycle, request=request, actor=actor, now=now)


def end_at(
    subscription: Subscription,
    *,
    status: str,
    ended_at: datetime,
    cycle: tuple[datetime, datetime] | None = None,
    request: SubscriptionRequest | None,
    actor: str,
    now: datetime,
) -> None:
    """End it at an instant, by whoever asked for it, or else by `actor`. `cycle` as `end_periods`."""
    before, is_paused = subscription.get_status_display(), subscription.paused_from is not None
    subscription.status, subscription.ended_at, subscription.paused_from = status, ended_at, None
    subscription.save(update_fields=["status", "ended_at", "paused_from"])
    record(
        subscription,
        SubscriptionEvent.Kind.ENDED,
        before=before,
        after=subscription.get_status_display(),
        effective_at=ended_at,
        now=now,
        request=request,
        actor=actor,
    )
    ScheduledChange.objects.filter(subscription=subscription, state=ScheduledChange.State.WAITING).update(
        state=ScheduledChange.State.CANCELLED, settled_at=now, settled_by=TASK, detail="The subscription ended."
    )
    last = end_periods(subscription, ended_at=ended_at, cycle=cycle, is_paused=is_paused, now=now)
    if last is not None:
        # Of a trial or a pause too: usage of the part before it may be on no invoice yet.
        order_closing(last, now=now)


def end_periods(
    subscription: Subscription,
    *,
    ended_at: datetime,
    cycle: tuple[datetime, datetime] | None = None,
    is_paused: bool = False,
    now: datetime,
) -> BillingPeriod | None:
    """
    Let the periods end with the subscription and return the last one: cut where it is longer, and opened where a
    renewal of which we have not heard lies before the end. In a pause nothing of those is billed.

    `cycle` is Stripe's last period: a renewal minutes before the end is told by where that began alone. Where there was
    none, what lies between is of the hour by which Stripe's boundary of a calendar comes after ours.
    """
    latest = latest_period(subscription.pk)
    if latest is None:
        return None
    kind = BillingPeriod.Kind.PAUSED if is_paused else BillingPeriod.Kind.REGULAR
    is_trial = latest.kind == BillingPeriod.Kind.TRIAL  # one that was made longer there goes on for nothing
    while _goes_on(latest.ends_at, since=latest.starts_at, ended_at=ended_at, cycle=cycle, is_free=is_trial):
        starts_at, is_trial = latest.ends_at, False
        following = cadence_of(subscription).after(starts_at)
        is_whole = _goes_on(following, since=starts_at, ended_at=ended_at, cycle=cycle)
        ends_at = following if is_whole else max(ended_at, starts_at + SHORTEST)
        is_renewed = starts_at + DRIFT_MAX < ended_at or _is_renewed(starts_at, since=latest.starts_at, cycle=cycle)
        rows = None if is_renewed else _without_a_renewal(subscription, at=starts_at)
        latest = open_period(subscription, starts_at=starts_at, ends_at=ends_at, kind=kind, allowances=rows)
    ends_at = max(ended_at, latest.starts_at + SHORTEST)
    if ends_at < latest.ends_at and latest.state == BillingPeriod.State.OPEN:
        latest.ends_at = ends_at
        latest.save(update_fields=["ends_at"])
        accrue_part(latest, now=now)
    return latest


def _goes_on(
    boundary: datetime,
    *,
    since: datetime,
    ended_at: datetime,
    cycle: tuple[datetime, datetime] | None,
    is_free: bool = False,
) -> bool:
    """Whether something lies between the boundary, the end of a period that began `since`, and the end of all."""
    if boundary + DRIFT_MAX < ended_at or boundary >= ended_at or cycle is None:
        return boundary + DRIFT_MAX < ended_at
    return not is_free or _is_renewed(boundary, since=since, cycle=cycle)


def _is_renewed(boundary: datetime, *, since: datetime, cycle: tuple[datetime, datetime] | None) -> bool:
    """Whether Stripe's last period began at the boundary, the end of a period of ours that began `since`."""
    return cycle is not None and abs(cycle[0] - boundary) <= min(DRIFT_MAX, abs(cycle[0] - since))


def _without_a_renewal(subscription: Subscription, *, at: datetime) -> list[PeriodAllowance] | None:
    """
    What the time until Stripe's boundary includes, of which no fee is billed: None for its part of each allowance, and
    everything where a price asks for something of a whole period, which the period before it owes.
    """
    items = [Item(subscription.plan_version, subscription.seats), *add_ons_at(subscription, at)]
    if not any(of_the_whole((item.version for item in items), at=at)):
        return None
    return [PeriodAllowance(code="until_the_end", name="Until Stripe's boundary: all usage", amount=None)]


def _open_renewed(subscription: Subscription, *, ended_at: datetime, cycle: tuple[datetime, datetime]) -> None:
    """
    Open the period of a renewal that we have not heard of and in whose very second it ended, as Stripe has billed it.
    Before the end is written down: nothing begins after that. It is cut to what a period has at least.
    """
    latest = latest_period(subscription.pk)
    if latest is None or latest.ends_at != ended_at or not _is_renewed(ended_at, since=latest.starts_at, cycle=cycle):
        return
    kind = BillingPeriod.Kind.REGULAR if subscription.paused_from is None else BillingPeriod.Kind.PAUSED
    open_period(subscription, starts_at=ended_at, ends_at=cadence_of(subscription).after(ended_at), kind=kind)


def order_closing(period: BillingPeriod, *, now: datetime) -> None:
    """Order the invoice of what was used until the end; once for a period, whoever asks."""
    from billing.invoicing.orders.operations import order_closing_invoice  # noqa: PLC0415  (it imports this room)

    if period.state == BillingPeriod.State.OPEN:
        order_closing_invoice(period=period, actor=TASK, now=now)


def _who(subscription: Subscription, *, was_planned: bool, before: str) -> str:
    """Who ended it where nobody asked us just now: whoever planned it, Stripe's own rules, or the dashboard."""
    if was_planned:
        planned = subscription.events.filter(kind=SubscriptionEvent.Kind.CANCEL_PLANNED).last()
        if planned is not None:
            return planned.actor
    is_unpaid = before in (Subscription.Status.INCOMPLETE, Subscription.Status.PAST_DUE, Subscription.Status.UNPAID)
    return STRIPE if is_unpaid else DASHBOARD
