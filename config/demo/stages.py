"""The stages of a run: a progress bar each on standard error, and how many seconds each took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


@dataclass(slots=True)
class Bar:
    """The progress bar of one stage."""

    progress: Progress
    task: TaskID

    def advance(self, count: int = 1) -> None:
        self.progress.advance(self.task, count)

    def show(self, *, done: int, total: int, doing: str = "") -> None:
        """Set the bar to a count that is known, such as one that was asked of the database."""
        self.progress.update(self.task, completed=done, total=total, doing=doing)


@dataclass
class Stages:
    """A context manager around the whole run."""

    # Stage -> seconds, in the order in which they ran.
    seconds: dict[str, float] = field(default_factory=dict)
    _progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<44}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}"),
            console=Console(file=sys.stderr),
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the bars as they stand; what is printed from now on comes below them."""
        self._progress.stop()

    @contextmanager
    def stage(self, name: str, description: str, *, total: int | None = None) -> Iterator[Bar]:
        """Time the block under `name` and show a bar for it."""
        task = self._progress.add_task(description, total=total, doing="")
        started = time.monotonic()
        try:
            yield Bar(self._progress, task)
        finally:
            self.seconds[name] = round(time.monotonic() - started, 1)
            # A stage without a count, or one that ended early, stands there as done.
            done = self._progress.tasks[task].total or 1
            self._progress.update(task, completed=done, total=done, doing="")
