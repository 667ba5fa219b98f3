"""Clocks and the time-ordered queues of what is due. Whole Unix seconds, moved only when told."""

import heapq
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

MOMENT_MAX = 253_402_300_799  # the last second of the year 9999

Work = Callable[[], None]


class ClockBackwards(ValueError):
    """A clock was asked to move into its past."""


class Due(NamedTuple):
    """Work that waits for its `moment`. `sequence` keeps work of one moment in its order; `what` is for people."""

    moment: int
    sequence: int
    work: Work
    what: str


class Clock:
    """`now`, and the work that waits for later moments. `id` is a test clock's; the account's own clock has none.

    Work is never taken back: whoever wakes up checks whether its reason still holds (an invoice still a draft …).
    """

    def __init__(self, now: int, *, test_clock_id: str | None = None) -> None:
        self.now = now
        self.id = test_clock_id
        self._queue: list[Due] = []
        self._sequence = 0
        self.doing = ""  # the `what` of the work that runs now

    def at(self, moment: int, work: Work, what: str = "", *, first: bool = False) -> None:
        """Run `work` when the clock reaches `moment`; at once due work runs after the current request is answered.

        `what` says to people what is due. `first`: before everything else of that moment, whenever it was left.
        """
        self._sequence += 1
        heapq.heappush(self._queue, Due(moment, -self._sequence if first else self._sequence, work, what))

    def run_due(self) -> None:
        while self._queue and self._queue[0].moment <= self.now:
            due = heapq.heappop(self._queue)
            self.doing = due.what
            try:
                due.work()
            finally:
                self.doing = ""

    def advance(self, to: int) -> None:
        """Move to `to`, stopping at every moment something is due. Raises `ClockBackwards`."""
        if to < self.now:
            raise ClockBackwards(f"the clock is at {iso(self.now)}, it cannot move back to {iso(to)}")
        while self._queue and self._queue[0].moment <= to:
            self.now = max(self.now, self._queue[0].moment)
            self.run_due()
        self.now = to

    def forget(self) -> None:
        """Drop all that waits. It never runs."""
        self._queue.clear()

    @property
    def left_count(self) -> int:
        """How much work was ever left with it."""
        return self._sequence

    def take_back_to(self, count: int) -> None:
        """Forget the work that was left after the first `count`, of which nothing has run."""
        self._queue = [due for due in self._queue if abs(due.sequence) <= count]
        heapq.heapify(self._queue)

    def next_due(self) -> int | None:
        return self._queue[0].moment if self._queue else None

    def waiting(self) -> list[Due]:
        """What is due, in the order in which it will run."""
        return sorted(self._queue)


def iso(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_moment(value: str | int) -> int:
    """Unix seconds of an ISO 8601 text with offset, or of a number. Raises ValueError for what is neither."""
    text = str(value)
    if text.isdecimal():
        if int(text) > MOMENT_MAX:
            raise ValueError(f"{text} is later than the year 9999")
        return int(text)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return int(moment.timestamp())
