"""The ingest endpoint against the same rows by bare batched SQL, what aggregation costs, and a long import's memory.

Rounds alternate, so that both sides meet the machine in the same moods; what is quoted is the median of the rounds'
ratios. A figure counts only if the rows it is about are found afterwards.
"""

import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import msgspec
import psycopg
from rich.console import Console

from config import clock
from config.api_keys.models import ApiKey
from config.stack import ProcessSupervisor
from config.stack.ports import free_port
from metering import operations, queries
from metering.events import UsageEvent, UsageEventInput, check_event
from metering.models import UsageEvent as StoredEvent

ROUNDS = 5
BATCHES, BATCH = 40, 1_000
SENDERS = 4
WEB_WORKERS = 2
CUSTOMERS = [f"bench-{number:04}" for number in range(1_000)]
METERS = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens")
IMPORT_ROWS = (30_000, 300_000)
_numbers = count(int(time.time() * 1_000_000))

BARE_INSERT = """
WITH sent AS (
    SELECT * FROM unnest(%s::timestamptz[], %s::timestamptz[], %s::uuid[], %s::uuid[],
                         %s::text[], %s::text[], %s::text[], %s::text[], %s::jsonb[])
           AS sent (event_time, received_at, key, digest, source, event_id, event_type, customer_key, data)
), won AS (
    INSERT INTO metering_event_key (key, event_time, digest) SELECT key, event_time, digest FROM sent
        ON CONFLICT (key) DO NOTHING RETURNING key
)
INSERT INTO metering_event (event_time, received_at, key, source, event_id, event_type, customer_key, data)
SELECT event_time, received_at, key, source, event_id, event_type, customer_key, data FROM sent JOIN won USING (key)
"""


@dataclass(frozen=True)
class Load:
    """The rows of one side of one round: as bodies to post, and as events to insert."""

    bodies: list[bytes]
    batches: list[list[UsageEvent]]


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
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
    with tempfile.TemporaryDirectory() as folder:
        _bench_endpoint(console, Path(folder))
        _bench_windows(console)
        _bench_import(console, Path(folder))


def _bench_endpoint(console: Console, folder: Path) -> None:
    _, key = ApiKey.objects.create_key(name="bench", scopes=["usage:write"])
    rates: dict[str, list[float]] = {"http": [], "bare": []}
    with _web_server(folder) as port:
        for number in range(ROUNDS + 1):  # the first one warms up
            for name in ("http", "bare") if number % 2 else ("bare", "http"):
                load = _load()
                send = _poster(port, str(key), load) if name == "http" else _inserter(load)
                seconds = _timed(send)
                if number:
                    rates[name].append(BATCHES * BATCH / seconds)
    ratios = [http / bare for http, bare in zip(rates["http"], rates["bare"], strict=True)]
    console.print(
        f"ingest over HTTP (key, validation, dedupe, durable; batches of {BATCH:,}): "
        f"{statistics.median(rates['http']):,.0f} events/s\n"
        f"same rows by bare INSERT … SELECT FROM unnest:                        "
        f"{statistics.median(rates['bare']):,.0f} events/s\n"
        f"ratio, median of {ROUNDS} alternating rounds: {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


def _load() -> Load:
    now = clock.now()
    batches = [[_event(next(_numbers), now) for _ in range(BATCH)] for _ in range(BATCHES)]
    encoder = msgspec.json.Encoder()
    checked = [
        [check_event(event, received_at=now, oldest=now - timedelta(days=396), rules={}) for event in batch]
        for batch in batches
    ]
    return Load(
        [encoder.encode(batch) for batch in batches],
        [[event for event in batch if isinstance(event, UsageEvent)] for batch in checked],
    )


def _event(number: int, now: datetime) -> UsageEventInput:
    return UsageEventInput(
        id=f"bench-{number:024}",
        source="edge/us-east-1",
        type="llm.request",
        subject=CUSTOMERS[number % len(CUSTOMERS)],
        time=(now - timedelta(seconds=number % 7_200)).isoformat(),
        data={
            "model": "claude-sonnet-5",
            "input_tokens": number % 5_000,
            "output_tokens": number % 700,
            "cache_write_tokens": 0,
            "cache_read_tokens": number % 90,
        },
    )


def _timed(send: Callable[[int], None]) -> float:
    """Seconds to send all batches from SENDERS connections. Raises when not every row is found afterwards."""
    before = StoredEvent.objects.count()
    started = time.perf_counter()
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, range(SENDERS)))
    seconds = time.perf_counter() - started
    if (stored := StoredEvent.objects.count() - before) != BATCHES * BATCH:
        raise AssertionError(f"{stored:,} rows found, {BATCHES * BATCH:,} sent: the figure does not count")
    return seconds


