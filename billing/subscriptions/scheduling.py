"""
Changes that are to happen at a named instant, alone or as a chain of phases, and the end of a pause.

They are ours and not Stripe's subscription schedules: docs/decisions/0025. The task carries each out at its time
through the same operation as a person would, under a key made from the row, so a crash in between changes nothing.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db import transaction

from billing.catalog.models import PlanVersion
from billing.customers.operations import lock_customer
from billing.stripe import gateway, redriving
from billing.stripe.errors import OutboxConflict, OutboxRefusal, StripeRefused, StripeUnavailable
from billing.stripe.models import OutboxIntent
from billing.stripe.seconds import second_of
from billing.subscriptions.at_stripe import TERMS_FROM
from billing.subscriptions.change_models import ScheduledChange
from billing.subscriptions.changes import require_items, require_steerable
from billing.subscriptions.errors import ChangeRefused, SubscriptionError, SubscriptionNotFound
from billing.subscriptions.history import Asked, purpose_of
from billing.subscriptions.models import BillingPeriod, Subscription
from billing.subscriptions.opening import Item
from billing.subscriptions.queries import latest_period
from billing.subscriptions.when_due import WAIT, WAITS_FOR, is_with_renewal, look_within_a_trial, waits

logger = logging.getLogger(__name__)
Kind, State = ScheduledChange.Kind, ScheduledChange.State
TASK = "task:apply_scheduled_changes"
PHASES_MAX = 24
# Terms that are to begin with a period are told to Stripe so long before it, so that its renewal bills them.
TOLD_AHEAD = timedelta(hours=1)
DETAIL_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class Phase:
    """Terms from an instant on: the plan, its seats, and all add-ons with theirs."""

    effective_at: datetime
    plan_version: PlanVersion
    seats: int
    add_ons: tuple[tuple[PlanVersion, int], ...] = ()

    @property
    def items(self) -> list[Item]:
        return [Item(self.plan_version, self.seats), *(Item(version, seats) for version, seats in self.add_ons)]


def schedule(
    *,
    subscription_id: int,
    phases: Sequence[Phase],
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
) -> list[ScheduledChange]:
    """
    Schedule other terms, each from its instant on, all phases or none. Said twice with one key it is the first.

    Whether they are offered is checked now and again at their time. Raises SubscriptionNotFound, PlanNotOffered, and
    ChangeRefused naming the field and the remedy.
    """
    if not phases:
        raise ChangeRefused(f"name 1 to {PHASES_MAX} phases", field="phases")
    wanted = _rows(phases, subscription_id=subscription_id, actor=actor, reason=reason, key=idempotency_key, now=now)
    with transaction.atomic():
        found = _locked(subscription_id)
        known = _known(found, idempotency_key)
        if known:
            return _the_same(known, wanted, idempotency_key)
        require_plan(found, phases, now=now)
        _require_free(found, [phase.effective_at for phase in phases])
        return ScheduledChange.objects.bulk_create(wanted)


def plan_phases(
    *,
    subscription_id: int,
    phases: Sequence[Phase],
    actor: str,
    reason: str,
    idempotency_key: str,
    now: datetime,
) -> list[ScheduledChange]:
    """
    Let these phases be all that is to come, all or none of them: what was planned before is cancelled. The end of a
    pause is not, nor what is due and being carried out. Said twice with one key it is the first. Raises as `schedule`.
    """
    wanted = _rows(phases, subscription_id=subscription_id, actor=actor, reason=reason, key=idempotency_key, now=now)
    cancelled_by = f"Planned anew by {idempotency_key}"
    with transaction.atomic():
        found = _locked(subscription_id)
        known = _known(found, idempotency_key)
        if known:
            return _the_same(known, wanted, idempotency_key)
        before = ScheduledChange.objects.filter(subscription=found, kind=Kind.TERMS)
        if before.filter(detail=cancelled_by).exists() and not wanted:
            return []
        require_plan(found, phases, now=now)
        for row in before.filter(state=State.WAITING, effective_at__gt=now).select_for_update():
            _settle(row, State.CANCELLED, by=actor, detail=cancelled_by, now=now)
        _require_free(found, [phase.effective_at for phase in phases])
        return ScheduledChange.objects.bulk_create(wanted)


def _rows(
    phases: Sequence[Phase], *, subscription_id: int, actor: str, reason: str, key: str, now: datetime
) -> list[ScheduledChange]:
    return [
        ScheduledChange(
            subscription_id=subscription_id,
            kind=Kind.TERMS,
            plan_version=phase.plan_version,
            seats=phase.seats,
            add_ons=[[version.pk, seats] for version, seats in phase.add_ons],
            effective_at=phase.effective_at,
            reason=reason,
            requested_by=actor,
            requested_at=now,
            idempotency_key=f"{key}:{number}",
            next_attempt_at=max(now, phase.effective_at - TOLD_AHEAD),
        )
        for number, phase in enumerate(phases, start=1)
    ]


def require_plan(subscription: Subscription, phases: Sequence[Phase], *, now: datetime) -> None:
    """The phases as a whole: half-open and in their order, ahead, before a planned end, and each one offered."""
    if len(phases) > PHASES_MAX:
        raise ChangeRefused(f"name 1 to {PHASES_MAX} phases", field="phases")
    instants = [phase.effective_at for phase in phases]
    if any(before >= after for before, after in pairwise(instants)):
        raise ChangeRefused("each phase begins after the one before; put them in their order", field="phases")
    require_steerable(subscription)
    for phase in phases:
        if phase.effective_at <= now:
            raise ChangeRefused(
                f"{phase.effective_at:%F %T} UTC is not ahead; name a later instant, or change now",
                field="effective_at",
            )
        if subscription.cancel_at is not None and phase.effective_at >= subscription.cancel_at:
            raise ChangeRefused(
                f"it ends {subscription.cancel_at:%F %T}, before the phase of {phase.effective_at:%F %T}; take the end"
                " back, or name earlier instants",
                field="effective_at",
            )
        require_items(subscription, phase.items)


def schedule_resumption(
    *, subscription_id: int, effective_at: datetime, actor: str, reason: str, idempotency_key: str, now: datetime
) -> ScheduledChange:
    """Schedule the end of a pause. Said twice with one key it is the first. Raises as `schedule` does."""
    with transaction.atomic():
        found = _locked(subscription_id)
        known = ScheduledChange.objects.filter(subscription=found, idempotency_key=idempotency_key).first()
        if known is not None:
            return known
        _require_free(found, [effective_at])
        return ScheduledChange.objects.create(
            subscription=found,
            kind=Kind.RESUME,
            effective_at=effective_at,
            reason=reason,
            requested_by=actor,
            requested_at=now,
            idempotency_key=idempotency_key,
            next_attempt_at=effective_at,
        )


def cancel_resumption(*, subscription_id: int, idempotency_key: str, actor: str, reason: str, now: datetime) -> None:
    """Cancel the end of a pause that did not come about; nothing where none waits."""
    rows = ScheduledChange.objects.filter(subscription_id=subscription_id, idempotency_key=idempotency_key)
    with transaction.atomic():
        row = rows.select_for_update().filter(kind=Kind.RESUME, state=State.WAITING).first()
        if row is not None:
            _settle(row, State.CANCELLED, by=actor, detail=reason, now=now)


def cancel_scheduled(*, scheduled_id: int, actor: str, reason: str, now: datetime) -> ScheduledChange:
    """Cancel a scheduled change before its time. Said twice it stays cancelled. Raises ChangeRefused."""
    with transaction.atomic():
        row = ScheduledChange.objects.select_for_update().filter(pk=scheduled_id).first()
        if row is None:
            raise SubscriptionNotFound(f"there is no scheduled change {scheduled_id}")
        if row.state not in (State.WAITING, State.CANCELLED):
            raise ChangeRefused(f"{row} is {row.get_state_display().lower()} and cannot be cancelled", field="change")
        if row.state == State.WAITING:
            _settle(row, State.CANCELLED, by=actor, detail=reason, now=now)
    return row


def apply_due(*, now: datetime, limit: int) -> int:
    """
    Carry out every scheduled change whose time has come; return how many were settled. Not inside a transaction.

    Each on its own: whatever goes wrong with one is logged and told on it, and it is tried again later.
    """
    due = ScheduledChange.objects.filter(state=State.WAITING, next_attempt_at__lte=now)
    settled = 0
    for scheduled_id in list(
        due.order_by("next_attempt_at", "effective_at", "pk").values_list("pk", flat=True)[:limit]
    ):
        try:
            settled += apply_scheduled(scheduled_id=scheduled_id, now=now) != State.WAITING
        except Exception as failure:
            logger.exception("scheduled change %s could not be carried out", scheduled_id)
            row = ScheduledChange.objects.get(pk=scheduled_id)
            _put_off(row, f"{type(failure).__name__}: {failure}", until=now + WAIT)
    return settled


def apply_scheduled(*, scheduled_id: int, now: datetime) -> str:
    """
    Carry out one scheduled change and return its state; safe to repeat, and to do twice at once.

    It is refused only where Stripe has not carried it out. Raises what is neither a refusal nor Stripe's silence.
    """
    row = ScheduledChange.objects.select_related("plan_version").get(pk=scheduled_id)
    if row.state != State.WAITING:
        return row.state
    latest = latest_period(row.subscription_id)
    until, why = waits(row, waiting_for(row.subscription)[0], latest, now=now)
    if until is not None:
        return _put_off(row, why, until=until)
    try:
        latest = look_within_a_trial(latest, row, now=now)
        key = _key_of(row, latest, now=now)
        _carry_out(row, latest, key=key, now=now)
    except StripeUnavailable as failure:
        wait = max(WAIT, failure.retry_after or WAIT)
        return _put_off(row, f"Stripe did not answer: {failure}", until=now + wait)
    except (SubscriptionError, StripeRefused, OutboxConflict, OutboxRefusal) as refused:
        if isinstance(refused, OutboxRefusal) or _is_done_at_stripe(row):
            if now < row.effective_at + WAITS_FOR:
                return _put_off(row, f"Waits for what Stripe was told: {refused}", until=now + WAIT)
            if _is_done_at_stripe(row):
                return _finish(row, State.DONE, detail=f"Done at Stripe, and not followed here: {refused}", now=now)
        logger.exception("scheduled change %s was refused", row.pk)
        return _finish(row, State.REFUSED, detail=f"{refused} Change it by hand, or schedule another one.", now=now)
    return _finish(row, State.DONE, detail="", now=now)


def _carry_out(row: ScheduledChange, latest: BillingPeriod | None, *, key: str, now: datetime) -> None:
    """Make the one call, as a person would. Raises as `resume` and `change_terms`."""
    from billing.subscriptions.lifecycle import resume  # noqa: PLC0415  (it schedules resumptions itself)
    from billing.subscriptions.operations import change_terms  # noqa: PLC0415

    said: dict[str, Any] = {
        "subscription_id": row.subscription_id,
        "actor": row.requested_by,
        "reason": row.reason,
        "idempotency_key": key,
        "now": now,
    }
    if row.plan_version is None or row.seats is None:
        resume(**said)
        return
    if latest is not None and now >= latest.ends_at + WAITS_FOR:
        raise ChangeRefused(f"no period follows the one that ended {latest.ends_at:%F %T} UTC.")
    versions = PlanVersion.objects.in_bulk([version for version, _ in row.add_ons])
    is_next = latest is not None and is_with_renewal(row, latest)
    is_within = latest is not None and latest.starts_at < row.effective_at < latest.ends_at
    change_terms(
        plan_version=row.plan_version,
        seats=row.seats,
        add_ons=[(versions[version], seats) for version, seats in row.add_ons],
        from_next_period=is_next,
        at=row.effective_at if is_within and not is_next else None,
        **said,
    )


def _key_of(row: ScheduledChange, latest: BillingPeriod | None, *, now: datetime) -> str:
    """
    The key of the wish, made from the row; another one where Stripe was told of a period that has begun meanwhile and
    did not carry that out: what was to be billed by the renewal would now be billed by the next one.

    Raises OutboxRefusal while somebody is telling Stripe at this moment, and as a read of Stripe.
    """
    key, late = f"scheduled:{row.pk}", f"scheduled:{row.pk}:late"
    told = _told(row, key)
    if told is None or latest is None or row.kind != Kind.TERMS:
        return key
    second = int(told.params["metadata"][TERMS_FROM])
    if told.state == OutboxIntent.State.INTENDED and second <= second_of(latest.starts_at):
        theirs = gateway.retrieve(f"/v1/subscriptions/{told.target}")
        if (theirs.get("metadata") or {}).get(TERMS_FROM) != str(second):
            why = "Stripe did not carry it out before the renewal; it counts from now on"
            redriving.abandon(intent_id=told.pk, actor=TASK, reason=why, now=now)
            told.refresh_from_db()
    return late if told.state in (OutboxIntent.State.ABANDONED, OutboxIntent.State.SUPERSEDED) else key


def _told(row: ScheduledChange, key: str) -> OutboxIntent | None:
    kind = Asked.TERMS if row.kind == Kind.TERMS else Asked.RESUME
    return OutboxIntent.objects.filter(purpose=purpose_of(row.subscription_id, kind, key)).first()


def _is_done_at_stripe(row: ScheduledChange) -> bool:
    told = [_told(row, key) for key in (f"scheduled:{row.pk}", f"scheduled:{row.pk}:late")]
    return any(one is not None and one.state == OutboxIntent.State.SUCCEEDED for one in told)


def waiting_for(subscription: Subscription) -> list[ScheduledChange]:
    """What is to happen yet, the next one first."""
    rows = ScheduledChange.objects.filter(subscription=subscription, state=State.WAITING)
    return list(rows.select_related("plan_version__plan").order_by("effective_at", "pk"))


def _finish(row: ScheduledChange, state: str, *, detail: str, now: datetime) -> str:
    with transaction.atomic():
        held = ScheduledChange.objects.select_for_update().get(pk=row.pk)
        if held.state == State.WAITING:
            _settle(held, state, by=TASK, detail=detail, now=now)
    return held.state


def _put_off(row: ScheduledChange, detail: str, *, until: datetime) -> str:
    mine = ScheduledChange.objects.filter(pk=row.pk, state=State.WAITING)
    mine.update(next_attempt_at=until, detail=detail[:DETAIL_CHARS_MAX])
    return State.WAITING


def _settle(row: ScheduledChange, state: str, *, by: str, detail: str, now: datetime) -> None:
    row.state, row.settled_at, row.settled_by, row.detail = state, now, by, detail[:DETAIL_CHARS_MAX]
    row.save(update_fields=["state", "settled_at", "settled_by", "detail"])


def _locked(subscription_id: int) -> Subscription:
    """The subscription, with its customer held first."""
    found = Subscription.objects.select_related("customer", "plan_version__plan").filter(pk=subscription_id).first()
    if found is None:
        raise SubscriptionNotFound(f"there is no subscription {subscription_id}")
    lock_customer(customer_id=found.customer_id)
    Subscription.objects.select_for_update(of=("self",), no_key=True).get(pk=subscription_id)
    return found


def _known(subscription: Subscription, key: str) -> list[ScheduledChange]:
    keys = [f"{key}:{number}" for number in range(1, PHASES_MAX + 1)]
    return list(ScheduledChange.objects.filter(subscription=subscription, idempotency_key__in=keys).order_by("pk"))


def _the_same(known: list[ScheduledChange], wanted: list[ScheduledChange], key: str) -> list[ScheduledChange]:
    def terms(row: ScheduledChange) -> tuple[object, ...]:
        return row.plan_version_id, row.seats, row.add_ons, row.effective_at

    if [terms(row) for row in known] != [terms(row) for row in wanted]:
        raise ChangeRefused(
            f"{key!r} scheduled something else before; name this wish by another key",
            field="Idempotency-Key",
            is_conflict=True,
        )
    return known


def _require_free(subscription: Subscription, instants: Sequence[datetime]) -> None:
    taken = ScheduledChange.objects.filter(subscription=subscription, state=State.WAITING, effective_at__in=instants)
    first = taken.first()
    if first is not None:
        raise ChangeRefused(
            f"{first} is to happen at {first.effective_at:%F %T} already; cancel it, or name another instant",
            field="effective_at",
        )
