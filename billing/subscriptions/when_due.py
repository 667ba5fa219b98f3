"""When a scheduled change can be carried out: which boundary it comes with, and what it waits for."""

from datetime import datetime, timedelta

from django.db import transaction

from billing.catalog.models import Alignment
from billing.customers.operations import lock_customer
from billing.subscriptions.change_models import ScheduledChange
from billing.subscriptions.models import BillingPeriod
from billing.subscriptions.queries import latest_period

Kind = ScheduledChange.Kind
WAIT = timedelta(minutes=5)
# Stripe's boundaries are seconds from ours: an instant so near to the end of a period is that end.
NEAR = timedelta(minutes=1)
# So long after the end of our latest period the next one is waited for, and what Stripe has done already.
WAITS_FOR = timedelta(days=1)


def next_boundary(latest: BillingPeriod) -> datetime:
    """Where the next period begins: with the end of the latest one, or sooner where Stripe's boundary was moved to."""
    subscription = latest.subscription
    is_anchored = subscription.plan_version.alignment != Alignment.CALENDAR
    is_sooner = latest.starts_at < subscription.anchor_at < latest.ends_at
    return subscription.anchor_at if is_anchored and is_sooner else latest.ends_at


def is_with_renewal(row: ScheduledChange, latest: BillingPeriod) -> bool:
    """Whether it comes with the next period: the boundary first, then the terms, which that one has from its start."""
    return row.kind == Kind.TERMS and abs(row.effective_at - next_boundary(latest)) <= NEAR


def waits(
    row: ScheduledChange, before: ScheduledChange, latest: BillingPeriod | None, *, now: datetime
) -> tuple[datetime | None, str]:
    """
    Until when it cannot be carried out yet, and why; None where it can. `before` is the first that waits.

    Terms that were not told before a renewal count after it: told between Stripe's renewal and our next period, they
    would be billed a whole period later.
    """
    if before.pk != row.pk and before.effective_at < row.effective_at:
        return max(now + NEAR, before.next_attempt_at), f"Comes after {before}"
    if row.kind != Kind.TERMS or latest is None:
        return (row.effective_at, "") if row.effective_at > now else (None, "")
    if row.effective_at > now and not is_with_renewal(row, latest):
        return row.effective_at, ""
    boundary = next_boundary(latest)
    if boundary - NEAR <= now < boundary + WAITS_FOR:
        return now + WAIT, f"Waits for the period that begins {boundary:%F %T} UTC"
    return None, ""


def look_within_a_trial(latest: BillingPeriod | None, row: ScheduledChange, *, now: datetime) -> BillingPeriod | None:
    """
    Return the latest period as it is after a look at Stripe where terms are to change within a trial: somebody may have
    ended it in just that second, and then the trial's end comes first. Not inside a transaction.

    Without it the period that Stripe has billed on the old terms would be opened on the new ones. Raises
    StripeUnavailable; what cannot be brought is left to its events.
    """
    from billing.subscriptions import looking  # noqa: PLC0415  (it projects by the operations, which schedule)

    is_within = latest is not None and latest.kind == BillingPeriod.Kind.TRIAL and row.effective_at < latest.ends_at
    if latest is None or row.kind != Kind.TERMS or not is_within or row.effective_at > now:
        return latest
    subscription = latest.subscription
    if subscription.stripe_subscription_id is None:
        return latest
    look = looking.look_at(subscription)
    with transaction.atomic():
        lock_customer(customer_id=subscription.customer_id)
        looking.bring(look, now=now)
    return latest_period(subscription.pk)
