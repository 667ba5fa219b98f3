"""Meter events as they were taken in, found again by meter and customer, or by identifier. No rules live here."""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

from tests.sandbox.core.undo import NotedDict, Undo


@dataclass(slots=True)
class MeterEvent:
    """One use. `timestamp` is when it happened, `received_at` when it was told; `place` counts those told before."""

    meter: str
    customer: str
    event_name: str
    identifier: str
    timestamp: int
    received_at: int
    value: Decimal
    place: int = 0
    canceled: bool = False


@dataclass(slots=True)
class _Series:
    """The events of one customer on one meter in the order of their timestamps; of equal ones, of their arrival."""

    timestamps: list[int] = field(default_factory=list)
    events: list[MeterEvent] = field(default_factory=list)

    def leave_out(self, place: int) -> None:
        del self.timestamps[place], self.events[place]


class MeterEvents:
    """All events of an account. A canceled one stays, but is no longer found in its series."""

    def __init__(self, undo: Undo) -> None:
        self._undo = undo
        self._series: dict[tuple[str, str], _Series] = defaultdict(_Series)
        self._received: dict[str, int] = NotedDict(undo, {})
        self._by_identifier: dict[tuple[str, str], MeterEvent] = NotedDict(undo, {})

    def received_at(self, identifier: str) -> int | None:
        """When an event with this identifier last came, valid or not."""
        return self._received.get(identifier)

    def receive(self, identifier: str, now: int) -> None:
        self._received[identifier] = now

    def add(self, event: MeterEvent) -> None:
        event.place = len(self._by_identifier)
        series = self._series[event.meter, event.customer]
        place = bisect_left(series.timestamps, event.timestamp + 1)
        series.timestamps.insert(place, event.timestamp)
        series.events.insert(place, event)
        if self._undo.on:
            self._undo.step(partial(series.leave_out, place))
        self._by_identifier[event.event_name, event.identifier] = event

    def cancel(self, event: MeterEvent) -> None:
        if self._undo.on:
            self._undo.step(partial(setattr, event, "canceled", event.canceled))
        event.canceled = True

    def find(self, event_name: str, identifier: str) -> MeterEvent | None:
        return self._by_identifier.get((event_name, identifier))

    def between(self, meter: str, customer: str, start: int, end: int) -> list[MeterEvent]:
        """Those with a timestamp in [start, end) that were not canceled, oldest first."""
        series = self._series.get((meter, customer))
        if series is None:
            return []
        events = series.events[bisect_left(series.timestamps, start) : bisect_left(series.timestamps, end)]
        return [event for event in events if not event.canceled]
