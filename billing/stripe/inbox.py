"""
Events from Stripe: stored once, worked on under a lease, done in the transaction that holds their effects.

Why a lease and not a lock: bringing an object up to date means fetching it, and no transaction may stay open across
a remote call (DESIGN §3, rule 5). So a worker *claims* all waiting events of one object: their rows say who may work
until when, and nobody else gets a claim on that object meanwhile. An advisory lock makes claiming one object a queue
of one, held for two statements only. The lease is also a fence: `finish` runs inside the transaction of the effects
and raises LeaseLost, undoing them, if the lease ran out and somebody else took over. So an older fetched state can
never overwrite a newer one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, Subquery

from billing.stripe.errors import LeaseLost
from billing.stripe.gateway import StripeDict
from billing.stripe.models import InboxEvent
from billing.stripe.readers import id_of

State = InboxEvent.State
# A worker that died holds its objects no longer than this. A claim that takes longer, because Stripe is slow, may be
# taken over: the fence makes that safe, and only costs a second fetch.
LEASE = timedelta(seconds=settings.BILLING_LEASE_SECONDS)
# The broker gets this long to bring a new event to a worker before the sweeper hands it over again.
SWEPT_AFTER = LEASE
ATTEMPTS_MAX = 12
BACKOFF_FIRST = timedelta(seconds=1)
BACKOFF_MAX = timedelta(minutes=15)
ERROR_CHARS_MAX = 2000
EVENTS_PER_OBJECT_GUESS = 4

_RECEIVE = """
    INSERT INTO billing_inboxevent (event_id, type, api_version, livemode, object_id, payload, stripe_created_at,
                                    received_at, source, deliveries, state, attempts, next_attempt_at, error)
    VALUES (%s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s, 1, 'received', 0, %s, '')
    ON CONFLICT (event_id) DO UPDATE SET deliveries = billing_inboxevent.deliveries + 1
    RETURNING xmax = 0 AND NOT EXISTS (SELECT FROM billing_inboxevent AS other
                                        WHERE other.object_id = billing_inboxevent.object_id
                                          AND other.event_id <> billing_inboxevent.event_id
                                          AND other.state IN ('received', 'processing'))
"""

_CLAIM = """
    UPDATE billing_inboxevent AS event
       SET state = 'processing', attempts = event.attempts + 1, next_attempt_at = %(until)s
     WHERE event.object_id = %(object_id)s
       AND (event.state = 'received' OR (event.state IN ('failed', 'processing') AND event.next_attempt_at <= %(now)s))
       AND NOT EXISTS (SELECT FROM billing_inboxevent AS held
                        WHERE held.object_id = %(object_id)s AND held.state = 'processing'
                          AND held.next_attempt_at > %(now)s)
    RETURNING event.*
"""

# The lock and what it is for in one round trip; taken before the claim's own snapshot, so that it sees the last claim.
_LOCK = """
    SELECT object_id, pg_advisory_xact_lock(hashtextextended('inbox:' || object_id, 0))
      FROM billing_inboxevent WHERE event_id = %s AND state NOT IN ('done', 'dead')
"""


class Verdict(Enum):
    """What becomes of events whose projection failed."""

    TRY_AGAIN = "Nothing is wrong with the event: for as long as it takes."
    TRY_A_FEW_TIMES = "Something of ours is missing or broken: set aside after ATTEMPTS_MAX tries."
    SET_ASIDE = "Trying again changes nothing: a person has to look."


@dataclass(frozen=True, slots=True)
class Claim:
    """The waiting events of one object, ours until `until`. Events are in no meaningful order."""

    object_id: str
    events: tuple[InboxEvent, ...]
    until: datetime

    @property
    def snapshots(self) -> list[StripeDict]:
        """The object as each event showed it when it happened; never the current state."""
        return [event.payload["data"]["object"] for event in self.events]


def subject_of(event: StripeDict) -> str:
    """
    The id of the object whose state the event is about.

    A charge, its refunds and disputes, and the payment of an invoice, are parts of one payment intent: their events
    queue up behind its id, so that they are fetched once and never projected by two workers at the same time.
    """
    thing = event["data"]["object"]
    if thing.get("object") in ("charge", "refund", "dispute"):
        return id_of(thing.get("payment_intent")) or str(thing["id"])
    if thing.get("object") == "invoice_payment":
        return id_of((thing.get("payment") or {}).get("payment_intent")) or str(thing["id"])
    return str(thing.get("id") or event["id"])


def receive(event: StripeDict, *, body: str, source: str, received_at: datetime) -> bool:
    """
    Store a verified event, `body` being its JSON; return whether a worker has to be told.

    Not of a repeat, and not while an event of the same object waits or is in work: whoever takes or has that one looks
    for others before leaving the object, and one stored in the instant of that look is found by the sweeper.
    Raises KeyError and TypeError for an event without its parts.
    """
    row = (
        str(event["id"]),
        str(event["type"]),
        str(event.get("api_version") or ""),
        bool(event["livemode"]),
        subject_of(event),
        body,
        datetime.fromtimestamp(int(event["created"]), tz=UTC),
        received_at,
        source,
        received_at,
    )
    with connection.cursor() as cursor:
        cursor.execute(_RECEIVE, row)
        return bool(cursor.fetchone()[0])


def claim(*, event_id: str, now: datetime) -> Claim | None:
    """Take an event and all others of its object. None: it is finished, not due, or somebody is at it."""
    until = now + LEASE
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_LOCK, [event_id])
            found = cursor.fetchone()
        if found is None:
            return None
        taken = {"object_id": found[0], "now": now, "until": until}
        events = sorted(InboxEvent.objects.raw(_CLAIM, taken), key=lambda event: (event.stripe_created_at, event.pk))
    return Claim(object_id=found[0], events=tuple(events), until=until) if events else None


def finish(taken: Claim, *, now: datetime) -> None:
    """Mark a claim's events done; call it inside the transaction of their effects. Raises LeaseLost."""
    _end(taken, state=State.DONE, processed_at=now, error="")


