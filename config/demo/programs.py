"""The demo's processes: the Stripe sandbox, the web server, the Celery workers and beat, each a program of its own."""

import json
import secrets
import signal
import socket
import string
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from config.demo.errors import DemoFailed
from config.stack import ProcessSupervisor, StackError
from config.stack.ports import free_port
from config.stack.processes import ManagedProcess

PROJECT_DIRECTORY = Path(__file__).resolve().parent.parent.parent
DEFAULT_PORT = 8000
READY_TIMEOUT_SECONDS = 90.0
# One process serves both ingest and webhooks from threads: on two cores a second one costs more memory than it brings.
WEB_WORKERS, WEB_THREADS = 1, 8
# Much of their time they wait for PostgreSQL and Stripe, so two keep two cores busy.
MONEY_PROCESSES = 2
APPLICATION_PREFIXES = ("web", "worker-", "beat")

# A process, and what is true once it is ready.
Condition = tuple[ManagedProcess, Callable[[], bool]]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The Stripe sandbox, as seen over HTTP."""

    address: str

    def move_clock(self, to: datetime) -> None:
        """Move the sandbox's clock; everything due until then happens."""
        self._ask("POST", "/_sandbox/clock", {"now": to.isoformat()}, timeout_seconds=300)

    def now(self) -> datetime:
        return datetime.fromisoformat(self._ask("GET", "/_sandbox/clock")["now"])

    def is_idle(self) -> bool:
        """Return whether every webhook was delivered."""
        return self._ask("GET", "/_sandbox/idle") is True

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout_seconds: int = 30) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
            return json.loads(answer.read())


def made_up_key() -> str:
    """Return a secret key in the form of Stripe's test keys, for a sandbox that takes any."""
    letters = string.ascii_letters + string.digits
    return "sk_test_" + "".join(secrets.choice(letters) for _ in range(32))


def choose_port(wanted: int | None) -> int:
    """Return the port asked for, else 8000, else any that is free."""
    if wanted is not None:
        return wanted
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", DEFAULT_PORT))
        except OSError:
            return free_port()
    return DEFAULT_PORT


def join_sandbox(address: str, *, now: datetime) -> Sandbox:
    """Return the sandbox that runs at an address already. Raises DemoFailed when it is none, or past `now`."""
    sandbox = Sandbox(address.rstrip("/"))
    try:
        there = sandbox.now()
    except (OSError, ValueError, KeyError) as error:
        message = f"STRIPE_API_BASE names {address}, where no sandbox answers: {error}"
        raise DemoFailed(message) from error
    if there > now:
        message = (
            f"The sandbox at {address} is at {there:%F %T} already; start one at {now:%F}, or unset STRIPE_API_BASE."
        )
        raise DemoFailed(message)
    sandbox.move_clock(now)
    return sandbox


def start_sandbox(processes: ProcessSupervisor, *, now: datetime) -> Sandbox:
    """Start the Stripe sandbox with its clock at `now` and return once it takes requests."""
    command = [sys.executable, "-m", "tests.sandbox", "--port", "0", "--now", now.isoformat(), "--deliveries", "4"]
    started = processes.start("stripe-sandbox", command, cwd=PROJECT_DIRECTORY)
    address = ""

    def said_where() -> bool:
        nonlocal address
        for line in started.log.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                address = json.loads(line)["address"]
        return bool(address)

    wait_for([(started, said_where)])
    return Sandbox(address)


@dataclass(frozen=True, slots=True)
class Application:
    """Web, workers and beat, started and perhaps not ready yet."""

    address: str
    conditions: Sequence[Condition]

    def wait(self) -> str:
        """Return the site's address once all of them work. Raises ProcessDied and StackError."""
        wait_for(self.conditions)
        return self.address


def start_application(processes: ProcessSupervisor, *, port: int, env: Mapping[str, str]) -> Application:
    """Start web, workers and beat beside each other, and do not wait for them."""
    address = f"http://127.0.0.1:{port}"
    web = processes.start("web", _granian(port), env=env, cwd=PROJECT_DIRECTORY)
    money = processes.start("worker-money", _worker("money", "money", MONEY_PROCESSES), env=env)
    metering = processes.start("worker-metering", _worker("metering", "metering", 1), env=env)
    beat = processes.start("beat", [*_celery(), "beat", "--loglevel", "INFO", "--pidfile", ""], env=env)
    return Application(
        address,
        (
            (web, lambda: answers(f"{address}/healthz")),
            (money, lambda: b" ready." in money.log.read_bytes()),
            (metering, lambda: b" ready." in metering.log.read_bytes()),
            (beat, lambda: b"beat: Starting" in beat.log.read_bytes()),
        ),
    )


def start_mirror(processes: ProcessSupervisor, *, env: Mapping[str, str]) -> None:
    """Start the worker that refreshes dj-stripe's mirror: slow work for people who look, kept away from the close."""
    # What it was at is done again by the next one, so it may end in the middle.
    processes.start("worker-mirror", _worker("mirror", "mirror", 1), env=env, stop_signal=signal.SIGQUIT)


def ask_all_to_end(processes: ProcessSupervisor) -> None:
    """Let everything that uses the services finish at the same time; the supervisor then waits for each in turn."""
    for name in processes.names():
        if name.startswith(APPLICATION_PREFIXES):
            process = processes.process(name)
            if process.popen.poll() is None:
                process.popen.send_signal(process.stop_signal)


def wait_for(conditions: Sequence[Condition]) -> None:
    """Return once every process meets its condition. Raises ProcessDied, or StackError when it takes too long."""
    waiting = list(conditions)
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while waiting:
        for process, _ in waiting:
            process.require_alive()
        waiting = [(process, is_ready) for process, is_ready in waiting if not is_ready()]
        if time.monotonic() > deadline:
            names = ", ".join(process.name for process, _ in waiting)
            message = f"not ready after {READY_TIMEOUT_SECONDS:.0f} s: {names}; see their logs"
            raise StackError(message)
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Return whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _granian(port: int) -> list[str]:
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--workers", str(WEB_WORKERS), "--blocking-threads", str(WEB_THREADS), "config.wsgi:application"]


def _celery() -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "config.celery"]


def _worker(name: str, queues: str, processes: int) -> list[str]:
    options = ["--queues", queues, "--concurrency", str(processes), "--hostname", f"{name}@%h", "--loglevel", "INFO"]
    return [*_celery(), "worker", *options, "--without-gossip", "--without-mingle", "--without-heartbeat"]
