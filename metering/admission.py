"""What becomes of each event of a batch. Used by `operations.ingest_events` and `operations.replay_quarantine`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from metering import event_store
from metering.events import Refusal, TypeRule, UsageEvent, UsageEventInput, check_event
from metering.models import QuarantinedEvent

Status = Literal["duplicate", "conflict", "quarantined", "refused"]

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
    batch = Batch()
    rules = event_store.active_rules()
    checked: dict[int, UsageEvent] = {}
    for index, event in enumerate(events):
        outcome: UsageEvent | Refusal = (
            event
            if isinstance(event, Refusal)
            else check_event(event, received_at=received_at, oldest=oldest, rules=rules)
        )
        if isinstance(outcome, UsageEvent):
            checked[index] = outcome
        else:
            batch.outcomes[index] = EventOutcome(
                index, outcome.event_id, "refused", outcome.reason, outcome.field, outcome.remedy
            )
    _part_unknown(batch, checked, rules)
    return batch


def _part_unknown(batch: Batch, checked: Mapping[int, UsageEvent], rules: Mapping[str, TypeRule]) -> None:
    known = event_store.known_subjects({event.subject for event in checked.values()})
    for index, event in checked.items():
        if event.type not in rules:
            batch.quarantined[index] = (event, QuarantinedEvent.UNKNOWN_TYPE)
        elif event.subject not in known:
            batch.quarantined[index] = (event, QuarantinedEvent.UNKNOWN_SUBJECT)
        else:
            batch.admitted[index] = event


def store_batch(batch: Batch, *, received_at: datetime) -> None:
    """Store what was admitted and quarantined, and add the outcomes of duplicates, conflicts and quarantined events."""
    firsts: dict[str, UsageEvent] = {}
    for event in batch.admitted.values():
        firsts.setdefault(event.key, event)
    won = event_store.store_new(sorted(firsts.values(), key=lambda event: event.key), received_at=received_at)
    if len(won) < len(batch.admitted):
        _name_repeated(batch, firsts, won, received_at)
    if batch.quarantined:
        event_store.store_quarantined(list(batch.quarantined.values()), received_at=received_at)
        for index, (event, reason) in batch.quarantined.items():
            name, text, remedy = _QUARANTINE_TEXT[reason]
            batch.outcomes[index] = EventOutcome(index, event.id, "quarantined", text, name, remedy)


def _name_repeated(batch: Batch, firsts: Mapping[str, UsageEvent], won: set[str], received_at: datetime) -> None:
    """Tell duplicates from conflicts, against the event that counts: one stored before, or the first of this batch."""
    counting = {key: event_store.StoredIdentity(firsts[key].digest, firsts[key].time) for key in won}
    counting |= event_store.stored_identities(firsts.keys() - won)
    conflicts: list[tuple[UsageEvent, datetime]] = []
    for index, event in batch.admitted.items():
        if event.key in won and event is firsts[event.key]:
            continue
        first = counting[event.key]
        if event.digest == first.digest:
            batch.outcomes[index] = EventOutcome(
                index, event.id, "duplicate", "the same event was accepted before", "id"
            )
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
    event_store.store_conflicts(conflicts, received_at=received_at)
