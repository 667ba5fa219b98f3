"""What the checkers of a test session have seen and found, over all its processes.

Each process keeps its counts in a file of its own in the folder that the environment names, up to date at every moment:
a worker that is killed in the middle of a task leaves a true count. Problems are lines of one file, so that a test
fails by what a process it started was told, whoever swallowed the exception there. Without the variable nothing is
kept.
"""

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FOLDER_VARIABLE = "STRIPE_CONFORMANCE_FOLDER"
COUNTS = struct.Struct("<3q")
COUNTS_SUFFIX, PROBLEMS_NAME = ".counts", "problems"


@dataclass(frozen=True, slots=True)
class Seen:
    """Numbers of things checked, and every problem found in them."""

    requests: int
    answers: int
    events: int
    problems: tuple[str, ...]


class _Counter:
    """This process's counts. A forked child begins its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = 0
        self._file = -1
        self._counts = [0, 0, 0]

    def add(self, folder: str, counts: tuple[int, int, int]) -> None:
        with self._lock:
            if self._process != os.getpid():
                self._process, self._counts = os.getpid(), [0, 0, 0]
                path = Path(folder) / f"{self._process}{COUNTS_SUFFIX}"
                self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            self._counts = [own + new for own, new in zip(self._counts, counts, strict=True)]
            os.pwrite(self._file, COUNTS.pack(*self._counts), 0)


_counter = _Counter()
_expected: list[list[str]] = []


def count(*, requests: int = 0, answers: int = 0, events: int = 0) -> None:
    """Add to what this process has checked."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        _counter.add(folder, (requests, answers, events))


def note_problem(problem: str) -> None:
    """Let the running test fail by `problem`, unless it expects one."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if _expected:
        _expected[-1].append(problem)
    elif folder:
        line = " ".join(problem.splitlines()) + "\n"
        with (Path(folder) / PROBLEMS_NAME).open("ab", buffering=0) as file:
            file.write(line.encode())


@contextmanager
def expected_problems() -> Iterator[list[str]]:
    """Problems of this process within the block are what a test is about: they are listed here and fail nothing."""
    found: list[str] = []
    _expected.append(found)
    try:
        yield found
    finally:
        _expected.remove(found)


def seen(folder: Path) -> Seen:
    """The sum over all processes that worked with `folder` or one below it."""
    sums = [0, 0, 0]
    for path in folder.rglob(f"*{COUNTS_SUFFIX}"):
        counts = path.read_bytes()
        if len(counts) == COUNTS.size:  # one that was made and not yet written to has seen nothing
            sums = [total + own for total, own in zip(sums, COUNTS.unpack(counts), strict=True)]
    lines = [line for path in sorted(folder.rglob(PROBLEMS_NAME)) for line in path.read_text().splitlines()]
    requests, answers, events = sums
    return Seen(requests, answers, events, tuple(lines))
