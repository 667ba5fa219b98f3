"""Where ingest's time goes: CPU by kind of process, stages of one request, bytes on disk, and memory."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from django.db import connection
from rich.console import Console

from config import clock
from metering import admission, event_store
from metering.events import decode_batch
from metering.operations.ingest import dedupe_horizon
from tests.bench.ingest_sides import HTTP_CONNECTIONS, http_shipment, make_load, send

CPU_BATCHES, STAGE_BATCHES = 96, 40
_PROC = Path("/proc")


def tell_cpu(console: Console, folder: Path, key: str, port: int) -> None:
    """CPU microseconds an event, by kind of process: they add up to what the cores can take, whatever else runs."""
    if not _PROC.is_dir():
        console.print("CPU by process: only where there is /proc")
        return
    load = make_load(CPU_BATCHES)
    shipments = http_shipment(port, load.requests(key), b'"accepted":', HTTP_CONNECTIONS)
    before = _cpu_seconds(port)
    sent = send(folder, shipments)
    each: defaultdict[str, float] = defaultdict(float)
    for process, seconds in _cpu_seconds(port).items():
        each[process[1]] += (seconds - before.get(process, 0)) / load.events * 1e6
    console.print(
        f"CPU an event: web {each['web']:.1f} us, PostgreSQL {each['postgres']:.1f} us, "
        f"senders {sent.sender_cpu / load.events * 1e6:.1f} us"
    )
    console.print(f"peak memory of a web worker: {_peak_megabytes(port):.0f} MB")


def _processes() -> Iterator[tuple[Path, str]]:
    for folder in _PROC.glob("[0-9]*"):
        try:
            yield folder, (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it has ended
            continue


def _cpu_seconds(port: int) -> dict[tuple[str, str], float]:
    """CPU seconds so far of each process of the web server and of PostgreSQL, by its number and kind."""
    seconds = {}
    for folder, command in _processes():
        kind = "postgres" if command.startswith("postgres: ") else "web" if f"--port {port} " in command else ""
        if kind:
            user, system = (folder / "stat").read_text().rsplit(")", 1)[1].split()[11:13]
            seconds[folder.name, kind] = (int(user) + int(system)) / 100
    return seconds


def _peak_megabytes(port: int) -> float:
    peaks = [
        int(line.split()[1]) / 1024
        for folder, command in _processes()
        if f"--port {port} " in command
        for line in (folder / "status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return max(peaks)


def tell_stages(console: Console) -> None:
    """What one process spends on each stage of a batch, one batch after another."""
    spent: defaultdict[str, float] = defaultdict(float)
    load = make_load(STAGE_BATCHES)
    bodies = [request.partition(b"\r\n\r\n")[2] for request in load.requests("")]
    with ExitStack() as stack:
        for name in ("read_gate", "_copy", "_key_rows", "_event_rows"):
            stack.enter_context(_timing(event_store, name, spent))
        for body in bodies:
            _ingest(body, spent)
    spent["check and hash"] -= spent["read_gate"]
    spent["BEGIN, COMMIT"] -= spent["_copy"] + spent["_key_rows"] + spent["_event_rows"]
    shares = ", ".join(f"{stage.strip('_')} {seconds / load.events * 1e6:.2f}" for stage, seconds in spent.items())
    console.print(f"stages, us an event on the clock: {shares}")


def _ingest(body: bytes, spent: defaultdict[str, float]) -> None:
    now = clock.now()
    started = time.perf_counter()
    events = decode_batch(body)
    decoded = time.perf_counter()
    batch = admission.sort_batch(events, received_at=now, oldest=dedupe_horizon(now))
    checked = time.perf_counter()
    admission.store_batch(batch, received_at=now)
    stored = time.perf_counter()
    if len(batch.admitted) != len(events) or batch.outcomes:
        raise AssertionError("a batch was not accepted: the figure does not count")
    spent["decode"] += decoded - started
    spent["check and hash"] += checked - decoded
    spent["BEGIN, COMMIT"] += stored - checked


@contextmanager
def _timing(module: object, name: str, spent: defaultdict[str, float]) -> Iterator[None]:
    """Add up what a function takes while the block runs."""
    function: Callable[..., object] = getattr(module, name)

    def timed(*args: object, **kwargs: object) -> object:
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] += time.perf_counter() - started

    setattr(module, name, timed)
    try:
        yield
    finally:
        setattr(module, name, function)


def tell_disk(console: Console) -> None:
    """Bytes an event, of all that the benchmark stored."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_event")
        (events,) = cursor.fetchone()
        cursor.execute(
            "SELECT sum(pg_table_size(c.oid)), sum(pg_indexes_size(c.oid)) FROM pg_inherits AS i"
            " JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = 'metering_event'::regclass"
        )
        event_bytes, event_index_bytes = cursor.fetchone()
        cursor.execute(
            "SELECT pg_table_size('metering_event_key'), pg_indexes_size('metering_event_key')",
        )
        key_bytes, key_index_bytes = cursor.fetchone()
    console.print(
        f"bytes an event on disk: rows {event_bytes / events:.0f} + indexes {event_index_bytes / events:.0f}, "
        f"keys {key_bytes / events:.0f} + index {key_index_bytes / events:.0f} ({events:,} events)"
    )
