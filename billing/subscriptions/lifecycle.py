"""
Pausing, resuming and ending a subscription, taking a planned end back, and ending a trial: what is asked for is
committed, Stripe is told, and its object brings the effect here, whether as the answer or as the webhook.

None of these runs inside a transaction. Said twice with one key each is done once. Each raises SubscriptionNotFound,
ChangeRefused naming the remedy, and what outbox.perform raises.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import transaction

from billing.catalog.models import Alignment
from billing.stripe import gateway, outbox
from billing.stripe.errors import StripeRefused
from billing.stripe.models import OutboxIntent
from billing.stripe.seconds import second_of
from billing.subscriptions.at_stripe import stripes_midnight
from billing.subscriptions.change_models import EndPreview, SubscriptionRequest
from billing.subscriptions.changes import require_steerable
from billing.subscriptions.end_previews import end_instant, require_current
from billing.subscriptions.errors import ChangeRefused, SubscriptionNotFound
from billing.subscriptions.history import Asked, ask, next_reading, purpose_of, record_unless_done
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.opening import cadence_of
from billing.subscriptions.operations import project_subscription
from billing.subscriptions.pausing import END_OF
from billing.subscriptions.pending import let_go
from billing.subscriptions.queries import latest_period
from billing.subscriptions.scheduling import cancel_resumption, schedule_resumption

StripeDict = dict[str, Any]
How = EndPreview.How
Build = Callable[[Subscription], StripeDict]
VOID = {"pause_collection": {"behavior": "void"}}


def pause(
    *,
    subscription_id: int,
    until: datetime | None = None,
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
) -> Subscription:
    """
    Pause from now on, `until` an instant or until somebody resumes it: nothing is billed, all usage is included.

    Usage until now goes onto the next invoice. The fee of the period was paid in advance and is not given back.
    """

    def build(found: Subscription) -> StripeDict:
        if found.paused_from is not None:
            raise ChangeRefused(f"{found} is paused since {found.paused_from:%d %b %Y %H:%M} UTC already")
        if found.status not in (Subscription.Status.ACTIVE, Subscription.Status.PAST_DUE):
            raise ChangeRefused(f"{found} is {found.get_status_display().lower()}; only a live one can be paused")
        if until is not None and until <= now:
            raise ChangeRefused("it would end before it begins; name an instant that is ahead", field="until")
        return VOID

    end_key, purpose = f"{END_OF}{idempotency_key}", purpose_of(subscription_id, Asked.PAUSE, idempotency_key)

    def schedule_end() -> None:
        if until is None:
            return
        if until > now:
            schedule_resumption(
                subscription_id=subscription_id,
                effective_at=until,
                actor=actor,
                reason=reason,
                idempotency_key=end_key,
                now=now,
            )
        elif OutboxIntent.objects.filter(purpose=purpose, state=OutboxIntent.State.INTENDED).exists():
            raise ChangeRefused("it was not carried out until its end; pause anew, until another one", field="until")

    try:
        return _tell(
            subscription_id,
            Asked.PAUSE,
            build,
            asked={"until": None if until is None else until.isoformat()},
            actor=actor,
            reason=reason,
            key=idempotency_key,
            now=now,
            with_it=schedule_end,
        )
    except StripeRefused as refused:
        why = f"Stripe refused the pause: {refused}"
        cancel_resumption(subscription_id=subscription_id, idempotency_key=end_key, actor=actor, reason=why, now=now)
        raise


def resume(*, subscription_id: int, actor: str, reason: str, idempotency_key: str, now: datetime) -> Subscription:
    """
    End a pause now. Within the period whose fee was paid, the rest of it goes on; after a renewal that was void, a
    whole period begins now and is billed at once (with a calendar, the next one is the first to be billed).
    """

    def build(found: Subscription) -> StripeDict:
        if found.status == Subscription.Status.PAUSED:
            raise ChangeRefused(
                f"{found} was paused by Stripe as its trial ended without a card: let the customer add one, and resume"
                " it in Stripe's dashboard"
            )
        if found.paused_from is None:
            raise ChangeRefused(f"{found} is not paused")
        params: StripeDict = {"pause_collection": ""}
        if found.plan_version.alignment == Alignment.ANCHOR and _was_renewed_since(found, found.paused_from, now=now):
            params |= {"billing_cycle_anchor": "now", "proration_behavior": "none"}
        return params

    return _tell(
        subscription_id, Asked.RESUME, build, asked={}, actor=actor, reason=reason, key=idempotency_key, now=now
    )


def cancel(
    *,
    subscription_id: int,
    prorate: bool,
    preview: EndPreview | None = None,
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
) -> Subscription:
    """
    End a subscription now: its open period ends at that second, and a closing invoice has the usage until then.

    `prorate` credits the fee of the time that is left, by Stripe, to the customer's balance. What prorations of earlier
    changes still wait for an invoice get one now: without it Stripe would drop them. One that Stripe does not know is
    ended here alone (`pending.let_go`).
    """

    def build(found: Subscription) -> StripeDict:
        if preview is not None:
            require_current(preview, how=How.NOW, at=None, prorate=prorate, now=now)
        return {"prorate": prorate, "invoice_now": True}

    let = let_go(
        subscription_id=subscription_id, prorate=prorate, actor=actor, reason=reason, idempotency_key=idempotency_key,
        now=now,
    )  # fmt: skip
    if let is not None:
        return let
    return _tell(
        subscription_id,
        Asked.CANCEL,
        build,
        asked={"prorate": prorate},
        actor=actor,
        reason=reason,
        key=idempotency_key,
        now=now,
        operation="subscriptions.cancel",
        preview=preview,
    )


def cancel_at_period_end(
    *,
    subscription_id: int,
    preview: EndPreview | None = None,
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
) -> Subscription:
    """Let a subscription end with its current period; until then it can be taken back."""

    def build(found: Subscription) -> StripeDict:
        if found.cancel_at is not None:
            raise ChangeRefused(f"{found} ends {found.cancel_at:%d %b %Y %H:%M} UTC already")
        if preview is not None:
            require_current(preview, how=How.PERIOD_END, at=None, prorate=False, now=now)
        ends_at = _before_stripes(found, now=now)
        if ends_at is not None:
            return {"cancel_at": second_of(ends_at), "proration_behavior": "none"}
        return {"cancel_at_period_end": True}

    return _tell(
        subscription_id, Asked.CANCEL_LATER, build, asked={}, actor=actor, reason=reason, key=idempotency_key, now=now,
        preview=preview,
    )  # fmt: skip


def cancel_at_date(
    *,
    subscription_id: int,
    at: datetime,
    prorate: bool,
    preview: EndPreview | None = None,
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
) -> Subscription:
    """
    Let a subscription end at a date, within its period or where a later one ends; until then it can be taken back.

    `prorate` credits the fee after it, on Stripe's last invoice. Raises ChangeRefused as `end_previews.end_instant`.
    """

    def build(found: Subscription) -> StripeDict:
        latest = latest_period(found.pk)
        if latest is None:
            raise ChangeRefused(f"{found} has no billing period to end")
        ends_at = end_instant(found, latest, how=How.AT, at=at, prorate=prorate, now=now)
        if preview is not None:
            require_current(preview, how=How.AT, at=ends_at, prorate=prorate, now=now)
        behaviour = "create_prorations" if prorate else "none"
        zone = cadence_of(found).zone
        if zone is not None and ends_at > latest.ends_at:
            # Where Stripe has that boundary of the calendar: an hour before it, the last fee would not be whole.
            ends_at = stripes_midnight(ends_at, zone)
        return {"cancel_at": second_of(ends_at), "proration_behavior": behaviour}

    return _tell(
        subscription_id, Asked.CANCEL_LATER, build, asked={"at": at.isoformat(), "prorate": prorate}, actor=actor,
        reason=reason, key=idempotency_key, now=now, preview=preview,
    )  # fmt: skip


def undo_cancellation(
    *, subscription_id: int, actor: str, reason: str, idempotency_key: str, now: datetime
) -> Subscription:
    """Take a planned end back; after the end there is only `starting.reactivate`."""

    def build(found: Subscription) -> StripeDict:
        if found.cancel_at is None:
            raise ChangeRefused(f"no end of {found} is planned; there is nothing to take back")
        return {"cancel_at": ""}

    return _tell(
        subscription_id, Asked.UNDO_CANCEL, build, asked={}, actor=actor, reason=reason, key=idempotency_key, now=now
    )


def end_trial(*, subscription_id: int, actor: str, reason: str, idempotency_key: str, now: datetime) -> Subscription:
    """End a trial now: the first period that costs something begins, and Stripe bills its fee at once."""

    def build(found: Subscription) -> StripeDict:
        if found.status != Subscription.Status.TRIALING:
            raise ChangeRefused(f"{found} is {found.get_status_display().lower()} and in no trial")
        return {"trial_end": "now"}

    return _tell(
        subscription_id, Asked.END_TRIAL, build, asked={}, actor=actor, reason=reason, key=idempotency_key, now=now
    )


def _tell(
    subscription_id: int,
    kind: str,
    build: Build,
    *,
    asked: StripeDict,
    actor: str,
    reason: str,
    key: str,
    now: datetime,
    operation: str = "subscriptions.update",
    preview: EndPreview | None = None,
    with_it: Callable[[], None] = lambda: None,
) -> Subscription:
    """
    Commit what is asked for, tell Stripe once, and bring what it answers. A repeat asks for just the same again.

    `with_it` is written in the transaction of the request, or not at all.
    """
    found = Subscription.objects.select_related("customer", "plan_version__plan").filter(pk=subscription_id).first()
    if found is None:
        raise SubscriptionNotFound(f"there is no subscription {subscription_id}")
    known = OutboxIntent.objects.filter(purpose=purpose_of(subscription_id, kind, key)).first()
    if known is None:
        require_steerable(found)
    params = known.params if known is not None else build(found)
    with transaction.atomic():
        with_it()  # first: it takes the customer's lock, which comes before all others
        request = ask(
            subscription=found,
            kind=kind,
            idempotency_key=key,
            asked=asked,
            effective_at=now.replace(microsecond=0),
            actor=actor,
            reason=reason,
            preview=None if preview is None else preview.preview,
            now=now,
        )
    reading = next_reading()
    answer = outbox.perform(
        purpose=request.purpose,
        operation=operation,
        target=found.stripe_subscription_id or "",
        params=params,
        now=now,
    )
    bring_answer(request, answer, now=now, reading=reading)
    return Subscription.objects.get(pk=subscription_id)


def bring_answer(request: SubscriptionRequest, answer: StripeDict, *, reading: int, now: datetime) -> None:
    """
    Bring what Stripe answered to a request, and write down where it changed nothing. Not inside a transaction.

    `reading` is the number from before it was sent. A newer look in our rows may be from before the write all the same:
    then the subscription is looked at once more. Raises what `project_subscription` and a read of Stripe raise.
    """
    known = project_subscription(answer, now=now, reading=reading, told=request)
    if known is not None and known.last_reading > reading:
        again = next_reading()
        fetched = gateway.retrieve(f"/v1/subscriptions/{known.stripe_subscription_id}")
        project_subscription(fetched, now=now, reading=again, told=request)
    record_unless_done(request, now=now)


def _before_stripes(subscription: Subscription, *, now: datetime) -> datetime | None:
    """The end of a calendar's period in summer, where Stripe's goes on for an hour, and with it the subscription."""
    latest, zone = latest_period(subscription.pk), cadence_of(subscription).zone
    if latest is None or zone is None or latest.kind == BillingPeriod.Kind.TRIAL or latest.ends_at <= now:
        return None
    return latest.ends_at if stripes_midnight(latest.ends_at, zone) != latest.ends_at else None


def _was_renewed_since(subscription: Subscription, paused_from: datetime, *, now: datetime) -> bool:
    """
    Whether a period began in the pause: its renewal is void, so nobody paid for it. None does until a billing date that
    was moved by a trial at Stripe: until then what was paid goes on, and a fee now would be paid twice.
    """
    latest = latest_period(subscription.pk)
    is_moved = subscription.status == Subscription.Status.TRIALING
    if latest is None or latest.kind != BillingPeriod.Kind.PAUSED or is_moved:
        return False
    return cadence_of(subscription).containing(now)[0] > paused_from
