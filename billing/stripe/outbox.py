"""
Writes to Stripe, each carried out once (DESIGN §3, rules 4 and 5).

The intent is committed before the call, the call carries a key made from the intent's id, and what came of it is
recorded after it, try by try. A crash at any point leaves an intent that the same `perform` completes: within a day
Stripe knows the key, after that the object is looked for before it is sent again. What would overwrite newer state is
not sent again after that day: a later write has superseded it, or a person decides (billing.stripe.redriving).
"""

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import F

from billing.stripe import gateway, writes
from billing.stripe.comparing import are_covered, fields_set
from billing.stripe.errors import (
    OutboxConflict,
    OutboxInsideTransaction,
    OutboxNeedsPerson,
    OutboxSuperseded,
    StripeForbidden,
    StripeRefused,
    StripeUnavailable,
)
from billing.stripe.gateway import Answer, StripeDict
from billing.stripe.models import OutboxAttempt, OutboxIntent
from billing.stripe.writes import Operation

State = OutboxIntent.State
Outcome = OutboxAttempt.Outcome
# Stripe keeps a key at least 24 h; the hour covers clocks that differ and requests that wait in a queue.
KEY_TRUSTED_FOR = timedelta(hours=23)
ERROR_CHARS_MAX = 2000

_INSERT = """
    INSERT INTO billing_outboxintent (id, purpose, operation, target, params, state, attempts, created_at,
                                      first_sent_at, sending_since, stripe_object_id, request_id, error)
    VALUES (%s, %s, %s, %s, %s::jsonb, 'intended', %s, %s, %s, %s, '', '', '')
    ON CONFLICT (purpose) DO NOTHING
"""
# The try is always kept. Of the intent a recorded outcome stays: two workers on one intent get the same answer from
# Stripe, and the first writes it down.
_RECORD = """
    WITH kept AS (
        INSERT INTO billing_outboxattempt (intent_id, at, actor, outcome, generation, http_status, request_id,
                                           milliseconds, error, reason)
        VALUES (%(id)s, %(at)s, %(actor)s, %(outcome)s, %(generation)s, %(http_status)s, %(request_id)s,
                %(milliseconds)s, %(error)s, %(reason)s))
    UPDATE billing_outboxintent
       SET state = %(state)s, finished_at = %(finished_at)s, stripe_object_id = %(object_id)s,
           request_id = CASE WHEN %(request_id)s = '' THEN request_id ELSE %(request_id)s END,
           error = %(error)s, sending_since = NULL
     WHERE id = %(id)s AND state = %(was)s AND generation = %(generation)s
"""


@dataclass(frozen=True, slots=True)
class Doer:
    """Who has a write sent, when by our time, and, of a person, why."""

    now: datetime
    actor: str = "task:perform"
    reason: str = ""


def perform(*, purpose: str, operation: str, target: str, params: dict[str, Any], now: datetime) -> StripeDict:
    """
    Carry out one write for one purpose and return Stripe's object; a repeat returns the object as it is now.

    So does whatever Stripe answers from its memory of keys: what it says was so when the write was carried out.
    Raises OutboxConflict (same purpose, other request), OutboxInsideTransaction, StripeUnavailable (the intent stays
    and can be performed again; OutboxNeedsPerson where nobody but a person may have it sent) and StripeRefused
    (recorded; a repeat raises it again; OutboxSuperseded where it was not sent and never will be).
    """
    refuse_inside_transaction(purpose)
    known = writes.OPERATIONS[operation]
    intent = OutboxIntent(
        purpose=purpose,
        operation=operation,
        target=target,
        params=params,
        created_at=now,
        first_sent_at=now,
        sending_since=now,
        attempts=1,
    )
    if _insert(intent):
        answer = _send(intent, known, Doer(now))
        return _as_it_is_now(known, answer.data) if answer.is_replayed else answer.data
    intent = OutboxIntent.objects.get(purpose=purpose)
    if (intent.operation, intent.target, intent.params) != (operation, target, params):
        raise OutboxConflict(f"{purpose} was {intent.operation} {intent.target} with other parameters before.")
    return carry_on(intent, Doer(now))


