"""What a change of windows would do to money. Metering knows none; the app above registers who can tell in
AppConfig.ready, and metering's pages show its texts as they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class WindowChange:
    """One window before and after. `window_start` is the hour, UTC; quantities are in the meter's unit, exact. A
    window that is not there has no events and the quantity 0."""

    window_start: datetime
    customer_key: str
    meter_code: str
    meter_version: int
    dimensions: dict[str, str | None]
    quantity_before: Decimal
    quantity_after: Decimal
    events_before: int
    events_after: int


@dataclass(frozen=True, slots=True)
class MoneyEffect:
    """What would happen to one customer's money, in texts that are ready to be shown. `url` may be empty."""

    customer_key: str
    label: str
    before: str
    after: str
    change: str
    url: str


Preview = Callable[[Sequence[WindowChange]], Sequence[MoneyEffect]]

_registered: dict[str, Preview] = {}


def register(preview: Preview) -> None:
    """`preview` takes the windows that would change and tells what money would do. It must not write."""
    _registered["preview"] = preview


def of_windows(changes: Sequence[WindowChange]) -> list[MoneyEffect]:
    """What money would do if these windows changed so; empty when nobody registered who could tell."""
    if not changes or "preview" not in _registered:
        return []
    return list(_registered["preview"](changes))