def _poster(port: int, key: str, load: Load) -> Callable[[int], None]:
    headers = {"Authorization": f"Api-Key {key}", "Content-Type": "application/cloudevents-batch+json"}

    def send(sender: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for body in load.bodies[sender::SENDERS]:
            connection.request("POST", "/api/v1/events", body, headers)
            answer = msgspec.json.decode(connection.getresponse().read())
            if answer.get("accepted") != BATCH:
                raise AssertionError(f"a batch was not accepted: {answer}")
        connection.close()

    return send


def _inserter(load: Load) -> Callable[[int], None]:
    def send(sender: int) -> None:
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            for batch in load.batches[sender::SENDERS]:
                connection.execute(BARE_INSERT, _array_literals(batch))
                connection.commit()

    return send


def _array_literals(batch: Sequence[UsageEvent]) -> list[str]:
    """The rows as nine array literals: the cheapest way to give a statement many rows that is not COPY."""
    received = f"{{{','.join([clock.now().isoformat()] * len(batch))}}}"

    def plain(name: str) -> str:
        return f"{{{','.join(getattr(event, name) for event in batch)}}}"

    times = f"{{{','.join(event.time.isoformat() for event in batch)}}}"
    data = ",".join('"' + event.data_json.decode().replace("\\", "\\\\").replace('"', '\\"') + '"' for event in batch)
    texts = [plain(name) for name in ("source", "id", "type", "subject")]
    return [times, received, plain("key"), plain("digest"), *texts, f"{{{data}}}"]


@contextmanager
def _web_server(folder: Path) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    workers = ["--workers", str(WEB_WORKERS), "--blocking-threads", "4"]

    def is_healthy() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    with ProcessSupervisor(folder / "logs") as supervisor:
        supervisor.start("web", [*command, *workers, "config.wsgi:application"], env=dict(os.environ), ready=is_healthy)
        yield port


def _bench_windows(console: Console) -> None:
    """Aggregation of all that the rounds stored, and its proof."""
    started = time.perf_counter()
    advance = operations.catch_up_windows(now=clock.now())
    seconds = time.perf_counter() - started
    hour = clock.now().replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    if differing := list(queries.verify_windows(hour - timedelta(days=2), hour)):
        raise AssertionError(f"{len(differing)} windows differ from their events: the figure does not count")
    console.print(
        f"aggregation: {seconds / advance.events * 1e6:.1f} us an event with {len(METERS)} meters "
        f"({advance.events:,} events, {advance.windows:,} window changes, all proved)"
    )


def _bench_import(console: Console, folder: Path) -> None:
    peaks = []
    for rows in IMPORT_ROWS:
        path = folder / f"import-{rows}.csv"
        _write_csv(path, rows)
        started = time.perf_counter()
        peak = _import_peak_megabytes(path)
        seconds = time.perf_counter() - started
        peaks.append(peak)
        console.print(f"import_usage of {rows:,} rows: {rows / seconds:,.0f} rows/s, peak memory {peak:.0f} MB")
    console.print(f"peak memory, {IMPORT_ROWS[1] // IMPORT_ROWS[0]} times the rows: {peaks[1] / peaks[0]:.2f} times")


def _write_csv(path: Path, rows: int) -> None:
    start = datetime.now(tz=UTC) - timedelta(days=20)
    with path.open("w") as file:
        file.write("at,customer,tokens\n")
        for number in range(rows):
            file.write(
                f"{(start + timedelta(seconds=number)).isoformat()},{CUSTOMERS[number % 1_000]},{number % 900}\n"
            )


def _import_peak_megabytes(path: Path) -> float:
    """Run the command in a process of its own and return the most memory it held."""
    options = ["--map", "time=at", "--subject-column", "customer", "--map", "data.input_tokens=tokens"]
    command = [sys.executable, "manage.py", "import_usage", str(path), *options, "--set", "type=llm.request"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ)
    output: list[bytes] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: output.append(process.stdout.read() if process.stdout else b""))
    reader.start()
    _, status, usage = os.wait4(process.pid, 0)
    reader.join()
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise AssertionError(f"the import ended with {process.returncode}: {output}")
    kilobytes = usage.ru_maxrss / 1024 if sys.platform == "darwin" else usage.ru_maxrss
    return kilobytes / 1024
