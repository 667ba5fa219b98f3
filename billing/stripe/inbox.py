"""
Events from Stripe: stored once, worked on under a lease, done in the transaction that holds their effects.

Why a lease and not a lock: bringing an object up to date means fetching it, and no transaction may stay open across
a remote call (DESIGN §3, rule 5). So a worker *claims* all waiting events of one object: their rows say who may work
until when, and nobody else gets a claim on that object meanwhile. An advisory lock makes claiming one object a queue
of one, held for two statements only. The lease is also a fence: `finish` runs inside the transaction of the effects
and raises LeaseLost, undoing them, if the lease ran out and somebody else took over. So an older fetched state can
never overwrite a newer one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, Subquery

from billing.stripe.errors import LeaseLost
from billing.stripe.gateway import StripeDict
from billing.stripe.inbox_models import InboxFailure
from billing.stripe.models import InboxEvent
from billing.stripe.readers import id_of, payment_of_invoice_payment

State = InboxEvent.State
Outcome = InboxEvent.Outcome
THIN = "v2.core.event"
# A worker that died holds its objects no longer than this. A claim that takes longer, because Stripe is slow, may be
# taken over: the fence makes that safe, and only costs a second fetch.
LEASE = timedelta(seconds=settings.BILLING_LEASE_SECONDS)
# The broker gets this long to bring a new event to a worker before the sweeper hands it over again.
SWEPT_AFTER = LEASE
# Strikes: attempts that failed, or whose worker died. An event that has many is worked on alone, so that it takes none
# of the others about its object along when it is set aside.
STRIKES_MAX = 12
STRIKES_TOGETHER_MAX = 6
# Stripe delivers for up to three days what we did not take at first; whatever is missing may come as late as that.
WAITED_FOR_MAX = timedelta(days=4)
BACKOFF_FIRST = timedelta(seconds=1)
BACKOFF_MAX = timedelta(minutes=15)
ERROR_CHARS_MAX = 2000
EVENTS_PER_OBJECT_GUESS = 4

_RECEIVE = """
    INSERT INTO billing_inboxevent (event_id, type, api_version, livemode, object_id, payload, stripe_created_at,
                                    received_at, source, deliveries, last_delivered_at, state, attempts,
                                    attempts_before, strikes, next_attempt_at, error, outcome)
    VALUES (%s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s, 1, %s, 'received', 0, 0, 0, %s, '', '')
    ON CONFLICT (event_id) DO UPDATE SET deliveries = billing_inboxevent.deliveries + 1,
                                         last_delivered_at = excluded.last_delivered_at
    RETURNING xmax = 0 AND NOT EXISTS (SELECT FROM billing_inboxevent AS other
                                        WHERE other.object_id = billing_inboxevent.object_id
                                          AND other.event_id <> billing_inboxevent.event_id
                                          AND other.state IN ('received', 'processing'))
"""

_CLAIM = """
    UPDATE billing_inboxevent AS event
       SET state = 'processing', attempts = event.attempts + 1, next_attempt_at = %(until)s,
           strikes = event.strikes + (event.state = 'processing')::int
     WHERE event.object_id = %(object_id)s
       AND (event.event_id = %(event_id)s OR NOT %(is_alone)s AND event.strikes < %(together_max)s)
       AND (event.state = 'received' OR (event.state IN ('failed', 'processing') AND event.next_attempt_at <= %(now)s))
       AND NOT EXISTS (SELECT FROM billing_inboxevent AS held
                        WHERE held.object_id = %(object_id)s AND held.state = 'processing'
                          AND held.next_attempt_at > %(now)s)
    RETURNING event.*
"""

# The lock and what it is for in one round trip; taken before the claim's own snapshot, so that it sees the last claim.
_LOCK = """
    SELECT object_id, strikes >= %s, pg_advisory_xact_lock(hashtextextended('inbox:' || object_id, 0))
      FROM billing_inboxevent WHERE event_id = %s AND state NOT IN ('done', 'dead')
