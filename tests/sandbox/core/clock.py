"""The account's clock and the time-ordered queue of what is due. Whole Unix seconds, moved only when told."""

import heapq
from collections.abc import Callable
from datetime import UTC, datetime

MOMENT_MAX = 253_402_300_799  # the last second of the year 9999


class ClockBackwards(ValueError):
    """The clock was asked to move into its past."""


class Clock:
    """`now`, and the work that waits for later moments.

    Work is never taken back: whoever wakes up checks whether its reason still holds (an invoice still a draft …).
    """

    def __init__(self, now: int) -> None:
        self.now = now
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0

    def at(self, moment: int, work: Callable[[], None]) -> None:
        """Run `work` when the clock reaches `moment`; at once due work runs after the current request is answered."""
        self._sequence += 1
        heapq.heappush(self._queue, (moment, self._sequence, work))

    def run_due(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            heapq.heappop(self._queue)[2]()

    def advance(self, to: int) -> None:
        """Move to `to`, stopping at every moment something is due. Raises `ClockBackwards`."""
        if to < self.now:
            raise ClockBackwards(f"the clock is at {iso(self.now)}, it cannot move back to {iso(to)}")
        while self._queue and self._queue[0][0] <= to:
            self.now = max(self.now, self._queue[0][0])
            self.run_due()
        self.now = to

    def next_due(self) -> int | None:
        return self._queue[0][0] if self._queue else None


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
