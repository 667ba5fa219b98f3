"""The life of one event on one page, as it went: received, sent again, counted, corrected, paid for."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from metering import queries
from metering.admin import correction_page
from metering.admin.asking import SpanForm, asked_of, keep_zone
from metering.body_differences import FieldPair, compare, fields_of
from metering.models import Correction, CorrectionEvent, QuarantinedEvent

May = Callable[[str], bool]
_REASONS = dict(QuarantinedEvent.REASONS)
_OUTCOMES = dict(QuarantinedEvent.OUTCOMES)
_KINDS = dict(Correction.KINDS)
_ROLES = {**dict(CorrectionEvent.ROLES), "replaced": "Replaced"}


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened to the event, in words. `fields` are both bodies where another one was sent."""

    at: datetime | None
    title: str
    text: str
    tone: str = "plain"
    url: str = ""
    fields: tuple[FieldPair, ...] = ()
    other_key: str = ""


def life_view(request: HttpRequest, object_id: str) -> HttpResponse:
    """The page, for who may see events. What the reader may not see of other rooms is left out."""
    life = _life(object_id)
    if life is None:
        messages.warning(
            request,
            "No event with this key is kept here. It was never accepted, or its month lies in the archive: search for "
            "it by source and id.",
        )
        return redirect("admin:metering_usageevent_changelist")
    form = SpanForm(asked_of(request))
    form.is_valid()
    keep_zone(request, form)
    may = request.user.has_perm
    context = {
        **admin.site.each_context(request),
        "title": f"Event {life.event.event_id}",
        "life": life,
        "event": life.event,
        "zone": form.zone,
        "data": msgspec.json.format(life.data_json, indent=2),
        "happenings": happenings(life, may),
        "pairs": [(living, [stage for stage in living.stages if _sees(stage, may)]) for living in life.pairs],
        "may_correct": may(correction_page.REQUEST),
        "sees_windows": may("metering.view_aggregationwindow"),
    }
    return TemplateResponse(request, "admin/metering/event_life.html", context)


def _life(object_id: str) -> queries.EventLife | None:
    try:
        key = UUID(object_id)
    except ValueError:
        return None
    return queries.life_of_event(key.hex)


def _sees(stage: queries.LifeStage, may: May) -> bool:
    return not stage.permission or may(stage.permission)


def happenings(life: queries.EventLife, may: May) -> list[Happening]:
    """What happened to the event itself, in the order of time; what is not dated yet comes last."""
    told = [_received(life, may), *_sent_again(life, may), *_corrections(life, may)]
    if may("metering.view_quarantinedevent"):
        told += _quarantined(life)
    told.sort(key=lambda happening: (happening.at is None, happening.at or life.event.received_at))
    return told


def _received(life: queries.EventLife, may: May) -> Happening:
    brought = next((of for of in life.corrections if of.role in ("replacement", "backfilled")), None)
    if brought is not None:
        text, url = f"Brought by correction {brought.correction_id}", _correction_url(brought.correction_id, may)
    elif life.import_id is not None:
        text = f"From the import of {life.import_file}"
        url = _page("importrun", life.import_id) if may("metering.view_importrun") else ""
    else:
        text, url = f"From the source {life.event.source}", ""
    late = life.event.received_at - life.event.event_time
    if late.total_seconds() >= 3600:
        hours = int(late.total_seconds() // 3600)
        days, rest = divmod(hours, 24)
        text += f", {days} days and {rest} h after it happened" if days >= 2 else f", {hours} h late"
    return Happening(life.event.received_at, "Received, and accepted once", text, "good", url)


def _sent_again(life: queries.EventLife, may: May) -> list[Happening]:
    """Each other body beside the one that counts."""
    if not life.sent_again:
        return []
    event = life.event
    first = {
        "type": event.event_type,
        "subject": event.customer_key,
        "time": event.event_time.isoformat(),
        **fields_of(life.data_json),
    }
    told = []
    for again in life.sent_again:
        other = {
            "type": again.event_type,
            "subject": again.customer_key,
            "time": again.event_time.isoformat(),
            **fields_of(again.data_json),
        }
        fields = tuple(compare(first, other))
        number = sum(field.differs for field in fields)
        text = f"{number} field{'' if number == 1 else 's'} differ{'s' if number == 1 else ''}. The first body counts."
        url = _page("eventconflict", again.conflict_id) if may("metering.view_eventconflict") else ""
        told.append(Happening(again.received_at, "Sent again with another body", text, "bad", url, fields))
    return told


def _quarantined(life: queries.EventLife) -> list[Happening]:
    told = []
    for waited in life.quarantined:
        url = _page("quarantinedevent", waited.quarantined_id)
        reason = _REASONS.get(waited.reason, waited.reason)
        told.append(Happening(waited.received_at, "Put into quarantine", reason, "waiting", url))
        if waited.resolved_at is not None:
            text = f"{_OUTCOMES.get(waited.outcome, waited.outcome)}, by {_person(waited.resolved_by)}"
            told.append(Happening(waited.resolved_at, "Let out of quarantine", text, "good", url))
    return told


def _corrections(life: queries.EventLife, may: May) -> list[Happening]:
    told = []
    for correction in life.corrections:
        kind, role = _KINDS.get(correction.kind, correction.kind), _ROLES.get(correction.role, correction.role)
        done = role if correction.at is not None or correction.role in ("replacement", "backfilled") else "Asked for"
        told.append(
            Happening(
                at=correction.at or (life.event.received_at if done == role else None),
                title=f"{done} by correction {correction.correction_id} ({kind.lower()})",
                text=f"{correction.reason}: {_sentence(correction.why)} Asked for by {_person(correction.drafted_by)}.",
                tone="bad" if correction.role in ("voided", "replaced") else "good",
                url=_correction_url(correction.correction_id, may),
                other_key=correction.other_key,
            )
        )
    return told


def _sentence(words: str) -> str:
    return words if words.endswith((".", "!", "?")) else f"{words}."


def _person(actor: str) -> str:
    return actor.removeprefix("user:")


def _correction_url(correction_id: int, may: May) -> str:
    return _page("correction", correction_id) if may("metering.view_correction") else ""


def _page(model: str, key: object) -> str:
    return reverse(f"admin:metering_{model}_change", args=[key])
