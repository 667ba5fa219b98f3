"""What the pages of corrections show. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db import connection
from django.db.models import OuterRef, QuerySet, Subquery

from metering import correction_store
from metering.models import Correction, CorrectionEvent, CorrectionPreview, CorrectionStep

DAYS_SHOWN = 500


@dataclass(frozen=True, slots=True)
class CorrectionDay:
    """The windows of one customer, meter and UTC day that a preview changes, added up. Of a meter whose hours do not
    add up, the quantities are None: each window says its own."""

    customer_key: str
    meter_code: str
    unit: str
    day: date
    windows: int
    quantity_before: Decimal | None
    quantity_after: Decimal | None
    events_before: int
    events_after: int

    @property
    def change(self) -> Decimal | None:
        if self.quantity_before is None or self.quantity_after is None:
            return None
        return self.quantity_after - self.quantity_before


@dataclass(frozen=True, slots=True)
class AmendableEvent:
    """An event as its producer sent it; `data` is JSON text, its numbers exactly as they are stored."""

    key: str
    source: str
    event_id: str
    event_type: str
    customer_key: str
    event_time: datetime
    data: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far applying came: events marked and lines sent, of all of them."""

    done: int
    total: int

    @property
    def percent(self) -> int:
        return 100 * self.done // self.total if self.total else 100


def with_state(corrections: QuerySet[Correction]) -> QuerySet[Correction]:
    """Each correction with `state`, the name of its last step, and `events_previewed` of its latest preview."""
    last = CorrectionStep.objects.filter(correction=OuterRef("pk")).order_by("-position")
    preview = CorrectionPreview.objects.filter(correction=OuterRef("pk")).order_by("-number")
    return corrections.annotate(
        state=Subquery(last.values("step")[:1]), events_previewed=Subquery(preview.values("events")[:1])
    )


def correction_days(preview_id: int) -> list[CorrectionDay]:
    """The windows a preview changes by customer, meter and UTC day, in order; at most DAYS_SHOWN + 1 of them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT w.customer_key, w.meter_code, max(m.unit), (w.window_start AT TIME ZONE 'UTC')::date, count(*),"
            " CASE WHEN bool_and(m.aggregation IN ('sum', 'count', 'window_max')) THEN sum(w.quantity_before) END,"
            " CASE WHEN bool_and(m.aggregation IN ('sum', 'count', 'window_max')) THEN sum(w.quantity_after) END,"
            " sum(w.events_before)::bigint, sum(w.events_after)::bigint"
            " FROM metering_correctionwindow AS w"
            " JOIN metering_meter AS m ON m.code = w.meter_code AND m.version = w.meter_version"
            " WHERE w.preview_id = %s GROUP BY 1, 2, 4 ORDER BY 1, 2, 4 LIMIT %s",
            [preview_id, DAYS_SHOWN + 1],
        )
        return [CorrectionDay(*row) for row in cursor.fetchall()]


def correction_progress(correction: Correction) -> Progress:
    """How far applying came."""
    brought = (CorrectionEvent.REPLACEMENT, CorrectionEvent.BACKFILLED)
    to_mark = correction.events.exclude(role__in=brought).count()
    sent = correction.events.filter(role__in=brought).count() + correction.rejects.count()
    done = (correction_store.count_marks(correction.pk) if to_mark else 0) + sent
    return Progress(done, to_mark + correction.lines.count())


def correction_steps(correction: Correction) -> Sequence[CorrectionStep]:
    """Who did what, when and why, in order."""
    return list(correction.steps.select_related("preview", "caused_by").order_by("position"))


def is_in_force(correction: Correction) -> bool:
    """Whether what it did holds at this moment: it was applied, and its revert was not, or was reverted in turn."""
    last = correction_steps(correction)[-1]
    if last.step == CorrectionStep.REVERTED and last.caused_by is not None:
        return not is_in_force(last.caused_by)
    return last.step in (CorrectionStep.APPLIED, CorrectionStep.REVERTING)


def event_to_amend(key: str) -> AmendableEvent | None:
    """The event of this key (32 hexadecimal digits); None when it was never accepted or has left the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT replace(e.key::text, '-', ''), e.source, e.event_id, e.event_type, e.customer_key, e.event_time,"
            " jsonb_pretty(e.data) FROM metering_event_key AS k JOIN metering_event AS e USING (event_time, key)"
            " WHERE k.key = %s::uuid",
            [key],
        )
        row = cursor.fetchone()
    return AmendableEvent(*row) if row is not None else None
