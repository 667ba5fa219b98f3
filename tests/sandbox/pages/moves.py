"""Moving a clock from the page, and remembering what the move did."""

from dataclasses import dataclass
from datetime import datetime

from tests.sandbox.billing.periods import Interval, boundary_after
from tests.sandbox.core.clock import Clock, parse_moment
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

STEPS_SECONDS = {"hour": 3600, "day": 86_400, "week": 7 * 86_400}


class NoSuchMove(ValueError):
    """The form asked for no move that the clock can make; the text is for people."""


@dataclass(frozen=True, slots=True)
class Move:
    """One move of a clock. The objects made by it have places from `first` up to `last`."""

    number: int
    test_clock: str | None
    start: int
    end: int
    first: int
    last: int


def wanted_moment(clock: Clock, form: dict[str, str]) -> int:
    """Where a form of the page wants the clock. Raises `NoSuchMove`."""
    move = form.get("move", "")
    if move in STEPS_SECONDS:
        return clock.now + STEPS_SECONDS[move]
    if move == "month":
        return boundary_after(0, Interval("month", 1), clock.now)  # the epoch is the first of a month
    if move == "due":
        due = clock.next_due()
        if due is None:
            raise NoSuchMove("Nothing is due, so there is nowhere to move to.")
        return max(due, clock.now)
    if move == "moment":
        return read_moment(form.get("moment", ""))
    raise NoSuchMove(f"{move or 'nothing'} is no move of a clock.")


def events_of(world: World, move: Move) -> list[StripeObject]:
    """What happened during a move, oldest first."""
    place = world.store.place
    return [event for event in world.store.all("event") if move.first <= place(event["id"]) < move.last]


def read_moment(text: str) -> int:
    """Unix seconds of what a person wrote; without an offset it is UTC. Raises `NoSuchMove`."""
    text = text.strip()
    try:
        if not text.isdecimal() and datetime.fromisoformat(text).tzinfo is None:
            text += "+00:00" if len(text) > 10 else "T00:00:00+00:00"
        return parse_moment(text)
    except (ValueError, OverflowError) as error:
        raise NoSuchMove(f"{text!r} is no moment: write 2026-11-01, 2026-11-01 12:30 or Unix seconds.") from error
