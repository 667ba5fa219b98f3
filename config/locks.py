"""File locks between runs in one checkout. Standard library only: the bootstrap needs them before any package."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1


class AlreadyLocked(Exception):
    """Another living process holds the lock."""


def _ignore(_: str) -> None:
    """Report to nobody."""


@contextmanager
def locked(
    path: Path, *, shared: bool = False, wait: bool = True, purpose: str = "", report: Callable[[str], None] = _ignore
) -> Iterator[None]:
    """Hold an advisory lock on `path` while the block runs. The kernel drops it when the process dies, however it dies.

    Raises AlreadyLocked at once when `wait` is false and somebody else holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    told = False
    try:
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not wait:
                    raise AlreadyLocked(str(path)) from None
                if purpose and not told:
                    report(f"waiting for another run to finish: {purpose}")
                    told = True
                time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)
