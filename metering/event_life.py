"""
What becomes of an event after its window. Metering knows windows; the app above registers what it made of them: the
accrual, who paid for it, the invoice line, the journal entry.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class LifeOfWindow:
    """A window that one event is, or was, counted in, and what the event adds to it.

    `quantity` is the event's own, in the meter's unit, exact; `is_void` when a correction took it out again.
    `event_time`, `received_at` are the event's; `window_start` begins the hour, UTC.
    """

    event_key: str
    event_time: datetime
    received_at: datetime
    window_start: datetime
    customer_key: str
    meter_code: str
    meter_version: int
    dimensions: dict[str, str | None]
    quantity: Decimal
    is_void: bool


@dataclass(frozen=True, slots=True)
class LifeStage:
    """One thing that happened further on, ready to show. `at` is None where no one instant can be named.

    `url` is the page that shows it ("" for none). `permission` names who may see the stage at all ("" for whoever sees
    usage), such as "billing.view_invoice"; a service's key needs the scope billing:read for a stage that names one.
    """

    at: datetime | None
    title: str
    text: str
    url: str
    permission: str = ""


_registered: list[Callable[[LifeOfWindow], Sequence[LifeStage]]] = []


def register(stages: Callable[[LifeOfWindow], Sequence[LifeStage]]) -> None:
    """`stages` is called once for each window an event is in, and tells what was made of that window, in order."""
    if stages not in _registered:
        _registered.append(stages)


def stages_of(window: LifeOfWindow) -> list[LifeStage]:
    """What the registered apps tell of this window, in order of registration."""
    return [stage for stages in _registered for stage in stages(window)]
