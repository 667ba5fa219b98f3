"""Bringing newly recorded events, and marks on events, into their windows."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from metering.models import AggregationAdvance
from metering.windows import marks, statements
from metering.windows.figures import kinds_in_use
from metering.windows.repair import lock_windows, recompute

_MAX_PENDING = 100_000


class TransactionCounterWentBack(Exception):
    """The database server counts transactions from a lower number than events were recorded with, as after restoring a
    dump into a new server. Aggregation stops rather than pass over events; the README says how to go on."""


@dataclass(frozen=True, slots=True)
class WindowAdvance:
    """What one advance did: events taken, windows made or changed, and whether nothing recorded was left behind.

    `received` are the instants at which its events were received, each with their number; `marks` how many events it
    voided or restored.
    """

    events: int
    windows: int
    caught_up: bool
    received: tuple[tuple[datetime, int], ...] = ()
    marks: int = 0


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far an advance goes: transactions [start, end). `drained` when nothing settled lies beyond."""

    start: int
    end: int
    drained: bool


def advance(*, now: datetime, max_events: int) -> WindowAdvance:
    """Take the next chunk of settled transactions into windows; joins the caller's transaction. Raises
    TransactionCounterWentBack, WindowMissing.

    The lock comes before anything is written, so `change_seq` numbers advances in the order in which they commit.
    """
    with connection.cursor() as cursor:
        lock_windows(cursor)
        cursor.execute("SET LOCAL jit = off")  # compiling costs more than a chunk
        cursor.execute("SET LOCAL work_mem = '64MB'")  # a chunk is sorted and grouped in memory
        next_xid, change_seq, through = _cursor_row(cursor)
        reach = _reach(cursor, next_xid, max_events)
        kinds = kinds_in_use()
        parameters = {"start": reach.start, "end": reach.end, "now": now, "change_seq": change_seq + 1}
        taken = statements.take_events(cursor, kinds, parameters)
        stale = statements.keep(kinds, parameters)
        marked = marks.take_marks(cursor, parameters)
        pending, through = _aggregated_through(cursor, reach, now, through)
        cursor.execute(
            "UPDATE metering_cursor SET next_xid = %s, change_seq = %s, aggregated_through = %s WHERE id = 1",
            [reach.end, change_seq + (1 if taken.events or marked.marks else 0), through],
        )
    recompute(list(dict.fromkeys([*stale, *marked.touched])), now=now)
    if taken.events or marked.marks:
        _record(reach, now, change_seq + 1, taken, marked)
    return WindowAdvance(
        taken.events,
        taken.windows + marked.windows,
        caught_up=reach.drained and not pending,
        received=taken.received,
        marks=marked.marks,
    )


def _record(
    reach: _Reach, now: datetime, change_seq: int, taken: statements.TakenEvents, marked: marks.TakenMarks
) -> None:
    """Every pair of the chunk is counted or excluded with a reason, and every mark's pair voided, restored or without
    effect: the database checks that they add up."""
    AggregationAdvance.objects.create(
        change_seq=change_seq,
        advanced_at=now,
        from_xid=reach.start,
        to_xid=reach.end,
        events=taken.events,
        events_without_meter=taken.unmatched,
        pairs=taken.pairs,
        counted=taken.counted,
        excluded_absent=taken.absent,
        excluded_invalid=taken.invalid,
        excluded_filtered=taken.filtered,
        windows=taken.windows + marked.windows,
        oldest_received_at=min((received_at for received_at, _ in taken.received), default=None),
        marks=marked.marks,
        mark_pairs=marked.pairs,
        voided=marked.voided,
        restored=marked.restored,
        mark_excluded=marked.excluded,
    )


def _cursor_row(cursor: Any) -> tuple[int, int, datetime | None]:
    query = "SELECT next_xid, change_seq, aggregated_through FROM metering_cursor WHERE id = 1"
    cursor.execute(query)
    row = cursor.fetchone()
    if row is None:
        cursor.execute("INSERT INTO metering_cursor (id, next_xid, change_seq) VALUES (1, 0, 0)")
        row = (0, 0, None)
    return row  # type: ignore[no-any-return]


def _reach(cursor: Any, next_xid: int, max_events: int) -> _Reach:
    """The transactions to take: from the cursor up to, not including, the oldest one still open when this was asked.

    Every transaction below that one has ended, so what it recorded is visible to the statements that follow.
    """
    cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    (horizon,) = cursor.fetchone()
    if horizon < next_xid:
        raise TransactionCounterWentBack(
            f"The oldest open transaction is {horizon}, aggregation stands at {next_xid}:"
            " was this server restored from a dump?"
        )
    cursor.execute(
        "SELECT recorded_xid FROM metering_event WHERE recorded_xid >= %s AND recorded_xid < %s"
        " ORDER BY recorded_xid OFFSET %s LIMIT 1",
        [next_xid, horizon, max_events],
    )
    row = cursor.fetchone()
    if row is None:
        return _Reach(next_xid, horizon, drained=True)
    cursor.execute(
        "SELECT min(recorded_xid) FROM metering_event WHERE recorded_xid >= %s AND recorded_xid < %s",
        [next_xid, horizon],
    )
    (first,) = cursor.fetchone()
    return _Reach(next_xid, row[0] if row[0] > first else first + 1, drained=False)


def _aggregated_through(
    cursor: Any, reach: _Reach, now: datetime, through: datetime | None
) -> tuple[int, datetime | None]:
    """How many recorded events and marks are left, and the instant before which every acknowledged event is in its
    window.

    An event is acknowledged after its transaction committed, and that is after it was received. So the earliest receipt
    among the visible events not taken yet bounds it; an event not visible yet will be acknowledged after `now`. With a
    backlog the former instant stands: looking through all of it every time would cost more than working it off.
    """
    if not reach.drained:
        return 1, through
    cursor.execute(
        "SELECT count(*), min(received_at), EXISTS (SELECT FROM metering_event_mark WHERE recorded_xid >= %s) FROM"
        " (SELECT received_at FROM metering_event WHERE recorded_xid >= %s LIMIT %s) AS pending",
        [reach.end, reach.end, _MAX_PENDING + 1],
    )
    pending, oldest, marks_pending = cursor.fetchone()
    if pending > _MAX_PENDING:
        return pending, through
    bound = now if oldest is None else min(now, oldest)
    return pending + int(marks_pending), bound if through is None else max(through, bound)