def refuse_inside_transaction(what: object) -> None:
    """Raise OutboxInsideTransaction: Stripe's answer would be lost with a transaction that is rolled back."""
    if connection.in_atomic_block:
        raise OutboxInsideTransaction(f"{what}: a remote call may not run inside a database transaction.")


def _insert(intent: OutboxIntent) -> bool:
    """Commit a new intent; False if its purpose was intended before. One round trip, where the ORM would take four."""
    row = (intent.pk, intent.purpose, intent.operation, intent.target, json.dumps(intent.params))
    times = (intent.created_at, intent.first_sent_at, intent.sending_since)
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, (*row, intent.attempts, *times))
        return bool(cursor.rowcount)


def carry_on(intent: OutboxIntent, doer: Doer) -> StripeDict:
    """Go on with an intent from before, as `perform` does when it is repeated. Raises as it does."""
    operation = writes.OPERATIONS[intent.operation]
    if intent.state == State.SUCCEEDED:
        return _as_it_is_now(operation, {operation.named_by: intent.stripe_object_id})
    if intent.state == State.REFUSED:
        code, _, message = intent.error.partition(": ")
        raise StripeRefused(code=code, message=message)
    if intent.state != State.INTENDED:
        raise OutboxSuperseded(code=intent.state, message=intent.error)
    is_old = is_past_memory(intent, now=doer.now)
    if is_old or not operation.has_key_memory or was_answered_broken(intent):
        found = look(intent, operation, doer)
        if found is not None:
            return found
    refuse_superseded(intent, operation, doer)
    if is_old and operation.is_blind:
        raise OutboxNeedsPerson(
            f"{intent.purpose} was sent first at {intent.first_sent_at:%F %T} UTC. Stripe does not show it, and sending"
            " it again could overwrite what came after it. Look at the outbox and send it again, or abandon it."
        )
    return _as_it_is_now(operation, send_again(intent, doer))


def _as_it_is_now(operation: Operation, answered: StripeDict) -> StripeDict:
    """The object fetched: a key that was sent before answers with what the object was then."""
    if not operation.retrieve_path:
        return {"id": answered[operation.named_by], **answered}
    return gateway.retrieve(operation.retrieve_path.format(id=answered[operation.named_by]))


def is_past_memory(intent: OutboxIntent, *, now: datetime) -> bool:
    """Whether Stripe may have forgotten the intent's key: sending would be a new write to it."""
    return intent.first_sent_at is not None and now - intent.first_sent_at > KEY_TRUSTED_FOR


def was_answered_broken(intent: OutboxIntent) -> bool:
    """Whether the last answer was a 5xx: Stripe repeats it for a day, also where the write was carried out."""
    last = intent.tries.order_by("-pk").values_list("http_status", flat=True).first()
    return last is not None and last >= 500


def look(intent: OutboxIntent, operation: Operation, doer: Doer) -> StripeDict | None:
    """The intent's object at Stripe, recorded as found; None where there is none, or nothing to tell it by."""
    if operation.find is None:
        return None
    try:
        found = operation.find(str(intent.pk), intent.target, intent.params)
    except StripeRefused as gone:
        if gone.code != "resource_missing":
            raise
        found = None  # what it acts on is not there: Stripe will say so to whoever sends it
    if found is not None:
        was = State(intent.state)
        record(intent, doer, Outcome.FOUND, state=State.SUCCEEDED, was=was, object_id=str(found["id"]))
    return found


def superseding(intent: OutboxIntent) -> OutboxIntent | None:
    """The latest write to the same object that was intended later and carried out, if such ones set all this sets."""
    later = OutboxIntent.objects.filter(
        target=intent.target, operation=intent.operation, state=State.SUCCEEDED, created_at__gt=intent.created_at
    )
    found = list(later.order_by("-created_at", "-pk")) if intent.target else []
    covered = {name for one in found for name in fields_set(one.params)}
    return found[0] if found and are_covered(fields_set(intent.params), by=covered) else None


