"""The project's own processes as tests start them: the same programs as in the demo, against the test's database."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

from config.stack import ProcessSupervisor
from config.stack.ports import free_port


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    """The test's own environment, which names the checked client of Stripe's, and what the test adds."""
    assert "STRIPE_HTTP_CLIENT" not in (extra or {}), "STRIPE_HTTP_CLIENT: the checked client is no test's choice"
    return {**os.environ, **(extra or {})}


@dataclass
class CeleryWorker:
    """A worker process that can be killed in the middle of a task and started again."""

    supervisor: ProcessSupervisor
    queues: tuple[str, ...] = ("metering", "money", "mirror")
    concurrency: int = 1
    name: str = "worker"

    def start(self, extra_environment: Mapping[str, str] | None = None, *, waits: bool = True) -> None:
        """Start the worker and return when it takes tasks, or at once when nobody `waits`."""
        command = [sys.executable, "-m", "celery", "-A", "config.celery", "worker", "--loglevel", "INFO"]
        options = ["--queues", ",".join(self.queues), "--concurrency", str(self.concurrency), "--without-gossip"]
        log = self.supervisor.log_directory / f"{self.name}.log"
        self.supervisor.start(
            self.name,
            [*command, *options, "--without-mingle"],
            env=_environment(extra_environment),
            ready=(lambda: b" ready." in log.read_bytes()) if waits else None,
        )

    def kill(self) -> None:
        """End the worker and its children as SIGKILL does: without a chance to finish anything."""
        self.supervisor.kill(self.name)

    def stop(self) -> None:
        """Let the worker finish the task it has, then end."""
        self.supervisor.stop(self.name)


@dataclass
class WebServer:
    """A Granian process that serves the site on a free port."""

    supervisor: ProcessSupervisor
    name: str = "web"
    port: int = field(default_factory=free_port)
    workers: int = 1

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, extra_environment: Mapping[str, str] | None = None) -> None:
        """Start the server and return when /healthz answers 200."""
        command = [
            sys.executable,
            "-m",
            "granian",
            "--interface",
            "wsgi",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        self.supervisor.start(
            self.name,
            [*command, "--workers", str(self.workers), "--blocking-threads", "4", "config.wsgi:application"],
            env=_environment(extra_environment),
            ready=self._is_healthy,
        )

    def stop(self) -> None:
        self.supervisor.stop(self.name)

    def revive(self, extra_environment: Mapping[str, str] | None = None) -> None:
        """Start it unless it runs and answers."""
        if self.name in self.supervisor.names():
            if self.supervisor.process(self.name).popen.poll() is None and self._is_healthy():
                return
            self.supervisor.kill(self.name)
        self.start(extra_environment)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
