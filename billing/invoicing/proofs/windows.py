"""
The windows that the lines of an invoice were made of: as they were when the period was rated.

Most are the windows as they stand. Those that changed since, that a boundary of the period cuts, or within which a
price changes, are made from raw events, as nothing keeps them.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from billing.invoicing.proofs.reading import event_of_raw, microseconds
from billing.invoicing.proofs.verifier.proof import Document, Proof, Windows
from billing.invoicing.proofs.verifier.usage import (
    HOUR,
    Counted,
    Event,
    Place,
    Window,
    instant,
    plain,
    windows_of,
)
from metering import queries as metering_queries

_HOUR = timedelta(hours=1)


def hours_from_events(proof: Proof, period: Document) -> set[datetime]:
    """The hours whose windows of then are not those in the table."""
    customer_key = proof.document["invoice"]["customer_key"]
    start, end = (datetime.fromisoformat(period[name]) for name in ("starts_at", "ends_at"))
    hours = metering_queries.hours_changed_since(customer_key, start, end, position=period["position"])
    instants = [at for at in (instant(period["starts_at"]), instant(period["ends_at"])) if at % HOUR]
    for rates in proof.rates_of(period).tried.values():
        instants += [rate.effective_from for dated in rates for rate in dated if rate.effective_from % HOUR]
    return hours | {one for one in map(hour_at, instants) if start - _HOUR < one < end}


def stored_windows(proof: Proof, period: Document) -> tuple[Windows, set[datetime]]:
    """
    The windows of the period that are the table's, without those that hold nothing any more; and the hours whose
    windows of then are others.

    The hours are read after the windows: an advance in between is among them.
    """
    start, end = (datetime.fromisoformat(period[name]) for name in ("starts_at", "ends_at"))
    numbers = {(meter.code, meter.version): number for number, meter in enumerate(proof.meters)}
    stored = metering_queries.windows_for(proof.document["invoice"]["customer_key"], start, end)
    hours = hours_from_events(proof, period)
    found = {}
    for one in stored:
        if one.event_count and one.window_start not in hours:
            named = tuple(sorted(one.dimensions.items(), key=lambda pair: pair[0]))
            meter = numbers.get((one.meter_code, one.meter_version), len(numbers))
            place = Place.of(microseconds(one.window_start), 0, meter, named)
            found[place] = Window(Fraction(one.quantity), one.event_count, one.fingerprint)
    return found, hours


def windows_then(proof: Proof, period: Document) -> tuple[Windows, Mapping[str, Sequence[Counted]]]:
    """The period's windows as of its position, and the events of meters that are priced by the event."""
    windows, hours = stored_windows(proof, period)
    by_event = proof.is_by_event(period)
    counted: dict[str, list[Counted]] = {}
    starts, ends = instant(period["starts_at"]), instant(period["ends_at"])
    cuts = proof.rates_of(period).cuts
    if hours or by_event:
        events = _events(proof, period, None if by_event else sorted(hours))
        made, counted, _ = windows_of(events, proof.meters, starts, ends, position=period["position"], cuts=cuts)
        windows |= {place: one for place, one in made.items() if hour_at(place.hour) in hours}
    return windows, {code: counted.get(code, []) for code in by_event}


def _events(proof: Proof, period: Document, hours: Sequence[datetime] | None) -> Iterator[Event]:
    """The events of these hours; of all the period where a price asks for each."""
    key = proof.document["invoice"]["customer_key"]
    types = sorted({meter.event_type for meter in proof.meters})
    start, end = (datetime.fromisoformat(period[name]) for name in ("starts_at", "ends_at"))
    for first, last in [(start, end)] if hours is None else [(hour, hour + _HOUR) for hour in hours]:
        for raw in metering_queries.raw_events(key, max(first, start), min(last, end), types):
            yield event_of_raw(raw)


def window_rows(period: Document, windows: Windows) -> dict[str, Any]:
    """The windows as the proof holds them: dimensions once, then a short row for each."""
    start = instant(period["starts_at"])
    first = start - start % HOUR
    numbers: dict[Any, int] = {}
    rows = []
    for place, one in sorted(windows.items(), key=lambda pair: pair[0]):
        of = numbers.setdefault(place.dimensions, len(numbers))
        hour = (place.hour - first) // HOUR
        rows.append([hour, place.part, place.meter, of, plain(one.quantity), one.events, one.fingerprint])
    return {"dimensions": [[list(pair) for pair in one] for one in numbers], "windows": rows}


def hour_at(at: int) -> datetime:
    """The hour of an instant in microseconds since 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at - at % HOUR)
