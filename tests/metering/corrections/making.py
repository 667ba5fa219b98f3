"""Corrections as the tests make them: drafted and applied by one person, unless a test is about two."""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from metering import operations, queries
from metering.event_keys import event_key
from metering.models import AggregationWindow, Correction
from metering.operations import Amendment, Asked, Selection, UsageEventInput
from tests.metering.usage import MORNING, NOW, OCTOBER, event

ADA, BEN = "user:ada", "user:ben"
SOURCE = "edge/us-east-1"
_numbers = itertools.count(1)


def asked(reason: str = "Sent by a broken producer", *, actor: str = ADA, key: str = "", code: str = "other") -> Asked:
    return Asked(reason_code=code, reason=reason, actor=actor, idempotency_key=key or f"test:{next(_numbers)}")


def key_of(event_id: str, source: str = SOURCE) -> str:
    return event_key(source, event_id)


def of_ids(*event_ids: str) -> Selection:
    return Selection(keys=[key_of(event_id) for event_id in event_ids])


def of_acme(start: datetime = OCTOBER, end: datetime = NOW, **more: Any) -> Selection:
    return Selection(customer_key="acme", start=start, end=end, **more)


def void(selection: Selection, **how: Any) -> Correction:
    return apply(operations.draft_void(selection, asked(**how), now=NOW))


def amend(
    event_id: str, *, source: str = SOURCE, subject: str = "acme", time: Any = MORNING, **data: Any
) -> Correction:
    body = {"model": "claude-sonnet-5", "input_tokens": 100, "output_tokens": 10, "cache_write_tokens": 0, **data}
    amendment = Amendment(key_of(event_id, source), "llm.request", subject, time, body)
    return operations.draft_amend([amendment], asked(), now=NOW)


def backfill(*events: UsageEventInput, **how: Any) -> Correction:
    return operations.draft_backfill(
        enumerate(events, start=1),
        asked(**how),
        file_name="missing.jsonl",
        file_digest="0" * 64,
        rules={"source": "x"},
        now=NOW,
    )


def revert(correction: Correction, **how: Any) -> Correction:
    return apply(operations.draft_revert(correction.pk, asked("It was right after all", **how), now=NOW))


def apply(correction: Correction, *, actor: str = ADA, now: datetime = NOW) -> Correction:
    """Apply as the latest preview says, and finish in the manner of the task."""
    digest = correction.previews.latest("number").digest
    operations.apply_correction(correction.pk, digest=digest, actor=actor, now=now)
    operations.continue_correction(correction.pk, now=lambda: now)
    return correction


def state(correction: Correction) -> str:
    return correction.steps.latest("position").step


def steps(correction: Correction) -> list[tuple[str, str]]:
    return list(correction.steps.order_by("position").values_list("step", "actor"))


Figures = dict[tuple[Any, ...], tuple[Any, ...]]


def windows() -> Figures:
    """Every window that holds something, by what names it: quantity, number of events, fingerprint."""
    operations.catch_up_windows(now=NOW)
    assert list(queries.verify_windows(OCTOBER, OCTOBER + timedelta(days=31))) == []
    rows = AggregationWindow.objects.filter(event_count__gt=0).select_related("meter")
    return {
        (row.window_start, row.customer_key, row.meter.code, row.meter.version, str(sorted(row.dimensions.items()))): (
            row.quantity,
            row.event_count,
            int(row.fingerprint),
        )
        for row in rows
    }


def previewed(correction: Correction) -> Figures:
    """What the latest preview says of the windows it would change, in the same form."""
    rows = correction.previews.latest("number").windows.all()
    return {
        (row.window_start, row.customer_key, row.meter_code, row.meter_version, str(sorted(row.dimensions.items()))): (
            row.quantity_after,
            row.events_after,
            int(row.fingerprint_after),
        )
        for row in rows
    }


def changed(before: Figures, after: Figures) -> Figures:
    """The windows that differ, as they are after; one that holds nothing any more is all zeros."""
    return {key: after.get(key, (0, 0, 0)) for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def many(count: int, **changes: Any) -> Sequence[UsageEventInput]:
    """Events of acme over a day, some of each hour."""
    return [event(f"m{number}", time=MORNING + timedelta(minutes=number % 1_000), **changes) for number in range(count)]
