"""Starts named processes, watches them, and ends them in reverse order. Nothing it starts survives its own death."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from config.stack import watchdog
from config.stack.errors import ProcessDied, StackError

PR_SET_PDEATHSIG = 1
READY_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.02
LOG_TAIL_LINES = 15


@dataclass(frozen=True)
class RunAs:
    """The user and group (numbers) a child runs as instead of our own."""

    user: int
    group: int


@dataclass
class ManagedProcess:
    """One running child, leader of its own process group."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals

    def last_lines(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join(f"  {line}" for line in lines) or "  (it wrote nothing)"

    def require_alive(self) -> None:
        """Raise ProcessDied when the process has ended."""
        code = self.popen.poll()
        if code is not None:
            raise ProcessDied(
                f"{self.name} ended with {describe_exit(code)}; last lines of {self.log}:\n{self.last_lines()}"
            )


def describe_exit(code: int) -> str:
    """Return `exit code 3`, or `signal SIGKILL` for a negative code as subprocess gives it."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _death_signal(number: int, *, parent: int) -> Callable[[], None] | None:
    """Return what a process runs so that Linux signals it when its parent dies; None where that cannot work.

    The kernel means the *thread* that forked: from any other than the main thread the child would die too early, and
    there the watchdog is enough.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl = ctypes.CDLL(None).prctl

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)

    return arrange


@dataclass
class ProcessSupervisor:
    """A context manager that owns processes. On leaving, all of them end in reverse order of their start."""

    log_directory: Path
    # How long processes may take to end by themselves once we are gone.
    orphans_grace_seconds: float = watchdog.GRACE_SECONDS
    _processes: dict[str, ManagedProcess] = field(default_factory=dict)
    _watchdog: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with interruptions_ignored():
            self.stop_all()

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready: Callable[[], bool] | None = None,
        ready_timeout_seconds: float = READY_TIMEOUT_SECONDS,
        stop_signal: signal.Signals = signal.SIGTERM,
        run_as: RunAs | None = None,
    ) -> ManagedProcess:
        """Start `command`, write what it says to logs/<name>.log, and return once `ready()` is true.

        `env` is the child's whole environment (default: ours). Raises ProcessDied when it ends before it is ready, and
        StackError when it is not ready in time or a process of that name already runs.
        """
        if name in self._processes:
            raise StackError(f"a process named {name} already runs")
        self.log_directory.mkdir(parents=True, exist_ok=True)
        log = self.log_directory / f"{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [str(part) for part in command],
                env=None if env is None else dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only us, and we end the others in order
                preexec_fn=_death_signal(stop_signal, parent=os.getpid()),  # noqa: PLW1509  (it only calls prctl and getppid)
                user=run_as.user if run_as else None,
                group=run_as.group if run_as else None,
                extra_groups=[] if run_as else None,
            )
        process = ManagedProcess(name=name, popen=popen, log=log, stop_signal=stop_signal)
        self._processes[name] = process
        self._tell_watchdog(f"+{popen.pid} {int(stop_signal)}\n")
        if ready is not None:
            self._wait_until_ready(process, ready, ready_timeout_seconds)
        return process

    def _wait_until_ready(self, process: ManagedProcess, ready: Callable[[], bool], timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            process.require_alive()
            if time.monotonic() > deadline:
                raise StackError(
                    f"{process.name} was not ready after {timeout_seconds:.0f} s; last lines of {process.log}:\n"
                    f"{process.last_lines()}"
                )
            time.sleep(POLL_SECONDS)

    def names(self) -> list[str]:
        return list(self._processes)

    def process(self, name: str) -> ManagedProcess:
        return self._processes[name]

    def require_all_alive(self) -> None:
        """Raise ProcessDied for the first process that has ended by itself."""
        for process in self._processes.values():
            process.require_alive()

    def wait(self, *, seconds: float | None = None, poll_seconds: float = 0.5) -> None:
        """Stay until `seconds` have passed (None: for ever). Raises ProcessDied as soon as a process ends by itself."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while deadline is None or time.monotonic() < deadline:
            self.require_all_alive()
            time.sleep(poll_seconds)

    def stop(self, name: str, *, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> int:
        """Ask one process to end, kill its whole group if it does not, and return its exit code."""
        process = self._processes[name]
        if process.popen.poll() is None:
            process.popen.send_signal(process.stop_signal)
        try:
            code = process.popen.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            watchdog.signal_group(process.popen.pid, signal.SIGKILL)
            code = process.popen.wait()
        return self._forget(process, code)

    def kill(self, name: str) -> int:
        """Kill one process and its whole group at once, as a crash would, and return its exit code."""
        process = self._processes[name]
        watchdog.signal_group(process.popen.pid, signal.SIGKILL)
        return self._forget(process, process.popen.wait())

    def _forget(self, process: ManagedProcess, code: int) -> int:
        watchdog.signal_group(process.popen.pid, signal.SIGKILL)  # children that outlived their leader
        del self._processes[process.name]
        self._tell_watchdog(f"-{process.popen.pid}\n")
        return code

    def stop_all(self) -> None:
        """End every process, the latest first, then the watchdog."""
        for name in reversed(self.names()):
            self.stop(name)
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
            self._watchdog.wait()
            self._watchdog = None

    def _tell_watchdog(self, line: str) -> None:
        if self._watchdog is None:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", watchdog.__file__, str(self.orphans_grace_seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        stdin = self._watchdog.stdin
        assert stdin is not None  # asked for with PIPE
        stdin.write(line.encode())
        stdin.flush()


@contextmanager
def interruptions_ignored() -> Iterator[None]:
    """Let a second Ctrl-C not break the stopping that the first one began."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def termination_raises() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt while the block runs, so that `with` blocks end what they started.

    On Linux a run that make started gets such a signal when make is killed.
    """
    if "MAKELEVEL" in os.environ and (arrange := _death_signal(signal.SIGTERM, parent=os.getppid())) is not None:
        arrange()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
