"""
All writes about subscriptions and their billing periods.

Only `start_at_stripe` calls Stripe, through the outbox and outside of every transaction.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction

from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.customers.operations import create_at_stripe, use_payment_method
from billing.rating.terms import seated
from billing.stripe import outbox
from billing.subscriptions import periods
from billing.subscriptions.models import BillingPeriod, PeriodAllowance, Subscription
from billing.subscriptions.queries import latest_period

logger = logging.getLogger(__name__)

# Stripe starts a subscription when it is told of it: a little after we agreed on it.
START_DRIFT_MAX = timedelta(hours=1)
ENDED_STATUSES = (Subscription.Status.CANCELED, Subscription.Status.INCOMPLETE_EXPIRED)


class SubscriptionError(Exception):
    """A subscription or period cannot be written as asked; nothing was."""


class PlanNotOffered(SubscriptionError):
    """The plan version is not published, or in another currency than the customer's."""


class SubscriptionConflict(SubscriptionError):
    """The customer has another live subscription; two would bill the same usage twice."""


class SubscriptionNotFound(SubscriptionError):
    """No subscription has this id."""


class PeriodConflict(SubscriptionError):
    """The period would overlap another one of its subscription or leave a gap after it."""


class PeriodNotFound(SubscriptionError):
    """No billing period has this id."""


def create_subscription(
    *, customer: Customer, plan_version: PlanVersion, seats: int, starts_at: datetime, actor: str
) -> Subscription:
    """
    Agree on a subscription, not yet known to Stripe, and open its first period.

    `starts_at` is the anchor of all periods; its fraction of a second is dropped, as Stripe knows none. Said twice it
    returns the first. Raises PlanNotOffered, SubscriptionConflict, and ValueError without seats or for another zone
    than UTC.
    """
    if seats < 1:
        raise ValueError("a subscription needs at least one seat")
    if plan_version.status != PlanVersion.Status.PUBLISHED:
        raise PlanNotOffered(f"{plan_version} is {plan_version.status}")
    if plan_version.currency != customer.currency:
        raise PlanNotOffered(f"{plan_version} is in {plan_version.currency}, {customer} pays in {customer.currency}")
    anchor_at = starts_at.replace(microsecond=0)
    first_ends_at = periods.boundary(anchor_at, 1)
    with transaction.atomic():
        # The customer's row stands in for the subscription that does not exist yet: two callers take turns.
        Customer.objects.select_for_update().get(pk=customer.pk)
        live = Subscription.objects.filter(customer=customer).exclude(status__in=ENDED_STATUSES).first()
        if live is not None:
            return _the_same(live, plan_version=plan_version, seats=seats, anchor_at=anchor_at)
        subscription = Subscription.objects.create(
            customer=customer, plan_version=plan_version, seats=seats, started_at=anchor_at, anchor_at=anchor_at
        )
        _open(subscription, starts_at=anchor_at, ends_at=first_ends_at)
    logger.info("%s subscribed %s to %s, %s seats", actor, customer.customer_key, plan_version.pk, seats)
    return subscription


def open_next_period(*, subscription_id: int, starts_at: datetime, ends_at: datetime) -> BillingPeriod:
    """
    Open the period that follows the latest one, under the subscription's terms of this moment.

    `starts_at` and `ends_at` are Stripe's. The period begins exactly where the latest one ends, so that no usage falls
    between two: Stripe's instant may differ from it by START_DRIFT_MAX, because Stripe counts from when it was told.
    Said twice it returns the first. Raises SubscriptionNotFound and PeriodConflict.
    """
    with transaction.atomic():
        subscription = _locked(subscription_id)
        existing = subscription.periods.filter(ends_at=ends_at).first()
        if existing is not None:
            _require_near(existing.starts_at, starts_at)
            return existing
        latest = latest_period(subscription_id)
        if latest is None:
            return _open(subscription, starts_at=starts_at, ends_at=ends_at)
        _require_near(latest.ends_at, starts_at)
        if ends_at <= latest.ends_at:
            raise PeriodConflict(
                f"the period would end at {ends_at:%F %T}, inside the one that ends {latest.ends_at:%F %T}"
            )
        return _open(subscription, starts_at=latest.ends_at, ends_at=ends_at)


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


