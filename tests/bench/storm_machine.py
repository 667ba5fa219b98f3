"""The storm's machine: web server, Celery worker and beat as processes, and `kill -9` when a seed says so."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from config.stack import ProcessSupervisor
from tests.config.process_tree import descendants
from tests.processes import CeleryWorker, WebServer

WEB_WORKERS = 2
TARGETS = ("web server", "web worker", "celery worker", "beat")
WEIGHTS = (4, 4, 5, 1)
POLL_SECONDS = 0.05
# So that a kill does not always follow an answer.
LATE_SECONDS = 0.1


@dataclass
class Machine:
    """Everything runs while it is entered by `start`; `kill_something` kills one part of it and starts that again."""

    processes: ProcessSupervisor
    random: Random
    kills: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.web = WebServer(self.processes, workers=WEB_WORKERS)
        self.worker = CeleryWorker(self.processes, queues=("metering",), name="worker-metering")

    def start(self) -> None:
        self.web.start()
        self.worker.start()
        self._start_beat()

    def kill_something(self) -> None:
        [target] = self.random.choices(TARGETS, WEIGHTS)
        {
            "web server": self._kill_web_server,
            "web worker": self._kill_web_worker,
            "celery worker": self._kill_celery_worker,
            "beat": self._kill_beat,
        }[target]()
        self.kills[target] += 1

    def _kill_web_server(self) -> None:
        self.processes.kill(self.web.name)
        self.web.start()

    def _kill_web_worker(self) -> None:
        """One of its processes only, with the requests it has. A server that does not bear that is started again."""
        process = self.processes.process(self.web.name)
        if workers := sorted(descendants(process.popen.pid)):
            with suppress(ProcessLookupError):
                os.kill(self.random.choice(workers), signal.SIGKILL)
        time.sleep(self.random.uniform(0.2, 0.6))
        self.web.revive()

    def _start_web_server_if_gone(self) -> None:
        """One that lost a worker may still answer while it shuts down."""
        if self.processes.process(self.web.name).popen.poll() is not None:
            self.web.revive()

    def _kill_celery_worker(self) -> None:
        self.worker.kill()
        self.worker.start(waits=False)  # the senders go on meanwhile

    def _kill_beat(self) -> None:
        self.processes.kill("beat")
        self._start_beat()

    def _start_beat(self) -> None:
        command = [sys.executable, "-m", "celery", "-A", "config.celery", "beat", "--loglevel", "INFO", "--pidfile", ""]
        self.processes.start("beat", command, env=dict(os.environ))

    def rage(self, *, moments: Sequence[int], progress: Callable[[float], int | None]) -> None:
        """Kill something whenever `progress` passes one of the moments; it waits a while, and says None at the end."""
        left = sorted(moments)
        while (reached := progress(POLL_SECONDS)) is not None:
            self._start_web_server_if_gone()
            if left and reached >= left[0]:
                left.pop(0)
                time.sleep(self.random.uniform(0, LATE_SECONDS))
                self.kill_something()


def logs_of(folder: Path) -> str:
    """The last lines of every process's log, for whoever has to find out why."""
    parts = [f"--- {path.name}\n{path.read_text(errors='replace')[-2_000:]}" for path in sorted(folder.glob("*.log"))]
    return "\n".join(parts)
