"""
All writes about subscriptions and their billing periods; changes of terms within a period are in `changes`.

Only `start_at_stripe` calls Stripe, through the outbox and outside of every transaction.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from billing.catalog.models import Alignment, PlanVersion
from billing.customers.models import Customer
from billing.customers.operations import create_at_stripe, lock_customer, use_payment_method
from billing.stripe import outbox
from billing.stripe.errors import NotYetKnown
from billing.stripe.models import OutboxIntent
from billing.subscriptions import at_stripe
from billing.subscriptions.at_stripe import seats_at_stripe
from billing.subscriptions.binding import bound
from billing.subscriptions.change_models import ChangePreview, SubscriptionEvent, SubscriptionRequest
from billing.subscriptions.changes import apply_change, ask_for_change, terms_text
from billing.subscriptions.ending import end
from billing.subscriptions.errors import (
    ChangeRefused,
    PeriodConflict,
    PeriodNotFound,
    PlanNotOffered,
    SubscriptionConflict,
    SubscriptionError,
    SubscriptionNotFound,
)
from billing.subscriptions.following import follow
from billing.subscriptions.history import STRIPE, next_reading, record
from billing.subscriptions.models import BillingPeriod, Subscription, SubscriptionAddOn
from billing.subscriptions.moving import open_further
from billing.subscriptions.offers import require_add_on, require_offered, require_plan
from billing.subscriptions.opening import Item, cadence_of, first_span, open_period
from billing.subscriptions.pausing import open_after_pause
from billing.subscriptions.pending import create_purpose
from billing.subscriptions.queries import latest_period

__all__ = [
    "ENDED_STATUSES",
    "ChangeRefused",
    "PeriodConflict",
    "PeriodNotFound",
    "PlanNotOffered",
    "SubscriptionConflict",
    "SubscriptionError",
    "SubscriptionNotFound",
    "bring_awaited_change",
    "change_terms",
    "close_period",
    "create_subscription",
    "open_next_period",
    "project_subscription",
    "start_at_stripe",
]

logger = logging.getLogger(__name__)

# Stripe starts a subscription when it is told of it: a little after we agreed on it. A calendar's periods begin at
# midnight there, Stripe's at the same hour in UTC: in summer an hour later.
START_DRIFT_MAX = timedelta(hours=1)
DAYS_UNTIL_DUE_MAX = 365
CHARGED, SENT = Subscription.CollectionMethod.CHARGE_AUTOMATICALLY, Subscription.CollectionMethod.SEND_INVOICE
EventKind = SubscriptionEvent.Kind
ENDED_STATUSES = (Subscription.Status.CANCELED, Subscription.Status.INCOMPLETE_EXPIRED)


def create_subscription(
    *,
    customer: Customer,
    plan_version: PlanVersion,
    seats: int,
    starts_at: datetime,
    actor: str,
    add_ons: Sequence[tuple[PlanVersion, int]] = (),
    days_until_due: int | None = None,
    reason: str = "",
) -> Subscription:
    """
    Agree on a subscription, not yet known to Stripe, and open its first period.

    `starts_at` is the anchor of all periods; its fraction of a second is dropped, as Stripe knows none. A plan with
    trial days begins with a trial, once for each customer, and counts its periods from the trial's end. `add_ons` are
    versions with their seats. With `days_until_due` its invoices are sent, to be paid within so many days; without,
    a card is charged. Said twice it returns the first. Raises PlanNotOffered, SubscriptionConflict, and ValueError
    without seats, for another zone than UTC and for days that are not from 0 to 365.
    """
    require_offered(plan_version, customer=customer, seats=seats)
    require_plan(plan_version)
    for add_on, add_on_seats in add_ons:
        require_offered(add_on, customer=customer, seats=add_on_seats)
        require_add_on(add_on, plan=plan_version)
    if days_until_due is not None and not 0 <= days_until_due <= DAYS_UNTIL_DUE_MAX:
        raise ValueError(f"days_until_due is {days_until_due}; it must be from 0 to {DAYS_UNTIL_DUE_MAX}")
    started_at = starts_at.replace(microsecond=0)
    with transaction.atomic():
        # The customer's row stands in for the subscription that does not exist yet: two callers take turns.
        Customer.objects.select_for_update().get(pk=customer.pk)
        live = Subscription.objects.filter(customer=customer).exclude(status__in=ENDED_STATUSES).first()
        if live is not None:
            return _the_same(live, plan_version=plan_version, seats=seats, started_at=started_at)
        trial_ends_at = started_at + timedelta(days=plan_version.trial_days) if plan_version.trial_days else None
        if Subscription.objects.filter(customer=customer).exclude(trial_ends_at=None).exists():
            trial_ends_at = None
        subscription = Subscription(
            customer=customer,
            plan_version=plan_version,
            seats=seats,
            started_at=started_at,
            anchor_at=trial_ends_at or started_at,
            trial_ends_at=trial_ends_at,
            collection_method=CHARGED if days_until_due is None else SENT,
            days_until_due=days_until_due,
        )
        span = first_span(subscription)
        subscription.save()
        SubscriptionAddOn.objects.bulk_create(
            SubscriptionAddOn(subscription=subscription, plan_version=add_on, seats=count, added_at=started_at)
            for add_on, count in add_ons
        )
        open_period(subscription, **span)
        record(
            subscription, EventKind.CREATED, after=terms_text(subscription, at=started_at), effective_at=started_at,
            now=starts_at, actor=actor, reason=reason,
        )  # fmt: skip
    logger.info("%s subscribed %s to %s, %s seats", actor, customer.customer_key, plan_version.pk, seats)
    return subscription


def open_next_period(*, subscription_id: int, starts_at: datetime, ends_at: datetime) -> BillingPeriod:
    """
    Open the period that follows the latest one, under the subscription's terms of this moment.

    `starts_at` and `ends_at` are Stripe's. The period begins exactly where the latest one ends, so that no usage falls
    between two: Stripe's instant may differ from it by START_DRIFT_MAX, because Stripe counts from when it was told.
    Under terms of a calendar it ends where the calendar says, from which Stripe's may differ as much. Said twice it
    returns the first. Raises SubscriptionNotFound and PeriodConflict.
    """
    with transaction.atomic():
        subscription = _locked(subscription_id)
        if subscription.plan_version.alignment == Alignment.CALENDAR:
            stripes, ends_at = ends_at, cadence_of(subscription).nearest(ends_at)
            _require_near(ends_at, stripes, "ends")
        if subscription.ended_at is not None:
            known = _beginning_with(subscription, starts_at)
            if known is None:
                raise PeriodConflict(
                    f"{subscription} ended {subscription.ended_at:%F %T}; no period begins {starts_at:%F %T}"
                )
            return known
        if subscription.periods.filter(ends_at=ends_at).exists():
            # One whose terms changed meanwhile is in two parts: Stripe's begins with the first of them.
            first = _beginning_with(subscription, starts_at)
            if first is None:
                raise PeriodConflict(f"no period begins at {starts_at:%F %T}, and one ends {ends_at:%F %T} already")
            return first
        latest = latest_period(subscription_id)
        if latest is None:
            return open_period(subscription, starts_at=starts_at, ends_at=ends_at)
        if abs(starts_at - subscription.anchor_at) <= START_DRIFT_MAX:
            latest = open_further(subscription) or latest  # a boundary that was moved, and that nobody went to yet
        _require_near(latest.ends_at, starts_at, "begins")
        if ends_at <= latest.ends_at:
            raise PeriodConflict(
                f"the period would end at {ends_at:%F %T}, inside the one that ends {latest.ends_at:%F %T}"
            )
        kind = BillingPeriod.Kind.REGULAR if subscription.paused_from is None else BillingPeriod.Kind.PAUSED
        return open_period(subscription, starts_at=latest.ends_at, ends_at=ends_at, kind=kind)


def close_period(*, period_id: int, now: datetime) -> BillingPeriod:
    """
    Close a period: its invoice is complete. Usage that arrives later is accrued all the same, and stays uninvoiced.

    Said twice it changes nothing. Raises PeriodNotFound.
    """
    with transaction.atomic():
        period = BillingPeriod.objects.select_for_update().filter(pk=period_id).first()
        if period is None:
            raise PeriodNotFound(f"there is no billing period {period_id}")
        if period.state == BillingPeriod.State.OPEN:
            period.state = BillingPeriod.State.CLOSED
            period.closed_at = now
            period.save(update_fields=["state", "closed_at"])
    return period


def start_at_stripe(*, subscription_id: int, payment_method: str = "", wish: str = "", now: datetime) -> Subscription:
    """
    Create the subscription at Stripe, with the customer and their default payment method; safe to repeat.

    `payment_method` is Stripe's id or test token; without one the customer's default pays, or what is sent. `wish`
    names who asked: a card that was refused to one is tried anew for another. What Stripe refused to create is refused
    again until it is given up (`pending.give_up_refused`). Raises SubscriptionNotFound, ChangeRefused where it was let
    go, PlanNotOffered when a plan version or add-on has no price at Stripe yet, and what outbox.perform raises; what
    was done until then stays done.
    """
    subscription = Subscription.objects.select_related("customer", "plan_version").filter(pk=subscription_id).first()
    if subscription is None:
        raise SubscriptionNotFound(f"there is no subscription {subscription_id}")
    if subscription.ended_at is not None and subscription.stripe_subscription_id is None:
        raise ChangeRefused(f"{subscription} was ended before Stripe knew it; start another one", is_conflict=True)
    fact = f"subscription:{subscription_id}"
    stripe_customer_id = create_at_stripe(customer_id=subscription.customer_id, now=now)
    if payment_method:
        use_payment_method(
            customer_id=subscription.customer_id,
            payment_method=payment_method,
            idempotency_key=f"{fact}:{wish}:{payment_method}" if wish else f"{fact}:{payment_method}",
            now=now,
        )
    purpose = create_purpose(subscription_id)
    # What depends on the time of day was said once, and is said so again.
    known = OutboxIntent.objects.filter(purpose=purpose).values_list("params", flat=True).first()
    reading = next_reading()
    created = outbox.perform(
        purpose=purpose,
        operation="subscriptions.create",
        target="",
        params=known or {"customer": stripe_customer_id, **at_stripe.creation(subscription, now=now)},
        now=now,
    )
    project_subscription(created, now=now, reading=reading)
    subscription.refresh_from_db()
    if subscription.ended_at is not None and created["status"] not in ENDED_STATUSES:
        # Somebody let it go between our look and Stripe's answer.
        outbox.perform(
            purpose=f"{fact}:let_go", operation="subscriptions.cancel", target=str(created["id"]),
            params={"prorate": True, "invoice_now": True}, now=now,
        )  # fmt: skip
    return Subscription.objects.get(pk=subscription_id)


def change_terms(
    *,
    subscription_id: int,
    plan_version: PlanVersion,
    seats: int,
    add_ons: Sequence[tuple[PlanVersion, int]] = (),
    from_next_period: bool = False,
    preview: ChangePreview | None = None,
    at: datetime | None = None,
    actor: str,
    reason: str = "",
    idempotency_key: str,
    now: datetime,
) -> Subscription:
    """
    Change a subscription to this plan, these seats and these add-ons, and no others, at Stripe and here.

    From now on (or from `at`, behind us in it), which divides the open period, or `from_next_period`. With the
    `preview` of just this change it counts from its second, and what is invoiced is compared with it. Not inside a
    transaction; said twice with one key it is done once. Raises what `changes.ask_for_change` raises, and
    SubscriptionError when its answer cannot be applied yet: its webhook does it then.
    """
    from billing.subscriptions.lifecycle import bring_answer  # noqa: PLC0415  (it projects by this module)

    items = [Item(plan_version, seats), *(Item(add_on, count) for add_on, count in add_ons)]
    reading = next_reading()
    answer, request = ask_for_change(
        subscription_id=subscription_id,
        items=items,
        from_next_period=from_next_period,
        preview=preview,
        at=at,
        actor=actor,
        reason=reason,
        idempotency_key=idempotency_key,
        now=now,
    )
    bring_answer(request, answer, now=now, reading=reading)
    return Subscription.objects.get(pk=subscription_id)


def project_subscription(
    stripe_subscription: Mapping[str, Any],
    *,
    now: datetime,
    reading: int | None = None,
    changed_at: datetime | None = None,
    told: SubscriptionRequest | None = None,
) -> Subscription | None:
    """
    Bring our row and its periods to what Stripe says, from an object just fetched; None when it is none of ours.

    `reading` is the number taken before the look (`history.next_reading`): one older than the row's changes nothing,
    nor does any after the end. `changed_at` is when Stripe says that it changed, `told` the request that it answers. A
    change of terms that we asked for (`changes.change_terms`) begins when it says; items that somebody else changed
    count from the next period on; a pause, its end and an end of a trial cut the open period; the end of all ends the
    last one. Raises SubscriptionError for a status that Stripe did not have before, and what `changes.apply_change` and
    `pausing` raise.
    """
    status = str(stripe_subscription["status"])
    if status not in Subscription.Status.values:
        raise SubscriptionError(f"Stripe's status {status!r} of {stripe_subscription['id']} is not known here")
    with transaction.atomic():
        # The customer comes first, as wherever usage is accrued: a change of terms accrues both of its parts.
        of_this = Q(stripe_customer_id=stripe_subscription["customer"]) | Q(
            subscriptions__stripe_subscription_id=stripe_subscription["id"]
        )
        for customer_id in Customer.objects.filter(of_this).order_by("pk").distinct().values_list("pk", flat=True):
            lock_customer(customer_id=customer_id)
        subscription = bound(stripe_subscription)
        if subscription is None or _is_overtaken(subscription, status, reading):
            return subscription
        if status in ENDED_STATUSES:
            if subscription.ended_at is None:
                end(subscription, stripe_subscription, status=status, now=now, told=told)
            return subscription
        before = (subscription.status, subscription.seats)
        apply_change(subscription, stripe_subscription, now=now, told=told)
        follow(subscription, stripe_subscription, changed_at=changed_at, now=now, told=told)
        subscription.status = status
        subscription.seats = seats_at_stripe(stripe_subscription, subscription.plan_version.stripe_price_id)
        if (subscription.status, subscription.seats) != before:
            logger.info("subscription %s is %s with %s seats at %s", subscription.pk, status, subscription.seats, now)
            subscription.save(update_fields=["status", "seats"])
        if before[0] != status:
            _record_status(subscription, before[0], changed_at=changed_at, now=now)
        if before[0] == Subscription.Status.PAUSED and status != Subscription.Status.PAUSED:
            open_after_pause(subscription, stripe_subscription)
    return subscription


def _is_overtaken(subscription: Subscription, status: str, reading: int | None) -> bool:
    """Whether a newer look is in our rows, or the end, after which nothing comes; else this look is the newest now."""
    if subscription.ended_at is not None and status not in ENDED_STATUSES:
        return True
    if reading is None:
        return False
    if reading < subscription.last_reading:
        return True
    subscription.last_reading = reading
    subscription.save(update_fields=["last_reading"])
    return False


def _record_status(subscription: Subscription, before: str, *, changed_at: datetime | None, now: datetime) -> None:
    """Stripe's own doing: paid or not, trial over, paused without a card. A start is said as such."""
    is_start = before == Subscription.Status.PENDING
    record(
        subscription,
        EventKind.STARTED if is_start else EventKind.STATUS,
        before="" if is_start else Subscription.Status(before).label,
        after=subscription.get_status_display(),
        effective_at=subscription.started_at if is_start else changed_at or now,
        now=now,
        actor=STRIPE,
    )


