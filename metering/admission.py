"""What becomes of each event of a batch. Used by `operations.ingest_events` and `operations.replay_quarantine`."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from django.db import connection, transaction

from metering import event_store
from metering.events import EventChecker, Refusal, UsageEvent, UsageEventInput
from metering.models import QuarantinedEvent

Status = Literal["duplicate", "conflict", "quarantined", "refused"]

# Up to so many events, the round trips of two COPYs and a transaction cost more than they save.
_FEW = 32

_QUARANTINE_TEXT = {
    QuarantinedEvent.UNKNOWN_TYPE: (
        "type",
        "no meter takes this type",
        "it is kept and can be replayed once a meter does",
    ),
    QuarantinedEvent.UNKNOWN_SUBJECT: (
        "subject",
        "the subject is not known",
        "it is kept and can be replayed once it is",
    ),
}


_REPEATED = "the same event was accepted before"
_REPEATED_VOID = (
    "the same event was accepted before, and a correction voided it since",
    "sending it again does not bring it back: that takes another correction",
)


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """What became of one event that was not accepted. `index` is its place in the batch, from 0."""

    index: int
    id: str
    status: Status
    reason: str
    field: str = ""
    remedy: str = ""


@dataclass(slots=True)
class Batch:
    """A batch taken apart, all by index: events to store, events to quarantine, and outcomes known so far."""

    admitted: dict[int, UsageEvent] = field(default_factory=dict)
    quarantined: dict[int, tuple[UsageEvent, str]] = field(default_factory=dict)
    outcomes: dict[int, EventOutcome] = field(default_factory=dict)


def sort_batch(events: Sequence[UsageEventInput | Refusal], *, received_at: datetime, oldest: datetime) -> Batch:
    """Check every event and tell those to store from those to quarantine or refuse. Reads meters and subjects."""
    gate = event_store.read_gate(
        {event.subject for event in events if isinstance(event, UsageEventInput) and isinstance(event.subject, str)}
    )
    check = EventChecker(received_at=received_at, oldest=oldest, rules=gate.rules).check
    batch = Batch()
    admitted, rules, unknown = batch.admitted, gate.rules, gate.unknown_subjects
    for index, event in enumerate(events):
        outcome = check(event) if isinstance(event, UsageEventInput) else event
        if isinstance(outcome, Refusal):
            batch.outcomes[index] = EventOutcome(
                index, outcome.event_id, "refused", outcome.reason, outcome.field, outcome.remedy
            )
        elif outcome.type not in rules:
            batch.quarantined[index] = (outcome, QuarantinedEvent.UNKNOWN_TYPE)
        elif outcome.subject in unknown:
            batch.quarantined[index] = (outcome, QuarantinedEvent.UNKNOWN_SUBJECT)
        else:
            admitted[index] = outcome
    return batch


def store_batch(batch: Batch, *, received_at: datetime) -> None:
    """Store what was admitted and quarantined, all or nothing, and add the outcomes of what was not accepted.

    First as if nothing had been sent before, which is mostly right; on a collision it is undone and done again event
    by event. A month without a partition gets one. Commits, unless the caller's transaction is open: then that does.
    """
    firsts: dict[str, UsageEvent] = {}
    for event in batch.admitted.values():
        firsts.setdefault(event.key, event)
    is_few = len(firsts) <= _FEW
    is_new = not is_few
    # Few events are stored by one statement, which is a transaction of its own. What follows it, when some came before,
    # is done again if the batch is sent again.
    is_one_statement = is_few and not batch.quarantined and connection.get_autocommit()
    for _ in range(3):
        try:
            with nullcontext() if is_one_statement else transaction.atomic():
                _store(batch, firsts, received_at=received_at, is_new=is_new)
            return
        except event_store.KeysTaken:
            is_new = False
        except event_store.MonthMissing:
            times = [event.time for event in firsts.values()]
            event_store.ensure_partitions(start=min(times), end=max(times))
    raise RuntimeError("storing a batch met a collision and a missing partition again after both were dealt with")


def _store(batch: Batch, firsts: Mapping[str, UsageEvent], *, received_at: datetime, is_new: bool) -> None:
    won: AbstractSet[str] = firsts.keys()
    if is_new and firsts:
        event_store.store_new(list(firsts.values()), received_at=received_at)
    elif firsts:
        won = event_store.store_free(list(firsts.values()), received_at=received_at)
    if len(won) < len(batch.admitted):
        _name_repeated(batch, firsts, won, received_at)
    if batch.quarantined:
        event_store.store_quarantined(list(batch.quarantined.values()), received_at=received_at)
        for index, (event, reason) in batch.quarantined.items():
            name, text, remedy = _QUARANTINE_TEXT[reason]
            batch.outcomes[index] = EventOutcome(index, event.id, "quarantined", text, name, remedy)


def _name_repeated(
    batch: Batch, firsts: Mapping[str, UsageEvent], won: AbstractSet[str], received_at: datetime
) -> None:
    """Tell duplicates from conflicts, against the event that counts: one stored before, or the first of this batch."""
    counting = {key: event_store.StoredIdentity(firsts[key].digest, firsts[key].time) for key in won}
    counting |= event_store.stored_identities(firsts.keys() - won)
    repeated: dict[int, UsageEvent] = {}
    conflicts: list[tuple[UsageEvent, datetime]] = []
    for index, event in batch.admitted.items():
        if event.key in won and event is firsts[event.key]:
            continue
        first = counting[event.key]
        if event.digest == first.digest:
            repeated[index] = event
            continue
        conflicts.append((event, first.event_time))
        batch.outcomes[index] = EventOutcome(
            index,
            event.id,
            "conflict",
            "this source and id were accepted before with another body; the first one counts",
            "id",
            "give every event an id of its own",
        )
    _name_duplicates(batch, repeated, firsts.keys() - won)
    event_store.store_conflicts(conflicts, received_at=received_at)


def _name_duplicates(batch: Batch, repeated: Mapping[int, UsageEvent], stored_before: AbstractSet[str]) -> None:
    """A repeat changes nothing, also of an event that was voided: then it says so, as its sender may mean to bring it
    back."""
    again = {event.key for event in repeated.values()} & stored_before
    void = event_store.void_among(again) if again else set()
    for index, event in repeated.items():
        reason, remedy = _REPEATED_VOID if event.key in void else (_REPEATED, "")
        batch.outcomes[index] = EventOutcome(index, event.id, "duplicate", reason, "id", remedy)
