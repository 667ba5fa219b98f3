"""What a check yields: two figures that should be equal, and what it means if they are not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

Figure = Decimal | int | str | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two figures of one thing. They agree when they are equal; None stands for "there is none"."""

    # What the figures are of: a window, a line, an event id.
    subject: str
    left_name: str
    left: Figure
    right_name: str
    right: Figure
    # Said only when they part: what it means and where to look.
    explanation: str
    customer_key: str = ""
    # Stripe's id of the object concerned, if any: links followers to a webhook that never arrived.
    stripe_id: str = ""

    @property
    def agrees(self) -> bool:
        return self.left == self.right


@dataclass(frozen=True, slots=True)
class Agreed:
    """So many pairs were compared by the database and found equal."""

    pairs: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """So many pairs could not be compared, as one side is in an archive. They are neither right nor wrong."""

    pairs: int


@dataclass(slots=True)
class Scope:
    """What one run looks at. `unheard` is filled by the check of events for the checks after it."""

    range_start: datetime
    range_end: datetime
    # Stripe object id -> the event about it that never reached a projection.
    unheard: dict[str, str] = field(default_factory=dict)

    @property
    def bounds(self) -> dict[str, datetime]:
        """The range as parameters of SQL."""
        return {"range_start": self.range_start, "range_end": self.range_end}


Findings = Iterator[Pair | Agreed | SetAside]
Check = Callable[[Scope], Findings]


def shown(figure: Figure) -> str:
    """Write a figure for a person: no exponent, no trailing zeros, "none" where there is nothing."""
    if figure is None:
        return "none"
    if isinstance(figure, Decimal):
        text = f"{figure:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(figure)
