"""Events tried again because a person asked: which, by whom, why, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet

from billing.stripe.inbox_models import InboxReplay, InboxReplayedEvent
from billing.stripe.models import InboxEvent

State = InboxEvent.State
# Set-based, but one transaction: more is asked for in parts.
REPLAYED_AT_ONCE_MAX = 10_000
REASON_CHARS_MAX = 500
IDS_SHOWN_MAX = 5


class ReplayRefused(Exception):
    """Nothing was put back; `field` says what has to be changed."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


@dataclass(frozen=True, slots=True)
class ReplayScope:
    """Which events: those named, or all that fit. Everything that is empty is not asked for."""

    event_ids: tuple[str, ...] = ()
    object_id: str = ""
    type: str = ""
    error: str = ""
    states: tuple[str, ...] = (State.FAILED, State.DEAD)

    @staticmethod
    def states_of_failures() -> tuple[str, ...]:
        return (State.FAILED, State.DEAD)

    def __str__(self) -> str:
        if self.event_ids:
            more = len(self.event_ids) - IDS_SHOWN_MAX
            return ", ".join(self.event_ids[:IDS_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
        parts = [f"about {self.object_id}"] if self.object_id else []
        parts += [f"of type {self.type}"] if self.type else []
        parts += [f"with the error “{self.error}”"] if self.error else []
        states = " or ".join(State(state).label.lower() for state in self.states)
        return " ".join(["events", *parts, f"({states})"])

    def events(self) -> QuerySet[InboxEvent]:
        """The events meant; a type may be a beginning up to a dot, an error any part of it."""
        found = InboxEvent.objects.filter(state__in=self.states)
        if self.event_ids:
            found = found.filter(pk__in=self.event_ids)
        if self.object_id:
            found = found.filter(object_id=self.object_id)
        if self.type:
            found = found.filter(Q(type=self.type) | Q(type__startswith=f"{self.type}."))
        if self.error:
            found = found.filter(error__contains=self.error)
        return found


@dataclass(frozen=True, slots=True)
class ReplayPreview:
    """What a replay would take up."""

    count: int
    without_payload: int
    by_type: tuple[tuple[str, str, int], ...]


# Done events are tried again only when asked for by name or by object: to make good a mistake of ours.
REPLAYABLE = (State.FAILED, State.DEAD, State.DONE)
TYPES_SHOWN_MAX = 20


def preview(scope: ReplayScope) -> ReplayPreview:
    """What a replay of the scope would do, by type and state."""
    found = scope.events()
    by_type = found.values_list("type", "state").annotate(number=Count("pk")).order_by("-number", "type")
    counts = found.aggregate(all=Count("pk"), bare=Count("pk", filter=Q(payload_dropped_at__isnull=False)))
    return ReplayPreview(counts["all"] - counts["bare"], counts["bare"], tuple(by_type[:TYPES_SHOWN_MAX]))


def replay(*, scope: ReplayScope, reason: str, actor: str, now: datetime) -> InboxReplay:
    """
    Put events back into the queue, to be projected from what Stripe says now; each effect still happens once.

    Raises ReplayRefused without a reason, for nothing and for too much at once.
    """
    if not reason.strip():
        raise ReplayRefused("reason", "Say why they are to be tried again.")
    if len(reason) > REASON_CHARS_MAX:
        raise ReplayRefused("reason", f"A reason has at most {REASON_CHARS_MAX} characters.")
    with transaction.atomic():
        chosen = _locked(scope)
        put_back = [event for event in chosen if event.payload_dropped_at is None]
        if not put_back:
            raise ReplayRefused("scope", f"There is nothing to try again: no {scope} with its payload.")
        replay = InboxReplay.objects.create(
            requested_at=now,
            requested_by=actor,
            reason=reason.strip(),
            scope=str(scope)[:1000],
            chosen=len(put_back),
            left_alone=len(chosen) - len(put_back) + _unmet(scope, chosen),
        )
        InboxReplayedEvent.objects.bulk_create(
            (
                InboxReplayedEvent(
                    replay=replay,
                    event=event,
                    state_before=event.state,
                    attempts_before=event.attempts,
                    error_before=event.error,
                )
                for event in put_back
            ),
            batch_size=1000,
        )
        InboxEvent.objects.filter(pk__in=[event.pk for event in put_back]).update(
            state=State.RECEIVED,
            attempts_before=F("attempts"),
            strikes=0,
            replayed_at=now,
            next_attempt_at=now,
            processed_at=None,
            outcome="",
            error="",
        )
    return replay


def _locked(scope: ReplayScope) -> Sequence[InboxEvent]:
    """In id order, so that two replays at once take turns and the second finds them waiting."""
    found = scope.events().order_by("pk").select_for_update().defer("payload", "detail")
    events = list(found[: REPLAYED_AT_ONCE_MAX + 1])
    if len(events) > REPLAYED_AT_ONCE_MAX:
        raise ReplayRefused("scope", f"More than {REPLAYED_AT_ONCE_MAX:,} events: name a type or an error.")
    return events


def _unmet(scope: ReplayScope, chosen: Sequence[InboxEvent]) -> int:
    """How many of the events asked for by name wait already, or are in work."""
    return len(set(scope.event_ids)) - len(chosen) if scope.event_ids else 0