"""


class Verdict(Enum):
    """What becomes of events whose projection failed."""

    TRY_AGAIN = "Nothing is wrong with the event: for as long as it takes."
    WAIT = "What it is about is not known here yet: for as long as Stripe may take to tell us, WAITED_FOR_MAX."
    TRY_A_FEW_TIMES = "Something of ours is missing or broken: set aside after STRIKES_MAX tries."
    SET_ASIDE = "Trying again changes nothing: a person has to look."


@dataclass(frozen=True, slots=True)
class Claim:
    """The waiting events of one object, ours until `until`. Events are in no meaningful order."""

    object_id: str
    events: tuple[InboxEvent, ...]
    until: datetime

    @property
    def snapshots(self) -> list[StripeDict]:
        """The object as each event showed it when it happened; never the current state. Thin events show nothing."""
        return [event.said["data"]["object"] for event in self.events if not is_thin(event.said)]

    @property
    def must_fetch(self) -> bool:
        """An event shows nothing, or a person asked for it to be tried again: what our rows say is not asked."""
        return any(is_thin(event.said) or event.replayed_at is not None for event in self.events)

    def shows_only(self, is_known: Callable[[StripeDict], bool]) -> bool:
        """Whether nothing has to be fetched, because everything the events show is known."""
        return not self.must_fetch and all(is_known(snapshot) for snapshot in self.snapshots)

    @property
    def is_hopeless(self) -> bool:
        """Its workers died so often that nobody is to try again before a person looked."""
        return any(event.strikes >= STRIKES_MAX for event in self.events)


def is_thin(event: StripeDict) -> bool:
    """Whether it is an event of API v2, which names an object in place of showing it."""
    return event.get("object") == THIN


def subject_of(event: StripeDict) -> str:
    """
    The id of the object whose state the event is about.

    A thin event names it; where that is a part of another object, only Stripe knows of which (`readdress`).
    """
    if is_thin(event):
        return id_of(event.get("related_object")) or str(event["id"])
    return subject_of_object(event["data"]["object"]) or str(event["id"])


def subject_of_object(thing: StripeDict) -> str:
    """
    The id behind which events about this object queue up; empty for one that has none.

    A charge, its refunds and disputes, and the payment of an invoice, are parts of one payment intent: their events
    queue up behind its id, so that they are fetched once and never projected by two workers at the same time. Where
    there is no intent they queue up behind the charge, and where there is no charge either, of what was paid outside
    Stripe, behind nobody.
    """
    if thing.get("object") in ("charge", "refund", "dispute"):
        return id_of(thing.get("payment_intent")) or id_of(thing.get("charge")) or str(thing["id"])
    if thing.get("object") == "invoice_payment":
        return payment_of_invoice_payment(thing) or str(thing["id"])
    return str(thing.get("id") or "")


def _created_at(event: StripeDict) -> datetime:
    """Raises KeyError, TypeError and ValueError for a time that is none."""
    if not is_thin(event):
        return datetime.fromtimestamp(int(event["created"]), tz=UTC)
    created = datetime.fromisoformat(str(event["created"]))
    if created.tzinfo is None:
        raise ValueError("created has no time zone")
    return created


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
        _created_at(event),
        received_at,
        source,
        received_at,
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
            cursor.execute(_LOCK, [STRIKES_TOGETHER_MAX, event_id])
            found = cursor.fetchone()
        if found is None:
            return None
        taken = {"object_id": found[0], "event_id": event_id, "is_alone": found[1], "now": now, "until": until}
        taken["together_max"] = STRIKES_TOGETHER_MAX
        events = sorted(InboxEvent.objects.raw(_CLAIM, taken), key=lambda event: (event.stripe_created_at, event.pk))
    return Claim(object_id=found[0], events=tuple(events), until=until) if events else None


def finish(taken: Claim, *, outcome: InboxEvent.Outcome, now: datetime) -> None:
    """Mark a claim's events done; call it inside the transaction of their effects. Raises LeaseLost."""
    _end(taken, state=State.DONE, processed_at=now, outcome=outcome, error="")