def refuse_superseded(intent: OutboxIntent, operation: Operation, doer: Doer) -> None:
    """Raise OutboxSuperseded, and record it, where later writes set everything that this one would overwrite."""
    later = superseding(intent) if operation.overwrites else None
    if later is None:
        return
    said = f"{later.purpose} wrote the same to {intent.target} at {later.created_at:%F %T} UTC"
    record(intent, doer, Outcome.SUPERSEDED, state=State.SUPERSEDED, was=State(intent.state), error=said)
    raise OutboxSuperseded(code=State.SUPERSEDED, message=said)


def send_again(intent: OutboxIntent, doer: Doer) -> StripeDict:
    """
    Send an intended write under its present key and return what Stripe answers, which may be what it answered to that
    key before. Raises as `perform`.
    """
    OutboxIntent.objects.filter(pk=intent.pk).update(attempts=F("attempts") + 1, sending_since=doer.now)
    return _send(intent, writes.OPERATIONS[intent.operation], doer).data


def _send(intent: OutboxIntent, operation: Operation, doer: Doer) -> Answer:
    params = writes.marked(operation, intent.params, str(intent.pk))
    path = operation.path.format(target=intent.target)
    asked_ns = time.monotonic_ns()
    try:
        answer = gateway.request(operation.method, path, params, idempotency_key=intent.idempotency_key)
    except StripeRefused as refusal:
        found = _found_after(refusal, intent, operation, doer, asked_ns=asked_ns)
        if found is not None:
            return Answer(found, refusal.request_id)
        record(intent, doer, Outcome.REFUSED, state=State.REFUSED, failure=refusal, asked_ns=asked_ns)
        raise
    except StripeUnavailable as failure:
        forbidden = isinstance(failure, StripeForbidden)
        outcome = Outcome.FORBIDDEN if forbidden else Outcome.UNAVAILABLE
        record(intent, doer, outcome, state=State.INTENDED, failure=failure, asked_ns=asked_ns)
        raise
    record(
        intent,
        doer,
        Outcome.SUCCEEDED,
        state=State.SUCCEEDED,
        object_id=str(answer.data[operation.named_by]),
        request_id=answer.request_id,
        asked_ns=asked_ns,
    )
    return answer


def _found_after(
    refusal: StripeRefused, intent: OutboxIntent, operation: Operation, doer: Doer, *, asked_ns: int
) -> StripeDict | None:
    """
    What a write that bears no key has done in spite of a refusal: it may be that of its second try, within one call.

    Raises StripeUnavailable where Stripe cannot be asked: the intent stays, and whoever performs it again looks first.
    """
    if operation.has_key_memory:
        return None
    try:
        return look(intent, operation, doer)
    except StripeUnavailable:
        record(intent, doer, Outcome.UNAVAILABLE, state=State.INTENDED, failure=refusal, asked_ns=asked_ns)
        raise
    except StripeRefused:
        return None  # the refusal of the write itself says more


def record(
    intent: OutboxIntent,
    doer: Doer,
    outcome: Outcome,
    *,
    state: State,
    object_id: str = "",
    request_id: str = "",
    error: str = "",
    failure: StripeRefused | StripeUnavailable | None = None,
    asked_ns: int | None = None,
    was: State = State.INTENDED,
) -> None:
    """Keep the try and, of an intent that is still as it `was` under this key, the new state: one statement."""
    if failure is not None:
        error, request_id = str(failure), failure.request_id
    values: dict[str, Any] = {
        "id": intent.pk,
        "at": doer.now,
        "actor": doer.actor,
        "reason": doer.reason,
        "outcome": outcome,
        "generation": intent.generation,
        "http_status": failure.status if failure is not None else 200 if asked_ns is not None else 0,
        "request_id": request_id,
        "milliseconds": 0 if asked_ns is None else (time.monotonic_ns() - asked_ns) // 1_000_000,
        "error": error[:ERROR_CHARS_MAX],
        "state": state,
        "was": was,
        "finished_at": None if state == State.INTENDED else doer.now,
        "object_id": object_id,
    }
    with connection.cursor() as cursor:
        cursor.execute(_RECORD, values)
