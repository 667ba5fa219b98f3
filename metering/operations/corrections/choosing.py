"""Which events a correction voids or puts in force again, and why one may not be touched."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from metering import correction_store as store
from metering.correction_store import Found, Selection
from metering.models import Correction, CorrectionEvent, CorrectionStep
from metering.operations.corrections.refusal import CorrectionRefused
from metering.operations.corrections.steps import last_step, why_not_revertible

VOIDED, RESTORED = CorrectionEvent.VOIDED, CorrectionEvent.RESTORED
Counts = dict[str, int]
_INSTANT = timedelta(microseconds=1)


def freeze(correction: Correction) -> Counts:
    """Write down which events the correction marks; returns how many were chosen and how many need nothing.

    Raises CorrectionRefused for anything that cannot be done as it was asked for.
    """
    choose: dict[str, Callable[[Correction], tuple[Sequence[Found], str, Counts]]] = {
        Correction.VOID: _to_void,
        Correction.RESTORE: _to_restore,
        Correction.AMEND: _to_replace,
    }
    if correction.kind == Correction.REVERT:
        return _freeze_revert(correction)
    if correction.kind not in choose:
        return {}
    found, role, counts = choose[correction.kind](correction)
    _write(correction, found, role)
    return counts


def selection_of(written: dict[str, Any]) -> Selection:
    """A selection as a correction's row keeps it."""
    return Selection(
        keys=written.get("keys", ()),
        start=datetime.fromisoformat(written["start"]) if "start" in written else None,
        end=datetime.fromisoformat(written["end"]) if "end" in written else None,
        customer_key=written.get("customer_key", ""),
        event_type=written.get("event_type", ""),
        source=written.get("source", ""),
        where=written.get("where", {}),
    )


def _to_void(correction: Correction) -> tuple[Sequence[Found], str, Counts]:
    found = _find(selection_of(correction.selection))
    in_force = [event for event in found if not event.is_void]
    if not in_force:
        raise CorrectionRefused("Every event that was chosen is void already.")
    return in_force, VOIDED, {"chosen": len(found), "already_void": len(found) - len(in_force)}


def _to_restore(correction: Correction) -> tuple[Sequence[Found], str, Counts]:
    found = _find(selection_of(correction.selection))
    void = [event for event in found if event.is_void]
    if not void:
        raise CorrectionRefused("None of the events that were chosen is void.")
    standing = store.standing_corrections([event.key for event in void])
    for cause in Correction.objects.filter(pk__in=set(standing.values())).order_by("pk"):
        if cause.kind != Correction.VOID:
            raise CorrectionRefused(
                f"An event that was chosen became void by correction {cause.pk} ({cause.get_kind_display().lower()}), "
                f"together with others. Revert correction {cause.pk} instead."
            )
    return void, RESTORED, {"chosen": len(found), "already_in_force": len(found) - len(void)}


def _to_replace(correction: Correction) -> tuple[Sequence[Found], str, Counts]:
    replaced = [key.hex for key in correction.lines.values_list("replaces", flat=True) if key is not None]
    found = _find(Selection(keys=replaced))
    for event in found:
        if event.is_void:
            by = store.standing_corrections([event.key])[event.key]
            raise CorrectionRefused(f"The event is void already, by correction {by}: there is nothing to amend.")
    return found, VOIDED, {"chosen": len(found)}


def _freeze_revert(correction: Correction) -> Counts:
    """Each event the target touched, in the other direction: only where the target had the last word on it."""
    target = correction.reverts
    assert target is not None
    step = last_step(target)
    if step.step != CorrectionStep.APPLIED and step.caused_by != correction:
        raise CorrectionRefused(why_not_revertible(target))
    touched = store.touched_by(target.pk)
    missing = target.events.count() - len(touched)
    if missing:
        raise CorrectionRefused(
            f"{missing:,} of the events that correction {target.pk} touched have left the database. Bring their "
            "archive back before it is reverted."
        )
    standing = store.standing_corrections([event.key for _, event in touched], besides=target.pk)
    later = {standing.get(event.key, 0) for _, event in touched} - {target.pk}
    if later:
        last = max(later)
        raise CorrectionRefused(
            f"Events of correction {target.pk} were corrected again by correction {last}. "
            f"Revert correction {last} first."
        )
    restore = [event for role, event in touched if role == VOIDED]
    void = [event for role, event in touched if role != VOIDED]
    if not touched:
        raise CorrectionRefused(f"Correction {target.pk} changed no event: there is nothing to revert.")
    _write(correction, void, VOIDED)
    _write(correction, restore, RESTORED)
    return {"chosen": len(touched)}


def _find(selection: Selection) -> list[Found]:
    """Raises CorrectionRefused for nothing, for too much, and for what lies beyond the archive."""
    limit = settings.METERING_CORRECTION_MAX_EVENTS
    if selection.keys:
        _require_present(selection)
    elif selection.start is not None and selection.end is not None:
        absent = store.months_without_partition(selection.start, selection.end)
        if absent:
            raise CorrectionRefused(
                f"The database holds no events of {', '.join(absent)}: they were archived, or there never were any. "
                "Choose a range without, or bring the archive back first.",
                field="start",
            )
    found = store.find_events(selection, at_most=limit)
    if len(found) > limit:
        raise CorrectionRefused(
            f"More than {limit:,} events fit. Choose a shorter range and make several corrections.", field="end"
        )
    if not found:
        raise CorrectionRefused("No event fits what was chosen.", field="start")
    return found


def _require_present(selection: Selection) -> None:
    known = store.known_keys(selection.keys)
    unknown = [key for key in selection.keys if key not in known]
    if unknown:
        raise CorrectionRefused(
            f"{len(unknown):,} of the events were never accepted, the first is {unknown[0]}. Look them up in the list "
            "of events.",
            field="keys",
        )
    gone = {f"{time:%Y-%m}" for time in known.values() if store.months_without_partition(time, time + _INSTANT)}
    if gone:
        raise CorrectionRefused(
            f"Events of {', '.join(sorted(gone))} were archived and have left the database. Bring the archive back "
            "first.",
            field="keys",
        )


def _write(correction: Correction, found: Sequence[Found], role: str) -> None:
    if store.unsettled([event.key for event in found], [event.event_time for event in found]):
        raise CorrectionRefused("Some of the events were recorded this very moment. Try again.")
    store.freeze_events(correction.pk, found, role)
