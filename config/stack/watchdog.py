"""A process that outlives its launcher only to end what the launcher left behind.

Linux ends our direct children by itself when the launcher dies (PR_SET_PDEATHSIG), but not their children, and macOS
has no such call. The watchdog reads the launcher's pipe: end of file means that the launcher is gone, however it went.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 8.0
POLL_SECONDS = 0.05


def group_lives(group: int) -> bool:
    """Return whether a process group still has a member that can be signalled."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def signal_group(group: int, number: int) -> None:
    """Send a signal to a group that may have ended meanwhile."""
    if group_lives(group):
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            return


def end_groups(groups: Iterable[tuple[int, int]], *, grace_seconds: float = GRACE_SECONDS) -> None:
    """Send each (group, signal), wait `grace_seconds` for all of them together, then kill what is left."""
    groups = list(groups)
    for group, number in groups:
        signal_group(group, number)
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline and any(group_lives(group) for group, _ in groups):
        time.sleep(POLL_SECONDS)
    for group, _ in groups:
        signal_group(group, signal.SIGKILL)


def main() -> None:
    """Follow lines `+<group> <signal>` and `-<group>` on standard input; at its end, end the groups that remain.

    The one argument says how many seconds they get for it.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[int, int] = {}
    for line in sys.stdin:
        if line.startswith("+"):
            group, _, stop_signal = line[1:].partition(" ")
            groups[int(group)] = int(stop_signal)
        elif line.startswith("-"):
            groups.pop(int(line[1:]), None)
    end_groups(reversed(groups.items()), grace_seconds=float(sys.argv[1]))


if __name__ == "__main__":
    main()
