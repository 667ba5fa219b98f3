"""What the page of one correction shows: what it would do or did, who did what and why, and what can be done."""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.urls import reverse

from config.csv_text import safe_text
from metering.models import Correction, CorrectionEvent, CorrectionStep
from metering.queries.corrections import (
    DAYS_SHOWN,
    correction_days,
    correction_progress,
    correction_steps,
    is_in_force,
)

May = Callable[[str], bool]
VIEW, REQUEST = "metering.view_correction", "metering.request_correction"
APPROVE, APPLY = "metering.approve_correction", "metering.apply_correction"
REVERT = "metering.revert_correction"
ROWS_SHOWN = 100
REJECT_COLUMNS = ("line", "id", "status", "field", "reason", "remedy")
_TONES = {
    CorrectionStep.APPROVED: "good",
    CorrectionStep.APPLIED: "good",
    CorrectionStep.REJECTED: "bad",
    CorrectionStep.WITHDRAWN: "waiting",
    CorrectionStep.REVERTED: "waiting",
}
_COUNT_WORDS = {
    "chosen": "Chosen",
    "voided": "Voided",
    "restored": "In force again",
    "already_void": "Void already, left alone",
    "already_in_force": "In force already, left alone",
    "replacement": "Replacements",
    "backfilled": "New events",
    "duplicate": "Duplicates, not counted again",
    "conflict": "Conflicts, kept and not counted",
    "quarantined": "Not countable yet, left out",
    "refused": "Refused",
}
_GOOD = ("voided", "restored", "replacement", "backfilled")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to a correction. `tone` is the colour of its dot; `cause` another correction, if any."""

    at: datetime
    what: str
    who: str
    words: str
    tone: str
    cause: Correction | None


def url_of(correction_id: int) -> str:
    return reverse("admin:metering_correction_change", args=[correction_id])


def title_of(correction: Correction) -> str:
    if correction.kind == Correction.REVERT:
        return f"Revert of correction {correction.reverts_id}"
    return {"void": "Void", "restore": "Restore", "amend": "Amendment", "backfill": "Backfill"}[correction.kind]


def about(correction: Correction) -> str:
    """Which events, in a few words."""
    told = correction.selection
    if correction.kind == Correction.BACKFILL:
        return str(told["file_name"])
    if correction.kind == Correction.REVERT:
        return f"correction {told['correction']}"
    if told.get("keys"):
        return f"{len(told['keys']):,} by name"
    named = [told[name] for name in ("customer_key", "event_type", "source") if told.get(name)]
    where = [f"{path}: {', '.join(texts)}" for path, texts in told.get("where", {}).items()]
    return ", ".join([*named, *where, f"{told['start'][:16]} to {told['end'][:16]}".replace("T", " ")])


def sections(correction: Correction, *, may: May, actor: str) -> Mapping[str, Any]:
    """Everything the page of one correction shows."""
    steps = correction_steps(correction)
    state = steps[-1].step
    preview = correction.previews.order_by("-number")[0]
    is_open = state in (CorrectionStep.DRAFTED, CorrectionStep.APPROVED)
    approved = state == CorrectionStep.APPROVED and steps[-1].preview is not None
    is_approved = approved and steps[-1].preview.digest == preview.digest  # type: ignore[union-attr]
    days = correction_days(preview.pk)
    is_theirs = actor == correction.drafted_by
    return {
        "correction": correction,
        "title_text": title_of(correction),
        "about": about(correction),
        "facts": list(_facts(correction)),
        "state": state,
        "state_label": steps[-1].get_step_display(),
        "state_tone": _TONES.get(state, "waiting"),
        "preview": preview,
        "counts": [
            (_COUNT_WORDS.get(name, name), number, name in _GOOD)
            for name, number in sorted(preview.counts.items(), key=lambda item: list(_COUNT_WORDS).index(item[0]))
            if number
        ],
        "days": days[:DAYS_SHOWN],
        "has_more_days": len(days) > DAYS_SHOWN,
        "windows": preview.windows.order_by("window_start", "customer_key", "meter_code", "pk")[:ROWS_SHOWN],
        "window_count": preview.windows.count(),
        "rows_shown": ROWS_SHOWN,
        "money": preview.money,
        "steps": list(_steps(correction)),
        "progress": correction_progress(correction) if state == CorrectionStep.APPLYING else None,
        "is_open": is_open,
        "is_approved": is_approved,
        "waits": is_open and preview.needs_second_person and not is_approved,
        "in_force": is_in_force(correction),
        "rejects": correction.rejects.order_by("line_number")[:ROWS_SHOWN],
        "reject_count": correction.rejects.count(),
        "touched": correction.events.order_by("event_time", "key")[:ROWS_SHOWN],
        "touched_count": correction.events.count(),
        "replaced": correction.lines.filter(replaces__isnull=False).order_by("line_number")[:ROWS_SHOWN],
        "may_preview": is_open and may(REQUEST),
        "may_apply": is_open and may(APPLY) and not (preview.needs_second_person and not is_approved),
        "may_approve": is_open and may(APPROVE) and not is_theirs and not is_approved,
        "may_reject": is_open and may(APPROVE) and not is_theirs,
        "may_withdraw": is_open and may(REQUEST) and is_theirs,
        "may_revert": state == CorrectionStep.APPLIED and may(REVERT),
        "reverted_by": steps[-1].caused_by if state == CorrectionStep.REVERTED else None,
        "roles": dict(CorrectionEvent.ROLES),
    }


def _facts(correction: Correction) -> Iterator[tuple[str, str]]:
    told = correction.selection
    if told.get("keys"):
        yield "Events", f"{len(told['keys']):,}, by name"
    for name, label in (
        ("file_name", "File"),
        ("customer_key", "Customer"),
        ("event_type", "Type"),
        ("source", "Source"),
        ("start", "From"),
        ("end", "Before"),
    ):
        if told.get(name):
            yield label, str(told[name]).replace("T", " ").replace("+00:00", " UTC")
    for path, texts in told.get("where", {}).items():
        yield path, ", ".join(texts)
    if told.get("rules"):
        yield "Source of its events", str(told["rules"].get("source", ""))


def _steps(correction: Correction) -> Iterator[Step]:
    for step in correction_steps(correction):
        who = step.actor.removeprefix("user:")
        yield Step(step.at, step.get_step_display(), who, step.words, _TONES.get(step.step, "plain"), step.caused_by)


def rejects_csv(correction: Correction) -> HttpResponse:
    """The lines that brought no event."""
    name = f"correction-{correction.pk}-rejects.csv"
    response = HttpResponse(
        content_type="text/csv; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
    writer = csv.writer(response)
    writer.writerow(REJECT_COLUMNS)
    rows = correction.rejects.order_by("line_number").values_list(
        "line_number", "event_id", "status", "field", "reason", "remedy"
    )
    for row in rows.iterator():
        writer.writerow([safe_text(str(value)) for value in row])
    return response
