"""
A subscription that was agreed on and that Stripe does not know: Stripe refused it, or its card, or nobody told Stripe.

It can be carried on, under a purpose of its own, or left; in both what Stripe refused is given up first, so that no
redrive of it begins another one at Stripe.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet

from billing.catalog.models import PlanVersion
from billing.customers.models import Customer
from billing.customers.operations import lock_customer
from billing.stripe import gateway, redriving
from billing.stripe.errors import OutboxRefusal
from billing.stripe.gateway import StripeDict
from billing.stripe.models import OutboxIntent
from billing.stripe.readers import id_of
from billing.subscriptions.ending import end_at
from billing.subscriptions.errors import ChangeRefused
from billing.subscriptions.history import Asked, ask, purpose_of
from billing.subscriptions.models import Subscription

logger = logging.getLogger(__name__)
State = OutboxIntent.State
ENDED_AT_STRIPE = (Subscription.Status.CANCELED, Subscription.Status.INCOMPLETE_EXPIRED)
# Never sent any more; what asks for the same has another purpose.
GIVEN_UP = (State.ABANDONED, State.SUPERSEDED)


def create_purpose(subscription_id: int) -> str:
    """What the write is called that creates the subscription at Stripe: another one after each that was given up."""
    base, given_up = f"subscription:{subscription_id}:create", _creations(subscription_id).filter(state__in=GIVEN_UP)
    number = given_up.count() + 1
    return base if number == 1 else f"{base}:{number}"


def give_up_refused(*, subscription_id: int, actor: str, reason: str, now: datetime) -> None:
    """
    Give up what Stripe refused to create, so that it is asked for anew. Not inside a transaction.

    It is looked for first: where Stripe has it after all, or somebody sends it again, it stays. Raises
    StripeUnavailable where Stripe cannot be asked.
    """
    for intent in _creations(subscription_id).filter(state=State.REFUSED):
        try:
            redriving.abandon(intent_id=intent.pk, actor=actor, reason=reason.strip() or "started anew", now=now)
        except OutboxRefusal as other:
            logger.info("%s was not given up: %s", intent.purpose, other)


def require_none_beside(*, customer_id: int) -> None:
    """
    Raise ChangeRefused while Stripe has a live subscription of the customer that is none of ours, made by a checkout,
    a payment link or the dashboard, or that has ended here alone: one of ours beside it would ask for two fees. Not
    inside a transaction. Raises StripeUnavailable where Stripe cannot be asked.
    """
    customer = Customer.objects.get(pk=customer_id)
    if customer.stripe_customer_id is None:
        return
    theirs = list(gateway.listed("/v1/subscriptions", customer=customer.stripe_customer_id))
    # Ours are read last: one that was begun meanwhile by another request names its row, and is bound to it soon.
    own = bound_and_begun(theirs)
    for one in (one for one in theirs if one["id"] not in own.bound | own.begun):
        is_ended_here = Subscription.objects.filter(stripe_subscription_id=one["id"]).exists()
        # A list may be older than an end of a moment ago; the subscription itself is not.
        status = gateway.retrieve(f"/v1/subscriptions/{one['id']}")["status"] if is_ended_here else one["status"]
        if status not in ENDED_AT_STRIPE:
            what = "has ended here" if is_ended_here else "is none of ours"
            raise ChangeRefused(
                f"Stripe has a subscription of {customer} already, {one['id']} ({status}), which {what}; cancel it"
                " there first, or the customer pays two fees",
                is_conflict=True,
            )


@dataclass(frozen=True, slots=True)
class Own:
    """Stripe's ids of subscriptions: those of ours that go on, and those we began without having the answer yet."""

    bound: frozenset[str]
    begun: frozenset[str]


def bound_and_begun(theirs: Sequence[StripeDict]) -> Own:
    """
    Which of these are ours. What ended here is not, whatever Stripe says of it; metadata, which anybody may edit, is
    believed only for a row of the same customer that waits for its id.
    """
    rows = Subscription.objects.filter(
        ended_at=None, customer__stripe_customer_id__in={id_of(one["customer"]) for one in theirs}
    ).values_list("pk", "stripe_subscription_id", "customer__stripe_customer_id")
    bound, waiting = set(), set()
    for pk, stripe_id, payer in rows:
        if stripe_id is None:
            waiting.add((str(pk), payer))
        else:
            bound.add(stripe_id)
    named = {one["id"]: ((one["metadata"] or {}).get("subscription_id"), id_of(one["customer"])) for one in theirs}
    return Own(frozenset(bound), frozenset(one for one, name in named.items() if name in waiting))


def carried_on(
    *,
    customer_id: int,
    plan_version: PlanVersion,
    seats: int,
    add_ons: Sequence[tuple[PlanVersion, int]],
    days_until_due: int | None,
) -> Subscription | None:
    """The customer's subscription that Stripe does not know, if it is on just these terms. The customer is locked."""
    found = Subscription.objects.filter(
        customer_id=customer_id, status=Subscription.Status.PENDING, stripe_subscription_id=None,
        plan_version=plan_version, seats=seats, days_until_due=days_until_due,
    ).first()  # fmt: skip
    if found is None:
        return None
    held = sorted(found.add_ons.filter(removed_at=None).values_list("plan_version_id", "seats"))
    return found if held == sorted((version.pk, count) for version, count in add_ons) else None


def let_go(
    *, subscription_id: int, prorate: bool, actor: str, reason: str, idempotency_key: str, now: datetime
) -> Subscription | None:
    """
    End a subscription that Stripe does not know, here alone; None for one that it knows. Said twice: the first.

    What was used until now goes onto a closing invoice, as at any end. Not inside a transaction. Raises ChangeRefused
    where Stripe was told and has not answered, StripeUnavailable where it cannot be asked.
    """
    found = Subscription.objects.filter(pk=subscription_id, stripe_subscription_id=None).first()
    if found is None:
        return None
    if found.ended_at is not None:
        said = purpose_of(subscription_id, Asked.CANCEL, idempotency_key)
        return found if found.requests.filter(purpose=said).exists() else None
    give_up_refused(subscription_id=subscription_id, actor=actor, reason=reason, now=now)
    with transaction.atomic():
        lock_customer(customer_id=found.customer_id)
        found = Subscription.objects.select_for_update(of=("self",)).get(pk=subscription_id)
        if found.stripe_subscription_id is not None or found.ended_at is not None:
            return found if found.ended_at is not None else None
        if _creations(subscription_id).exclude(state__in=GIVEN_UP).exists():
            raise ChangeRefused(
                f"Stripe was told of {found} and has not answered yet; try again in some minutes, or abandon the write"
                f" {create_purpose(subscription_id)} in the outbox first"
            )
        request = ask(
            subscription=found, kind=Asked.CANCEL, idempotency_key=idempotency_key, asked={"prorate": prorate},
            effective_at=now.replace(microsecond=0), actor=actor, reason=reason, now=now,
        )  # fmt: skip
        ended_at = max(now.replace(microsecond=0), found.started_at)
        end_at(found, status=Subscription.Status.CANCELED, ended_at=ended_at, request=request, actor=actor, now=now)
    return found


def _creations(subscription_id: int) -> QuerySet[OutboxIntent]:
    base = f"subscription:{subscription_id}:create"
    return OutboxIntent.objects.filter(Q(purpose=base) | Q(purpose__startswith=f"{base}:"))