def bring_awaited_change(*, subscription_id: int, stripe_subscription: Mapping[str, Any], now: datetime) -> None:
    """
    Bring a change that counts before the next period opens (`changes.is_awaited`), from an object just fetched, if its
    webhook has not done so: afterwards it would come too late. Not its status or seats, which may have moved on.

    Inside the caller's transaction, with the customer locked. Raises SubscriptionNotFound and ChangeRefused.
    """
    subscription = _locked(subscription_id)
    try:
        apply_change(subscription, stripe_subscription, now=now)
    except NotYetKnown as later:
        logger.warning("%s; what was asked for before it is not known any more", later)


def _locked(subscription_id: int) -> Subscription:
    locked = Subscription.objects.select_for_update(of=("self",)).select_related("plan_version")
    subscription = locked.filter(pk=subscription_id).first()
    if subscription is None:
        raise SubscriptionNotFound(f"there is no subscription {subscription_id}")
    return subscription


def _the_same(live: Subscription, *, plan_version: PlanVersion, seats: int, started_at: datetime) -> Subscription:
    if (live.plan_version_id, live.seats, live.started_at) != (plan_version.pk, seats, started_at):
        raise SubscriptionConflict(
            f"the customer has the live subscription {live.pk} on other terms; change that one, or cancel it first"
        )
    return live


def _beginning_with(subscription: Subscription, starts_at: datetime) -> BillingPeriod | None:
    """Return the period that begins where Stripe's does, or as near as START_DRIFT_MAX."""
    near = subscription.periods.filter(
        starts_at__gte=starts_at - START_DRIFT_MAX, starts_at__lte=starts_at + START_DRIFT_MAX
    ).exclude(kind=BillingPeriod.Kind.TRIAL)  # no renewal begins one
    return min(near, key=lambda period: abs(period.starts_at - starts_at), default=None)


def _require_near(ours: datetime, stripes: datetime, verb: str) -> None:
    if abs(stripes - ours) > START_DRIFT_MAX:
        raise PeriodConflict(f"the period {verb} at {ours:%F %T} here and at {stripes:%F %T} at Stripe")
