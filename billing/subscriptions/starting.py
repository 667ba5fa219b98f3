"""
Starting a subscription for a customer, and starting anew after an end: agreed on here, then told to Stripe, both under
one key. Not inside a transaction.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.customers.operations import lock_customer
from billing.subscriptions.at_stripe import require_begun_there
from billing.subscriptions.change_models import SubscriptionRequest
from billing.subscriptions.errors import ChangeRefused, SubscriptionNotFound
from billing.subscriptions.history import Asked
from billing.subscriptions.models import Subscription
from billing.subscriptions.opening import Item
from billing.subscriptions.operations import create_subscription, start_at_stripe
from billing.subscriptions.pending import carried_on, give_up_refused, require_none_beside


def subscribe(
    *,
    customer_id: int,
    plan_version: PlanVersion,
    seats: int,
    add_ons: Sequence[tuple[PlanVersion, int]] = (),
    payment_method: str = "",
    days_until_due: int | None = None,
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
) -> Subscription:
    """
    Start a subscription now, here and at Stripe; said twice with one key it is one, however far the first try came.
    What Stripe refused is refused again under that key. One that Stripe does not know is carried on by another key with
    the same terms, and asked for anew.

    `payment_method` is Stripe's id or test token; without one the customer's default pays. With `days_until_due` its
    invoices are sent instead. Raises PlanNotOffered, SubscriptionConflict, ChangeRefused where the key started
    something else or Stripe has a live subscription of theirs that is none of ours, and what
    `operations.start_at_stripe` raises.
    """
    asked: dict[str, Any] = {
        "items": [[item.version.pk, item.seats] for item in _items(plan_version, seats, add_ons)],
        "days_until_due": days_until_due,
        "payment_method": payment_method,
    }
    purpose = f"customer:{customer_id}:{Asked.START}:{idempotency_key}"
    if not SubscriptionRequest.objects.filter(purpose=purpose).exists():
        require_begun_there(plan_version, at=now)
        require_none_beside(customer_id=customer_id)
    with transaction.atomic():
        lock_customer(customer_id=customer_id)
        known = SubscriptionRequest.objects.filter(purpose=purpose).select_related("subscription").first()
        if known is not None and known.asked != asked:
            raise ChangeRefused(
                f"{idempotency_key!r} started something else before; name this wish by another key",
                field="Idempotency-Key",
                is_conflict=True,
            )
        request, pending = known, None
        if request is None:
            terms: dict[str, Any] = {
                "plan_version": plan_version, "seats": seats, "add_ons": add_ons, "days_until_due": days_until_due,
            }  # fmt: skip
            pending = carried_on(customer_id=customer_id, **terms)
            subscription = pending or create_subscription(
                customer=Customer.objects.get(pk=customer_id), starts_at=now, actor=actor, reason=reason, **terms
            )
            request = SubscriptionRequest.objects.create(
                subscription=subscription,
                kind=Asked.START,
                purpose=purpose,
                asked=asked,
                effective_at=subscription.started_at,
                requested_at=now,
                actor=actor,
                reason=reason,
            )
    number = request.subscription_id
    if pending is not None:
        give_up_refused(subscription_id=number, actor=actor, reason=reason, now=now)
    return start_at_stripe(subscription_id=number, payment_method=payment_method, wish=f"start:{request.pk}", now=now)


def reactivate(
    *,
    subscription_id: int,
    payment_method: str = "",
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
) -> Subscription:
    """
    Start anew what has ended, on its last terms; return the new subscription. There is no second trial.

    The old one stays as it ended: its periods and invoices are history. Raises SubscriptionNotFound, ChangeRefused
    where it has not ended, and what `subscribe` raises, such as PlanNotOffered for terms that are not sold any more.
    """
    rows = Subscription.objects.select_related("customer", "plan_version__plan")
    ended = rows.filter(pk=subscription_id).first()
    if ended is None:
        raise SubscriptionNotFound(f"there is no subscription {subscription_id}")
    if ended.ended_at is None:
        raise ChangeRefused(f"{ended} has not ended; take its planned end back instead, or resume it")
    last = ended.add_ons.filter(removed_at=None).select_related("plan_version__plan").order_by("pk")
    return subscribe(
        customer_id=ended.customer_id,
        plan_version=ended.plan_version,
        seats=ended.seats,
        add_ons=[(row.plan_version, row.seats) for row in last],
        payment_method=payment_method,
        days_until_due=ended.days_until_due,
        actor=actor,
        reason=reason,
        idempotency_key=f"again:{ended.pk}:{idempotency_key}",
        now=now,
    )


def _items(plan: PlanVersion, seats: int, add_ons: Sequence[tuple[PlanVersion, int]]) -> list[Item]:
    return [Item(plan, seats), *(Item(version, count) for version, count in add_ons)]
