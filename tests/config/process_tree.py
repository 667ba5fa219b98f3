"""Looks at living processes through /proc, to prove that none is left."""

import time
from pathlib import Path

GONE_STATES = {"Z", "X"}


def status_of(pid: int) -> dict[str, str]:
    """Return the fields of /proc/<pid>/status; empty when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def is_alive(pid: int) -> bool:
    state = status_of(pid).get("State", "X")
    return state[0] not in GONE_STATES


def descendants(pid: int) -> set[int]:
    """Return every process that descends from `pid`, without itself."""
    parents = {int(path.name): status_of(int(path.name)).get("PPid") for path in Path("/proc").glob("[0-9]*")}
    found: set[int] = set()
    newest = {pid}
    while newest:
        newest = {child for child, parent in parents.items() if parent and int(parent) in newest}
        found |= newest
    return found


def wait_until_gone(pids: set[int], *, seconds: float = 60.0) -> set[int]:
    """Wait until none of the processes lives; return those that still do after `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := {pid for pid in pids if is_alive(pid)}) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
