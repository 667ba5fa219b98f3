"""The life of one event: how it came, what was sent against it, where it counts, what was corrected."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.db.models.expressions import RawSQL

from metering import event_life
from metering.event_life import LifeOfWindow, LifeStage
from metering.models import (
    AggregationWindow,
    Correction,
    CorrectionEvent,
    EventConflict,
    EventMark,
    ImportRun,
    Meter,
    QuarantinedEvent,
)
from metering.queries.events import EventFilter, EventPair, EventRow, find_events

IMPORT_SOURCE = "import/"


@dataclass(frozen=True, slots=True)
class SentAgain:
    """Another body under the same source and id. It does not count."""

    conflict_id: int
    received_at: datetime
    event_type: str
    customer_key: str
    event_time: datetime
    data_json: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A time in quarantine before, or beside, the event that counts; `resolved_at` is None while it waits."""

    quarantined_id: int
    received_at: datetime
    reason: str
    resolved_at: datetime | None
    resolved_by: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Correcting:
    """A correction that touched the event. `role` is what it did to it; `other_key` names the event on the other side
    of a replacement, "" where there is none; `at` is None until it was applied.
    """

    correction_id: int
    kind: str
    role: str
    reason: str
    why: str
    drafted_by: str
    at: datetime | None
    other_key: str


@dataclass(frozen=True, slots=True)
class WindowNow:
    """The window that an event counts in, as it stands now. `quantity` is the meter's figure of the whole hour."""

    window_id: int
    quantity: Decimal
    event_count: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class LivingPair:
    """What became of the event at one meter, what is in its window, and what was made of that further on."""

    pair: EventPair
    window: WindowNow | None
    stages: tuple[LifeStage, ...]


@dataclass(frozen=True, slots=True)
class EventLife:
    """Everything that is known of one event. `data_json` is its data as kept, its numbers exact.

    `import_id` and `import_file` name the import that brought it, None and "" where it came otherwise.
    """

    event: EventRow
    data_json: str
    import_id: int | None
    import_file: str
    quarantined: tuple[Quarantined, ...]
    sent_again: tuple[SentAgain, ...]
    corrections: tuple[Correcting, ...]
    pairs: tuple[LivingPair, ...]


def life_of_event(key: str) -> EventLife | None:
    """The life of the event with this key (32 hexadecimal digits); None where no such event is kept here: never
    accepted, or of a month that was archived. Asks as many queries however long its life was, but for what the apps
    above tell of its windows.
    """
    found = _raw(key)
    if found is None:
        return None
    source, event_id, data_json = found
    row = find_events(EventFilter(source=source, event_id=event_id), limit=1).rows[0]
    import_run = _import_of(row)
    corrections = tuple(_corrections(key))
    return EventLife(
        event=row,
        data_json=data_json,
        import_id=None if import_run is None else import_run.pk,
        import_file="" if import_run is None else import_run.file_name,
        quarantined=tuple(_quarantined(key)),
        sent_again=tuple(_sent_again(key)),
        corrections=corrections,
        pairs=tuple(_living(row)),
    )


def find_event(key: str) -> EventRow | None:
    """The event with this key (32 hexadecimal digits) and what became of it; None where no such event is kept here."""
    found = _raw(key)
    if found is None:
        return None
    return find_events(EventFilter(source=found[0], event_id=found[1]), limit=1).rows[0]


def _raw(key: str) -> tuple[str, str, str] | None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT e.source, e.event_id, e.data::text FROM metering_event_key AS k"
            " JOIN metering_event AS e ON e.event_time = k.event_time AND e.key = k.key WHERE k.key = %s::uuid",
            [key],
        )
        found: tuple[str, str, str] | None = cursor.fetchone()
    return found


def _import_of(row: EventRow) -> ImportRun | None:
    """The run of the file that the source names which was going on when the event came."""
    if not row.source.startswith(IMPORT_SOURCE):
        return None
    of_file = ImportRun.objects.filter(
        file_name=row.source.removeprefix(IMPORT_SOURCE), started_at__lte=row.received_at
    )
    return of_file.filter(Q(finished_at=None) | Q(finished_at__gte=row.received_at)).order_by("-id").first()


def _quarantined(key: str) -> list[Quarantined]:
    rows = QuarantinedEvent.objects.filter(key=key).defer("data").order_by("id")
    return [
        Quarantined(row.pk, row.received_at, row.reason, row.resolved_at, row.resolved_by, row.outcome) for row in rows
    ]


def _sent_again(key: str) -> list[SentAgain]:
    rows = EventConflict.objects.filter(key=key).annotate(text=RawSQL("data::text", [])).defer("data").order_by("id")
    return [
        SentAgain(row.pk, row.received_at, row.event_type, row.customer_key, row.event_time, row.text) for row in rows
    ]


def _corrections(key: str) -> list[Correcting]:
    """In the order in which they were asked for; each with the mark it set on this event, if it set one yet."""
    marked = {mark.correction_id: mark.marked_at for mark in EventMark.objects.filter(key=key)}
    touching = CorrectionEvent.objects.filter(Q(key=key) | Q(replaces=key)).select_related("correction").order_by("id")
    told = []
    for touched in touching:
        correction: Correction = touched.correction
        is_this = touched.key == UUID(key)
        other = touched.replaces if is_this else touched.key
        told.append(
            Correcting(
                correction_id=correction.pk,
                kind=correction.kind,
                role=touched.role if is_this else "replaced",
                reason=correction.get_reason_code_display(),
                why=correction.reason,
                drafted_by=correction.drafted_by,
                at=marked.get(correction.pk),
                other_key="" if other is None else other.hex,
            )
        )
    return told


def _living(row: EventRow) -> list[LivingPair]:
    windows = _windows(row.customer_key, row.pairs)
    living = []
    for pair in row.pairs:
        window = windows.get(_identity(pair.meter_code, pair.meter_version, pair.dimensions))
        stages: Sequence[LifeStage] = ()
        if pair.quantity is not None and row.state in ("counted", "void"):
            stages = event_life.stages_of(_life_of_window(row, pair))
        living.append(LivingPair(pair, window if pair.quantity is not None else None, tuple(stages)))
    return living


def _windows(customer_key: str, pairs: Sequence[EventPair]) -> dict[Any, WindowNow]:
    if not pairs:
        return {}
    meters = {(meter.code, meter.version): meter.pk for meter in Meter.objects.all()}
    wanted = Q()
    for pair in pairs:
        wanted |= Q(meter_id=meters[pair.meter_code, pair.meter_version], dimensions=pair.dimensions)
    found = AggregationWindow.objects.filter(wanted, customer_key=customer_key, window_start=pairs[0].window_start)
    return {
        _identity(window.meter.code, window.meter.version, window.dimensions): WindowNow(
            window.pk, window.quantity, window.event_count, window.updated_at
        )
        for window in found.select_related("meter")
    }


def _identity(code: str, version: int, dimensions: dict[str, str | None]) -> tuple[Any, ...]:
    return code, version, tuple(sorted(dimensions.items()))


def _life_of_window(row: EventRow, pair: EventPair) -> LifeOfWindow:
    assert pair.quantity is not None  # asked only of pairs that are counted
    return LifeOfWindow(
        event_key=row.key,
        event_time=row.event_time,
        received_at=row.received_at,
        window_start=pair.window_start,
        customer_key=row.customer_key,
        meter_code=pair.meter_code,
        meter_version=pair.meter_version,
        dimensions=pair.dimensions,
        quantity=pair.quantity,
        is_void=row.state == "void",
    )