def fail(taken: Claim, *, error: str, verdict: Verdict, now: datetime) -> None:
    """Put a claim's events back with a growing wait, or set them aside. Raises LeaseLost."""
    attempts = max(event.attempts for event in taken.events)
    is_hopeless = verdict is Verdict.TRY_A_FEW_TIMES and attempts >= ATTEMPTS_MAX
    if is_hopeless or verdict is Verdict.SET_ASIDE:
        _end(taken, state=State.DEAD, error=error[:ERROR_CHARS_MAX], next_attempt_at=now)
        return
    wait = min(BACKOFF_FIRST * 2 ** min(attempts - 1, 20), BACKOFF_MAX)
    _end(taken, state=State.FAILED, error=error[:ERROR_CHARS_MAX], next_attempt_at=now + wait)


def _end(taken: Claim, **changes: Any) -> None:
    ids = [event.pk for event in taken.events]
    ours = InboxEvent.objects.filter(pk__in=ids, state=State.PROCESSING, next_attempt_at=taken.until)
    if ours.update(**changes) != len(ids):
        raise LeaseLost(f"The lease on {taken.object_id} ran out.")


def due_event_ids(*, now: datetime, limit: int) -> list[str]:
    """One event for each object that nobody brings to a worker any more, the longest waiting first."""
    unfinished = InboxEvent.objects.exclude(state__in=(State.DONE, State.DEAD))
    is_lost = Q(state=State.RECEIVED, next_attempt_at__lte=now - SWEPT_AFTER)
    is_due = Q(state__in=(State.FAILED, State.PROCESSING), next_attempt_at__lte=now)
    waiting = unfinished.filter(is_lost | is_due).order_by("next_attempt_at", "event_id")
    rows = waiting.values_list("object_id", "event_id")[: limit * EVENTS_PER_OBJECT_GUESS]
    first_of: dict[str, str] = {}
    for object_id, event_id in rows:
        first_of.setdefault(object_id, event_id)
    return list(first_of.values())[:limit]


def note_swept(*, event_ids: Iterable[str], now: datetime) -> None:
    """Give the broker its time again for the objects of these events, or a long queue would be filled up by sweeps."""
    objects = InboxEvent.objects.filter(pk__in=list(event_ids)).values("object_id")
    InboxEvent.objects.filter(object_id__in=objects, state=State.RECEIVED).update(next_attempt_at=now)


def next_waiting(*, event_id: str) -> str | None:
    """An event about the same object that came in while its lease was held, and so found it taken."""
    object_id = InboxEvent.objects.filter(pk=event_id).values("object_id")
    waiting = InboxEvent.objects.filter(object_id=Subquery(object_id), state=State.RECEIVED)
    return waiting.order_by("received_at").values_list("pk", flat=True).first()


def replay(*, event_ids: Iterable[str], now: datetime) -> int:
    """Let events that were set aside or failed be tried again at once; return how many. Asked for by a person."""
    chosen = InboxEvent.objects.filter(pk__in=list(event_ids), state__in=(State.DEAD, State.FAILED))
    return chosen.update(state=State.RECEIVED, attempts=0, next_attempt_at=now, error="")


def mark_mirrored(*, event_ids: Iterable[str], now: datetime) -> None:
    """The mirror was refreshed after these events."""
    InboxEvent.objects.filter(pk__in=list(event_ids), mirrored_at=None).update(mirrored_at=now)


def unknown_ids(event_ids: Iterable[str]) -> set[str]:
    """Those of the events that were never stored."""
    asked = set(event_ids)
    return asked - set(InboxEvent.objects.filter(pk__in=asked).values_list("pk", flat=True))
