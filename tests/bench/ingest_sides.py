"""What the ingest benchmarks send, and how: the same events as request bodies, as rows, and as blocks of COPY."""

import json
import os
import pickle
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import psycopg
from django.db import connection

from config import clock
from config.stack import ProcessSupervisor
from config.stack.ports import free_port
from metering import operations
from metering.events import UsageEvent, UsageEventInput, check_event
from tests.bench import senders

BATCH = 1_000
WEB_WORKERS, WEB_THREADS = 2, 4
HTTP_CONNECTIONS = 16
SQL_CONNECTIONS = 2
CUSTOMERS = [f"bench-{number:05}" for number in range(1_000)]
METERS = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens")
EVENTS_PATH, KEY_HEADER = "/api/v1/events", "Authorization: Api-Key %s\r\n"
_ENCODER = msgspec.json.Encoder()
_numbers = count(time.time_ns() // 1_000)

MakeId = Callable[[int], str]


def uuid7(number: int) -> str:
    """A UUIDv7 as a producer makes them: 20 in each millisecond, in order, up to now."""
    return str(UUID(int=(number // 20) << 80 | 7 << 76 | 2 << 62 | uuid4().int >> 68))


def uuid4_text(number: int) -> str:
    return str(uuid4())


def counter(number: int) -> str:
    return f"request-{number}"


@dataclass(frozen=True)
class Load:
    """One round's events, batch by batch."""

    inputs: list[list[UsageEventInput]]
    received_at: datetime

    @property
    def events(self) -> int:
        return sum(len(batch) for batch in self.inputs)

    def checked(self) -> list[list[UsageEvent]]:
        oldest = self.received_at - timedelta(days=396)
        return [
            [event for given in batch if isinstance(event := self._check(given, oldest), UsageEvent)]
            for batch in self.inputs
        ]

    def _check(self, given: UsageEventInput, oldest: datetime) -> object:
        return check_event(given, received_at=self.received_at, oldest=oldest, rules={})

    def rows(self) -> list[list[senders.Row]]:
        received = self.received_at.isoformat()
        return [[_row(event, received) for event in batch] for batch in self.checked()]

    def requests(self, key: str, path: str = EVENTS_PATH) -> list[bytes]:
        return [request(_ENCODER.encode([_sent(event) for event in batch]), key, path) for batch in self.inputs]


def _row(event: UsageEvent, received: str) -> senders.Row:
    texts = (event.source, event.id, event.type, event.subject)
    return (event.time.isoformat(), received, event.key, event.digest, *texts, event.data_json.decode())


def _sent(event: UsageEventInput) -> dict[str, object]:
    names = ("specversion", "id", "source", "type", "subject", "time", "data")
    return {name: getattr(event, name) for name in names}


def request(body: bytes, key: str, path: str = EVENTS_PATH, method: str = "POST") -> bytes:
    """A whole request, so that sending it costs the generator one call."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{KEY_HEADER % key if key else ''}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def make_load(batches: int, size: int = BATCH, *, make_id: MakeId = uuid7, at: datetime | None = None) -> Load:
    """Events of the last minute (before `at`), each with an id nobody used before."""
    now = at or clock.now()
    return Load([[_event(next(_numbers), now, make_id) for _ in range(size)] for _ in range(batches)], now)


def _event(number: int, now: datetime, make_id: MakeId) -> UsageEventInput:
    return UsageEventInput(
        id=make_id(number),
        source="edge/us-east-1",
        type="llm.request",
        subject=CUSTOMERS[number % len(CUSTOMERS)],
        time=(now - timedelta(seconds=number % 60, microseconds=number % 999_983)).isoformat(),
        data={
            "model": "claude-sonnet-5",
            "input_tokens": number % 5_000,
            "output_tokens": number % 700,
            "cache_write_tokens": 0,
            "cache_read_tokens": number % 90,
        },
    )


def prepare() -> None:
    """The customers and the token meters."""
    operations.register_subjects(CUSTOMERS)
    for code in METERS:
        operations.define_meter(
            code=code,
            event_type="llm.request",
            value_path=f"data.{code}",
            aggregation="sum",
            dimensions=["model"],
            unit="token",
        )


def sql_shipments(kind: str, batches: Sequence[object]) -> list[senders.Shipment]:
    """For as many processes as there are connections."""
    address = os.environ["DATABASE_URL"]
    return [senders.Shipment(kind, address, list(batches[n::SQL_CONNECTIONS])) for n in range(SQL_CONNECTIONS)]


def http_shipment(port: int, requests: Sequence[bytes], wanted: bytes, connections: int) -> list[senders.Shipment]:
    return [senders.Shipment("http", f"127.0.0.1:{port}", list(requests), connections, wanted)]


@dataclass(frozen=True)
class Sent:
    """How long it took to send everything, and the CPU seconds of the senders themselves."""

    seconds: float
    sender_cpu: float


def send(folder: Path, shipments: Sequence[senders.Shipment]) -> Sent:
    """Send from processes of their own. Raises AssertionError when one did not get the answers it wants."""
    processes = []
    for number, shipment in enumerate(shipments):
        path = folder / f"shipment-{number}"
        path.write_bytes(pickle.dumps(tuple(shipment)))
        command = [sys.executable, "-m", "tests.bench.senders", str(path)]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    started = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [json.loads(process.stdout.readline()) for process in processes if process.stdout]
    seconds = time.perf_counter() - started
    for process in processes:
        process.communicate()
    if errors := [error for end in ends for error in end["errors"]]:
        raise AssertionError(f"sending failed: {errors[0]}")
    return Sent(seconds, sum(end["cpu"] for end in ends))


def stored_events() -> int:
    """Rows of the event table. Raises AssertionError when there is not one key for each."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM metering_event), (SELECT count(*) FROM metering_event_key)")
        events, keys = cursor.fetchone()
    if events != keys:
        raise AssertionError(f"{events:,} events, {keys:,} keys: no figure counts")
    return int(events)


@contextmanager
def web_server(folder: Path, application: str = "config.wsgi:application") -> Iterator[int]:
    """The server the product runs on, without rate limits that a benchmark would meet; its port."""
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    options = ["--workers", str(WEB_WORKERS), "--blocking-threads", str(WEB_THREADS), "--backpressure", "64"]
    no_limits = {"API_KEY_EVENTS_PER_SECOND": "10000000", "API_KEY_EVENTS_BURST": "10000000"}

    def is_healthy() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    with ProcessSupervisor(folder / f"logs-{port}") as supervisor:
        supervisor.start("web", [*command, *options, application], env=dict(os.environ) | no_limits, ready=is_healthy)
        yield port


def superuser() -> psycopg.Connection:
    """A connection that may ask for a checkpoint, in autocommit."""
    return psycopg.connect(os.environ["BENCH_SUPERUSER_URL"], autocommit=True)