def fail(taken: Claim, *, error: str, verdict: Verdict, now: datetime, retry_after: timedelta | None = None) -> None:
    """
    Put a claim's events back with a growing wait, `retry_after` at least, or set them aside: each by its own strikes,
    so that an event that came in late is not given up together with one that failed for hours. Raises LeaseLost.
    """
    strike = int(verdict is Verdict.TRY_A_FEW_TIMES)
    hopeless = [event for event in taken.events if _is_hopeless(event, verdict, now=now)]
    others = [event for event in taken.events if event not in hopeless]
    said = {"error": error[:ERROR_CHARS_MAX], "strikes": F("strikes") + strike}
    with transaction.atomic():
        if hopeless:
            _end(taken, hopeless, state=State.DEAD, next_attempt_at=now, **said)
        if others:
            tries = max(event.attempts - event.attempts_before for event in others)
            wait = max(min(BACKOFF_FIRST * 2 ** min(tries - 1, 20), BACKOFF_MAX), retry_after or timedelta(0))
            _end(taken, others, state=State.FAILED, next_attempt_at=now + wait, **said)
        _record_failure(taken, hopeless, error=error[:ERROR_CHARS_MAX], now=now)


def _is_hopeless(event: InboxEvent, verdict: Verdict, *, now: datetime) -> bool:
    """Whether an event that failed so is set aside."""
    if verdict is Verdict.TRY_A_FEW_TIMES:
        return event.strikes + 1 >= STRIKES_MAX
    if verdict is Verdict.WAIT:
        return now - (event.replayed_at or event.received_at) >= WAITED_FOR_MAX
    return verdict is Verdict.SET_ASIDE


def _record_failure(taken: Claim, hopeless: list[InboxEvent], *, error: str, now: datetime) -> None:
    """What failed in the same way as before is counted by `attempts` and not told again, but for the last time."""
    InboxFailure.objects.bulk_create(
        InboxFailure(event=event, attempt=event.attempts, failed_at=now, is_final=event in hopeless, error=error)
        for event in taken.events
        if event.error != error or event in hopeless
    )


def forgive(taken: Claim) -> None:
    """The worker that lost the lease lives: it was slow, and the next claim's strike against the events was unjust."""
    ids = [event.pk for event in taken.events]
    struck = InboxEvent.objects.filter(pk__in=ids, strikes__gt=0).exclude(state__in=(State.DONE, State.DEAD))
    struck.update(strikes=F("strikes") - 1)


def readdress(taken: Claim, *, object_id: str, now: datetime) -> None:
    """Let a claim's thin events queue up behind the object of which theirs is a part. Raises LeaseLost."""
    _end(taken, state=State.RECEIVED, object_id=object_id, next_attempt_at=now)


def take_for_done(*, object_id: str, because: str, now: datetime) -> None:
    """What events of an object were set aside for is mended at Stripe: nobody has to look at them any more."""
    aside = InboxEvent.objects.filter(object_id=object_id, state=State.DEAD, error__contains=because)
    aside.update(state=State.DONE, processed_at=now, outcome=Outcome.KNOWN, error="")


def note_detail(taken: Claim, details: dict[str, StripeDict]) -> None:
    """Keep what was fetched for thin events, by their ids; call it inside the transaction of their effects."""
    for event in taken.events:
        if event.pk in details:
            InboxEvent.objects.filter(pk=event.pk).update(detail=details[event.pk])


def _end(taken: Claim, events: Sequence[InboxEvent] | None = None, **changes: Any) -> None:
    ids = [event.pk for event in (taken.events if events is None else events)]
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


def mark_mirrored(*, event_ids: Iterable[str], now: datetime) -> None:
    """The mirror was refreshed after these events."""
    InboxEvent.objects.filter(pk__in=list(event_ids), mirrored_at=None).update(mirrored_at=now)


def unknown_ids(event_ids: Iterable[str]) -> set[str]:
    """Those of the events that were never stored."""
    asked = set(event_ids)
    return asked - set(InboxEvent.objects.filter(pk__in=asked).values_list("pk", flat=True))