def start_at_stripe(*, subscription_id: int, payment_method: str, now: datetime) -> Subscription:
    """
    Create the subscription at Stripe, with the customer and their default payment method; safe to repeat.

    `payment_method` is Stripe's id or test token. Raises SubscriptionNotFound, PlanNotOffered when the plan version
    has no price at Stripe yet, and what outbox.perform raises; what was done until then stays done.
    """
    subscription = Subscription.objects.select_related("customer", "plan_version").filter(pk=subscription_id).first()
    if subscription is None:
        raise SubscriptionNotFound(f"there is no subscription {subscription_id}")
    if subscription.plan_version.stripe_price_id is None:
        raise PlanNotOffered(f"{subscription.plan_version} has no price at Stripe; sync the catalogue first")
    fact = f"subscription:{subscription_id}"
    stripe_customer_id = create_at_stripe(customer_id=subscription.customer_id, now=now)
    use_payment_method(
        customer_id=subscription.customer_id,
        payment_method=payment_method,
        idempotency_key=f"{fact}:{payment_method}",
        now=now,
    )
    created = outbox.perform(
        purpose=f"{fact}:create",
        operation="subscriptions.create",
        target="",
        params={
            "customer": stripe_customer_id,
            "items": [{"price": subscription.plan_version.stripe_price_id, "quantity": subscription.seats}],
            "metadata": {"subscription_id": str(subscription_id)},
        },
        now=now,
    )
    project_subscription(created, now=now)
    return Subscription.objects.get(pk=subscription_id)


def project_subscription(stripe_subscription: Mapping[str, Any], *, now: datetime) -> Subscription | None:
    """
    Bring status and seats to what Stripe says, from an object just fetched; None when it is none of ours.

    Seats count from the next period on: the terms of an open period are frozen. Raises SubscriptionError for a status
    that Stripe did not have before.
    """
    status, seats = str(stripe_subscription["status"]), _seats_at_stripe(stripe_subscription)
    if status not in Subscription.Status.values:
        raise SubscriptionError(f"Stripe's status {status!r} of {stripe_subscription['id']} is not known here")
    with transaction.atomic():
        subscription = _bound(stripe_subscription)
        if subscription is not None and (subscription.status, subscription.seats) != (status, seats):
            logger.info("subscription %s is %s with %s seats at %s", subscription.pk, status, seats, now)
            subscription.status, subscription.seats = status, seats
            subscription.save(update_fields=["status", "seats"])
    return subscription


def _bound(stripe_subscription: Mapping[str, Any]) -> Subscription | None:
    """
    Return our subscription, locked, that is this one at Stripe.

    A webhook can be faster than the answer to our own request: the first to come binds the two. Metadata, which
    anybody may edit, is believed only for a subscription that waits for its id, and of the same customer.
    """
    ours = Subscription.objects.select_for_update(of=("self",))
    found = ours.filter(stripe_subscription_id=stripe_subscription["id"]).first()
    our_id = str((stripe_subscription.get("metadata") or {}).get("subscription_id", ""))
    if found is not None or not our_id.isdecimal():
        return found
    waiting = ours.filter(
        pk=int(our_id),
        stripe_subscription_id=None,
        customer__stripe_customer_id=stripe_subscription["customer"],
    ).first()
    if waiting is not None:
        waiting.stripe_subscription_id = str(stripe_subscription["id"])
        waiting.anchor_at = datetime.fromtimestamp(stripe_subscription["billing_cycle_anchor"], tz=UTC)
        waiting.save(update_fields=["stripe_subscription_id", "anchor_at"])
    return waiting


def _seats_at_stripe(stripe_subscription: Mapping[str, Any]) -> int:
    """Return the quantity of the subscription's first item: ours always have one."""
    return int(stripe_subscription["items"]["data"][0]["quantity"])


def _locked(subscription_id: int) -> Subscription:
    locked = Subscription.objects.select_for_update(of=("self",)).select_related("plan_version")
    subscription = locked.filter(pk=subscription_id).first()
    if subscription is None:
        raise SubscriptionNotFound(f"there is no subscription {subscription_id}")
    return subscription


def _the_same(live: Subscription, *, plan_version: PlanVersion, seats: int, anchor_at: datetime) -> Subscription:
    if (live.plan_version_id, live.seats, live.started_at) != (plan_version.pk, seats, anchor_at):
        raise SubscriptionConflict(f"the customer has the live subscription {live.pk} on other terms")
    return live


def _open(subscription: Subscription, *, starts_at: datetime, ends_at: datetime) -> BillingPeriod:
    """Insert a period; its terms are those of the subscription now."""
    terms = subscription.plan_version
    period = BillingPeriod.objects.create(
        subscription=subscription, starts_at=starts_at, ends_at=ends_at, plan_version=terms, seats=subscription.seats
    )
    PeriodAllowance.objects.bulk_create(
        PeriodAllowance(
            period=period,
            position=position,
            code=allowance.code,
            name=allowance.name,
            measure=allowance.measure,
            amount=seated(allowance, subscription.seats),
            each_dimension=allowance.each_dimension,
            covers=allowance.covers,
        )
        for position, allowance in enumerate(terms.allowances.order_by("position"), start=1)
    )
    return period


def _require_near(ours: datetime, stripes: datetime) -> None:
    if abs(stripes - ours) > START_DRIFT_MAX:
        raise PeriodConflict(f"the period begins at {ours:%F %T} here and at {stripes:%F %T} at Stripe")
