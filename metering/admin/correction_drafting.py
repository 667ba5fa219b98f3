"""From a form that was sent to a draft: each function translates, makes one call, and says what to show."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest

from config import clock
from metering import operations
from metering.admin.correction_forms import AmendForm, AskingForm, BackfillForm, Refusable, SelectionForm
from metering.imports import UnreadableFile, file_digest, format_of, read_events
from metering.models import Correction
from metering.operations import Amendment
from metering.queries.corrections import AmendableEvent, event_to_amend

_SELECT_LEAD = {
    Correction.VOID: "The events stay as they are and count no longer. First you see what would happen.",
    Correction.RESTORE: "Events that were voided count again. First you see what would happen.",
}
_PREFILLED = ("customer_key", "event_type", "source", "start", "end", "where", "events")
_TEXT_MAX = 4_000


@dataclass(frozen=True, slots=True)
class Draft:
    """The correction that was drafted, or the form to show with what was wrong."""

    title: str
    lead: str
    form: Refusable
    correction: Correction | None = None
    is_file: bool = False


def of_selection(request: HttpRequest, kind: str, actor: str) -> Draft:
    """A void or a restore. The address may fill the form in."""
    title = "Void events" if kind == Correction.VOID else "Restore events"
    operation = operations.draft_void if kind == Correction.VOID else operations.draft_restore

    def draft(form: SelectionForm) -> Correction:
        return operation(form.selection(), form.asked(actor), now=clock.now())

    given = {name: request.GET[name][:_TEXT_MAX].replace("\x00", "") for name in _PREFILLED if name in request.GET}
    form = SelectionForm(request.POST or None, initial=given)
    return _draft(Draft(title, _SELECT_LEAD[kind], form), draft)


def of_event(request: HttpRequest, key: str, actor: str) -> Draft:
    """An amendment of one event. Raises Http404 for an event that is not there."""
    event = _event(key)
    form = AmendForm(request.POST or None, initial=_as_typed(event))

    def draft(form: AmendForm) -> Correction:
        told = form.cleaned_data
        amendment = Amendment(event.key, told["event_type"], told["customer_key"], told["time"], told["data"])
        return operations.draft_amend([amendment], form.asked(actor), now=clock.now())

    lead = (
        f"Event {event.event_id} of {event.source} stays as it is and counts no longer; another one, with an identity "
        "of its own, takes its place. First you see what would happen."
    )
    return _draft(Draft("Amend an event", lead, form), draft)


def of_file(request: HttpRequest, actor: str) -> Draft:
    """A backfill from an uploaded file."""
    form = BackfillForm(request.POST or None, request.FILES or None, initial={"reason_code": "missing"})

    def draft(form: BackfillForm) -> Correction:
        return backfill_upload(form.cleaned_data["file"], form.cleaned_data["rules"], form.asked(actor))

    lead = (
        "Events that never arrived are taken now, through the same checks as every other. What was accepted before is "
        "a duplicate and counts once. First you see what would happen."
    )
    return _draft(Draft("Backfill from a file", lead, form, is_file=True), draft)


def of_revert(request: HttpRequest, target: Correction, actor: str) -> Draft:
    form = AskingForm(request.POST or None, initial={"reason_code": "mistaken_correction"})

    def draft(form: AskingForm) -> Correction:
        return operations.draft_revert(target.pk, form.asked(actor), now=clock.now())

    lead = (
        f"Everything that correction {target.pk} did is undone: what it voided counts again, what it brought counts no "
        "longer. Both stay on record."
    )
    return _draft(Draft(f"Revert correction {target.pk}", lead, form), draft)


def backfill_upload(file: "UploadedFile[Any]", rules: Any, asked: operations.Asked) -> Correction:
    """Draft a backfill of an uploaded file. Raises CorrectionRefused for one that cannot be read."""
    form = format_of(file.name or "")
    if form is None:
        raise operations.CorrectionRefused(
            "The name must end in .csv, .jsonl or .ndjson, which says how to read it.", field="file"
        )
    with _on_disk(file) as path:
        try:
            return operations.draft_backfill(
                read_events(path, form, rules),
                asked,
                file_name=file.name or "",
                file_digest=file_digest(path),
                rules=asdict(rules),
                now=clock.now(),
            )
        except UnreadableFile as error:
            text = str(error).replace(f"{path}: ", "").replace(path.name, file.name or "")
            raise operations.CorrectionRefused(f"{text}.", field="file") from error


@contextmanager
def _on_disk(file: "UploadedFile[Any]") -> Any:
    with tempfile.NamedTemporaryFile(prefix="backfill-") as copy:
        shutil.copyfileobj(file, copy)
        copy.flush()
        yield Path(copy.name)


def _draft(shown: Draft, draft: Callable[[Any], Correction]) -> Draft:
    if not shown.form.is_valid():
        return shown
    try:
        correction = draft(shown.form)
    except operations.CorrectionRefused as refusal:
        shown.form.show(refusal)
        return shown
    return Draft(shown.title, shown.lead, shown.form, correction)


def _event(key: str) -> AmendableEvent:
    try:
        found = event_to_amend(UUID(key).hex)
    except ValueError:
        found = None
    if found is None:
        raise Http404("There is no such event.")
    return found


def _as_typed(event: AmendableEvent) -> dict[str, Any]:
    return {
        "event_type": event.event_type,
        "customer_key": event.customer_key,
        "time": event.event_time.isoformat().replace("+00:00", "Z"),
        "data": event.data,
        "reason_code": "wrong_values",
    }
