"""
What people, and the sweeper, do with writes to Stripe that did not end well. Nothing here is ever done twice.

* Stripe still knows the key: the same key is sent again. What was carried out is answered, not repeated.
* It may have forgotten it, or answers a 5xx from its memory: the object is looked for first. What is not there is sent
  under a new key.
* Refused, and the cause was mended: looked for, then sent under a new key, because Stripe repeats a refusal for a day.
* Carried out: only compared with what Stripe has now.
* An old update: superseded where later writes set the same; else it is sent because a person says so.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet

from billing.stripe import gateway, outbox, writes
from billing.stripe.comparing import shows
from billing.stripe.errors import (
    OutboxNeedsPerson,
    OutboxRefusal,
    StripeForbidden,
    StripeRefused,
    StripeUnavailable,
)
from billing.stripe.models import OutboxAttempt, OutboxIntent
from billing.stripe.outbox import Doer

logger = logging.getLogger(__name__)

State = OutboxIntent.State
Outcome = OutboxAttempt.Outcome
PERMISSION = "billing.redrive_outboxintent"
REASON_CHARS_MAX = 500
# A call ends within a minute (billing.stripe.gateway): whoever has not recorded an outcome after this is gone.
DEAD_AFTER = timedelta(minutes=10)
SWEPT_AGAIN_AFTER_MAX = timedelta(hours=2)
# Younger ones are under way, older ones are shown to people.
UNFINISHED_AFTER = timedelta(minutes=5)
# Stripe's lists show a new object within seconds. Before a 5xx is sent under a new key they get this long.
LISTS_SETTLE_WITHIN = timedelta(minutes=10)


# Says that the request behind an intent has ended, and what to do instead; "" while it has not. By the beginning of the
# purpose, from the rooms that ask: what was refused there would otherwise be done past it (billing/payments/ended.py).
Guard = Callable[[OutboxIntent], str]
_guards: dict[str, Guard] = {}


def guard_by(prefix: str, guard: Guard) -> None:
    """From now on intents whose purpose begins so are redriven only while `guard` says nothing against it."""
    _guards[prefix] = guard


class Way(Enum):
    """How an intent would be carried out again, and what to tell the person who asks for it."""

    SAME_KEY = "It is sent under the key it had. If Stripe carried it out, Stripe answers with that and does nothing."
    LOOK_THEN_SEND = (
        "It is looked for at Stripe first. Only if it is not there it is sent, under a new key: Stripe may have"
        " forgotten the old one."
    )
    LOOK_THEN_NEW_KEY = (
        "It is looked for at Stripe first. Only if it is not there it is sent under a new key: under the old one Stripe"
        " would repeat its answer for a day."
    )
    OVERWRITE = (
        "It is compared with what Stripe has. If Stripe has it otherwise, it is sent and overwrites that, because you"
        " say so: nobody can tell whether it was carried out and changed since."
    )
    COMPARE = "It was carried out. Nothing is sent: what Stripe has now is compared with what was asked for."
    NOTHING = "It is finished without having been sent, and stays so. Whoever needs it asks for it anew."


@dataclass(frozen=True, slots=True)
class Redriven:
    """What came of it: the outcome of the last try, and a sentence for the person who asked."""

    outcome: Outcome
    said: str


def way_of(intent: OutboxIntent, *, now: datetime) -> Way:
    """What `redrive` would do with the intent. Reads the last try; asks Stripe nothing."""
    operation = writes.OPERATIONS.get(intent.operation)
    if operation is None or intent.state in (State.SUPERSEDED, State.ABANDONED):
        return Way.NOTHING
    if intent.state == State.SUCCEEDED:
        return Way.COMPARE
    if _why_ended(intent):
        return Way.NOTHING
    if operation.is_blind and (intent.state == State.REFUSED or outbox.is_past_memory(intent, now=now)):
        return Way.OVERWRITE
    if intent.state == State.REFUSED or not operation.has_key_memory or outbox.was_answered_broken(intent):
        return Way.LOOK_THEN_NEW_KEY
    return Way.LOOK_THEN_SEND if outbox.is_past_memory(intent, now=now) else Way.SAME_KEY


def redrive(*, intent_id: UUID, actor: str, reason: str, now: datetime) -> Redriven:
    """
    Have a write carried out that was not, never twice. For people with `PERMISSION`; not inside a transaction.

    Raises OutboxRefusal where nothing can be done or somebody else is at it, StripeRefused and StripeUnavailable as
    `outbox.perform`; every try is on the intent's timeline with actor and reason.
    """
    intent, doer = _asked_for(intent_id, actor=actor, reason=reason, now=now)
    way = way_of(intent, now=now)
    if way is Way.NOTHING and (why := _why_ended(intent)):
        raise OutboxRefusal(f"{intent.purpose} is not sent any more: {why}")
    if way is Way.NOTHING:
        raise OutboxRefusal(f"{intent.purpose} is {intent.get_state_display().lower()}: it is not sent any more.")
    if way is Way.COMPARE:
        return _compare(intent, doer)
    if way is Way.SAME_KEY:
        outbox.carry_on(intent, doer)
        return Redriven(Outcome.SUCCEEDED, "Stripe has carried it out, once.")
    if outbox.look(intent, writes.OPERATIONS[intent.operation], doer) is not None:
        return Redriven(Outcome.FOUND, "Stripe had carried it out already. Nothing was sent.")
    outbox.refuse_superseded(intent, writes.OPERATIONS[intent.operation], doer)
    _give_new_key(intent, doer)
    outbox.send_again(intent, doer)
    return Redriven(Outcome.SUCCEEDED, "It was not at Stripe. It was sent under a new key and carried out.")


def abandon(*, intent_id: UUID, actor: str, reason: str, now: datetime) -> Redriven:
    """
    End a write that is no longer wanted, without sending it. For people with `PERMISSION`; not inside a transaction.

    It is looked for first: what Stripe has carried out cannot be abandoned, and is recorded as carried out.
    Raises OutboxRefusal for what is finished, and StripeUnavailable where Stripe cannot be asked.
    """
    intent, doer = _asked_for(intent_id, actor=actor, reason=reason, now=now)
    if intent.state not in (State.INTENDED, State.REFUSED):
        raise OutboxRefusal(f"{intent.purpose} is {intent.get_state_display().lower()}: there is nothing to abandon.")
    if _may_be_in_flight(intent, now=now):
        raise OutboxRefusal(f"{intent.purpose} is being sent at this moment. Wait {DEAD_AFTER.seconds // 60} minutes.")
    operation = writes.OPERATIONS.get(intent.operation)
    if operation is not None and outbox.look(intent, operation, doer) is not None:
        return Redriven(Outcome.FOUND, "Stripe had carried it out: it cannot be abandoned, and is recorded as done.")
    outbox.record(
        intent, doer, Outcome.ABANDONED, state=State.ABANDONED, error=f"abandoned: {reason}", was=State(intent.state)
    )
    return Redriven(Outcome.ABANDONED, "Abandoned: it is not sent any more.")


def _asked_for(intent_id: UUID, *, actor: str, reason: str, now: datetime) -> tuple[OutboxIntent, Doer]:
    outbox.refuse_inside_transaction(intent_id)
    if not reason.strip():
        raise OutboxRefusal("Say why: it stays on the timeline.", field="reason")
    intent = OutboxIntent.objects.filter(pk=intent_id).first()
    if intent is None:
        raise OutboxRefusal(f"There is no intent {intent_id}.", field="intent_id")
    return intent, Doer(now=now, actor=actor, reason=reason.strip()[:REASON_CHARS_MAX])


def _why_ended(intent: OutboxIntent) -> str:
    found = (guard(intent) for prefix, guard in _guards.items() if intent.purpose.startswith(prefix))
    return next((why for why in found if why), "")


def _may_be_in_flight(intent: OutboxIntent, *, now: datetime) -> bool:
    return intent.sending_since is not None and now - intent.sending_since < DEAD_AFTER


def _give_new_key(intent: OutboxIntent, doer: Doer) -> None:
    """
    Let the next sending be a new write to Stripe. Of two people at once one is refused, so it happens once.

    Not while somebody waits for an answer under the old key, and not before lists have had time to show what it made.
    """
    last = intent.sending_since or intent.tries.order_by("-pk").values_list("at", flat=True).first()
    settled = intent.state == State.REFUSED or last is None or doer.now - last >= LISTS_SETTLE_WITHIN
    if _may_be_in_flight(intent, now=doer.now) or not settled:
        minutes = LISTS_SETTLE_WITHIN // timedelta(minutes=1)
        raise OutboxRefusal(
            f"{intent.purpose} was sent less than {minutes} minutes ago: Stripe's lists may not show it yet. Try again"
            " then."
        )
    same = OutboxIntent.objects.filter(
        pk=intent.pk, state=intent.state, generation=intent.generation, attempts=intent.attempts
    )
    changed = same.update(
        state=State.INTENDED,
        generation=F("generation") + 1,
        first_sent_at=doer.now,
        finished_at=None,
        sending_since=doer.now,
    )
    if not changed:
        raise OutboxRefusal(f"Somebody else is at {intent.purpose} at this moment. Look at it again.")
    intent.refresh_from_db()
    outbox.record(intent, doer, Outcome.REOPENED, state=State.INTENDED)


def _compare(intent: OutboxIntent, doer: Doer) -> Redriven:
    """What Stripe has now beside what was asked for. Recorded; changes nothing on either side."""
    operation = writes.OPERATIONS[intent.operation]
    if not operation.retrieve_path:
        found = operation.find(str(intent.pk), intent.target, intent.params) if operation.find is not None else None
        outcome = Outcome.COMPARED if found is not None else Outcome.DIFFERS
        outbox.record(intent, doer, outcome, state=State.SUCCEEDED)
        said = "Stripe counts it." if found is not None else "Stripe does not show it (yet)."
        return Redriven(outcome, f"It was carried out before; nothing was sent. {said}")
    now_there = gateway.retrieve(operation.retrieve_path.format(id=intent.stripe_object_id))
    is_same = shows(now_there, _kept_by_object(intent.params, now_there))
    outcome = Outcome.COMPARED if is_same else Outcome.DIFFERS
    outbox.record(intent, doer, outcome, state=State.SUCCEEDED)
    said = "Stripe has it as it was asked for." if is_same else "Stripe has it otherwise by now; see the object there."
    return Redriven(outcome, f"It was carried out before; nothing was sent. {said}")


def _kept_by_object(params: dict[str, Any], thing: dict[str, Any]) -> dict[str, Any]:
    """Of what was asked for only what the object shows at all: the lines of an invoice are no field of its own."""
    return {name: value for name, value in params.items() if name in thing and name != "lines"}


def sweep(*, now: datetime, limit: int) -> int:
    """
    Complete writes whose process died between the intent and the outcome; return how many were. Safe to repeat.

    Only what Stripe surely recognises: within its memory of keys the same key is sent, after it the object is looked
    for first. What would overwrite is left to people then, and not swept again. A sweep stops where Stripe asks to
    wait; whatever else goes wrong with one write is told on it, and the others go on.
    """
    completed, doer = 0, Doer(now=now, actor="task:sweep_outbox")
    for intent in _dead(now=now)[:limit]:
        if not _take_over(intent, now=now):
            continue
        try:
            outbox.carry_on(intent, doer)
            completed += 1
        except OutboxNeedsPerson as needs:
            _leave(intent, sending_since=None, error=str(needs))
        except StripeRefused as refused:
            logger.warning("%s, left by a process that died, was refused: %s", intent.purpose, refused)
            _leave(intent, sending_since=now)
        except StripeUnavailable as failure:
            # Still nobody's: the next sweeps take it up again. A permission that is missing stops nothing else.
            _leave(intent, sending_since=now)
            if failure.retry_after is not None and not isinstance(failure, StripeForbidden):
                break
        except Exception as bug:
            logger.exception("%s, left by a process that died, could not be completed", intent.purpose)
            said = f"{type(bug).__name__}: {bug}"
            outbox.record(intent, doer, Outcome.UNAVAILABLE, state=State.INTENDED, error=said)
            _leave(intent, sending_since=now, attempts=intent.attempts + 1)
    return completed


def _take_over(intent: OutboxIntent, *, now: datetime) -> bool:
    """Whether the intent is still as it was read, up to `limit` calls ago. Then it is ours: nobody else sweeps it."""
    as_read = {"generation": intent.generation, "attempts": intent.attempts, "sending_since": intent.sending_since}
    same = OutboxIntent.objects.filter(pk=intent.pk, state=State.INTENDED, **as_read)
    return bool(same.update(sending_since=now))


def _leave(intent: OutboxIntent, **changes: Any) -> None:
    """Put one aside that was not carried out: until `sending_since` is long ago, or for a person without it."""
    OutboxIntent.objects.filter(pk=intent.pk, state=State.INTENDED).update(**changes)


def unfinished(intents: QuerySet[OutboxIntent], *, now: datetime) -> QuerySet[OutboxIntent]:
    """Those without an outcome for longer than a call takes: somebody should look."""
    return intents.filter(state=State.INTENDED, created_at__lte=now - UNFINISHED_AFTER)


def _dead(*, now: datetime) -> list[OutboxIntent]:
    """Unfinished intents that somebody began to send and nobody is sending any more, longest first."""
    began = OutboxIntent.objects.filter(state=State.INTENDED, sending_since__lte=now - DEAD_AFTER)
    return [intent for intent in began.order_by("created_at", "pk") if _is_due(intent, now=now)]


def _is_due(intent: OutboxIntent, *, now: datetime) -> bool:
    wait = min(DEAD_AFTER * 2 ** min(max(intent.attempts - 1, 0), 10), SWEPT_AGAIN_AFTER_MAX)
    known = intent.operation in writes.OPERATIONS
    return known and intent.sending_since is not None and now - intent.sending_since >= wait
