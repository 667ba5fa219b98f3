"""
Writes to Stripe, each carried out once (DESIGN §3, rules 4 and 5).

The intent is committed before the call, the call carries a key made from the intent's id, and the outcome is recorded
after it. A crash at any point leaves an intent that the same `perform` completes: within a day Stripe knows the key,
after that the object is looked for by `metadata.intent_id` before it is sent again.
"""

import json
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import F

from billing.stripe import gateway, writes
from billing.stripe.errors import OutboxConflict, OutboxInsideTransaction, StripeRefused, StripeUnavailable
from billing.stripe.gateway import Answer, StripeDict
from billing.stripe.models import OutboxIntent
from billing.stripe.writes import Operation

State = OutboxIntent.State
# Stripe keeps a key at least 24 h; the hour covers clocks that differ and requests that wait in a queue.
KEY_TRUSTED_FOR = timedelta(hours=23)

_INSERT = """
    INSERT INTO billing_outboxintent (id, purpose, operation, target, params, state, attempts, created_at,
                                      first_sent_at, stripe_object_id, request_id, error)
    VALUES (%s, %s, %s, %s, %s::jsonb, 'intended', %s, %s, %s, '', '', '')
    ON CONFLICT (purpose) DO NOTHING
"""


def perform(*, purpose: str, operation: str, target: str, params: dict[str, Any], now: datetime) -> StripeDict:
    """
    Carry out one write for one purpose and return Stripe's object; a repeat returns the object as it is now.

    Raises OutboxConflict (same purpose, other request), OutboxInsideTransaction, StripeUnavailable (the intent stays
    and can be performed again) and StripeRefused (recorded; a repeat raises it again).
    """
    if connection.in_atomic_block:
        raise OutboxInsideTransaction(f"{purpose}: a remote call may not run inside a database transaction.")
    known = writes.OPERATIONS[operation]
    intent = OutboxIntent(
        purpose=purpose,
        operation=operation,
        target=target,
        params=params,
        created_at=now,
        first_sent_at=now,
        attempts=1,
    )
    if _insert(intent):
        return _send(intent, known, now=now)
    intent = OutboxIntent.objects.get(purpose=purpose)
    if (intent.operation, intent.target, intent.params) != (operation, target, params):
        raise OutboxConflict(f"{purpose} was {intent.operation} {intent.target} with other parameters before.")
    return _repeat(intent, known, now=now)


def _insert(intent: OutboxIntent) -> bool:
    """Commit a new intent; False if its purpose was intended before. One round trip, where the ORM would take four."""
    row = (intent.pk, intent.purpose, intent.operation, intent.target, json.dumps(intent.params))
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, (*row, intent.attempts, intent.created_at, intent.first_sent_at))
        return bool(cursor.rowcount)


def _repeat(intent: OutboxIntent, operation: Operation, *, now: datetime) -> StripeDict:
    if intent.state == State.SUCCEEDED:
        return gateway.retrieve(operation.retrieve_path.format(id=intent.stripe_object_id))
    if intent.state == State.REFUSED:
        code, _, message = intent.error.partition(": ")
        raise StripeRefused(code=code, message=message)
    OutboxIntent.objects.filter(pk=intent.pk).update(attempts=F("attempts") + 1)
    if intent.first_sent_at is not None and now - intent.first_sent_at > KEY_TRUSTED_FOR and operation.find:
        found = operation.find(str(intent.pk), intent.target, intent.params)
        if found is not None:
            _succeeded(intent, Answer(data=found, request_id=""), now=now)
            return found
    return _send(intent, operation, now=now)


def _send(intent: OutboxIntent, operation: Operation, *, now: datetime) -> StripeDict:
    params = writes.marked(operation, intent.params, str(intent.pk))
    path = operation.path.format(target=intent.target)
    try:
        answer = gateway.request("post", path, params, idempotency_key=f"intent-{intent.pk}")
    except StripeRefused as refusal:
        _record(intent, state=State.REFUSED, error=str(refusal), finished_at=now)
        raise
    except StripeUnavailable as failure:
        _record(intent, error=str(failure))
        raise
    _succeeded(intent, answer, now=now)
    return answer.data


def _succeeded(intent: OutboxIntent, answer: Answer, *, now: datetime) -> None:
    _record(
        intent,
        state=State.SUCCEEDED,
        stripe_object_id=str(answer.data["id"]),
        request_id=answer.request_id,
        error="",
        finished_at=now,
    )


def _record(intent: OutboxIntent, **outcome: Any) -> None:
    """A recorded outcome stays: two workers on one intent get the same answer from Stripe, the first writes it down."""
    OutboxIntent.objects.filter(pk=intent.pk, state=State.INTENDED).update(**outcome)
