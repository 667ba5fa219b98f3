"""What history costs: ingest on ten million events right after a checkpoint, and what it costs to catch a repeated id.

After a checkpoint PostgreSQL logs each page whole when it is changed for the first time. A key that is scattered over
the index changes another page with each event; one that lies beside its neighbours does not. Three kinds of ids are
sent: in order of time, in order of a counter, at random. Keys and events are also stored apart: events alone are what a
store pays whose only identity is (time, id), and which so counts the same id with another time twice.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from config import clock
from config.api_keys.models import ApiKey
from metering import event_store
from tests.bench.ingest_sides import (
    CUSTOMERS,
    HTTP_CONNECTIONS,
    Load,
    MakeId,
    counter,
    http_shipment,
    make_load,
    prepare,
    send,
    superuser,
    uuid4_text,
    uuid7,
    web_server,
)

HISTORY = int(os.environ.get("BENCH_HISTORY_EVENTS", "10000000"))
DAYS = 40
SLICE = 500_000
ROUNDS, BATCHES = 3, 48
IDS: dict[str, MakeId] = {"UUIDv7": uuid7, "counter": counter, "UUIDv4": uuid4_text}

# As ingest would have stored them, in order of time; keys as event_keys lays them for ids of each kind in turn. No row
# of it is read: it is there to be big.
_FILL = """
WITH made AS (
    SELECT %(start)s::timestamptz + n * %(step)s::interval AS event_time, n, md5(n::text) AS hash
      FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
), kept AS (
    SELECT event_time, n, (CASE n %% 3
               WHEN 0 THEN lpad(to_hex((extract(epoch FROM event_time) * 1000)::bigint), 12, '0') || right(hash, 20)
               WHEN 1 THEN 'abc' || lpad(to_hex(n), 9, '0') || right(hash, 20)
               ELSE hash END)::uuid AS key, hash::uuid AS digest
      FROM made
), keys AS (
    INSERT INTO metering_event_key (key, event_time, digest) SELECT key, event_time, digest FROM kept ORDER BY key
)
INSERT INTO metering_event (event_time, received_at, key, source, event_id, event_type, customer_key, data)
SELECT event_time, event_time, key, 'edge/us-east-1', key::text, 'llm.request',
       'bench-' || lpad((n %% %(customers)s)::text, 5, '0'),
       jsonb_build_object('model', 'claude-sonnet-5', 'input_tokens', n %% 5000, 'output_tokens', n %% 700,
                          'cache_write_tokens', 0, 'cache_read_tokens', n %% 90)
  FROM kept
"""


@dataclass(frozen=True)
class Cost:
    """Of one round, an event: microseconds on the clock, bytes of WAL."""

    us: float
    wal: float


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
    prepare()
    _, key = ApiKey.objects.create_key(name="bench", scopes=["usage:write"])
    with tempfile.TemporaryDirectory() as name, superuser() as admin:
        folder = Path(name)
        with web_server(folder) as port:

            def ours(load: Load) -> float:
                requests = load.requests(str(key))
                return send(folder, http_shipment(port, requests, b'"accepted":1000,', HTTP_CONNECTIONS)).seconds

            empty = _measure(admin, ours)
            console.print(f"{HISTORY:,} events of {DAYS} days put in, {_fill(HISTORY):.0f} s")
            admin.execute("VACUUM (ANALYZE) metering_event, metering_event_key")  # or it would begin during a round
            full = _measure(admin, ours)
        parts = _measure_parts(admin)
    _tell(console, empty, full, parts)


def _measure(admin: psycopg.Connection, take: Callable[[Load], float]) -> dict[str, list[Cost]]:
    """Each kind of id in alternating rounds, each round right after a checkpoint; `take` returns its seconds."""
    costs: dict[str, list[Cost]] = {name: [] for name in IDS}
    for number in range(ROUNDS + 1):  # the first one warms up
        for name in list(IDS)[:: 1 if number % 2 else -1]:
            load = make_load(BATCHES, make_id=IDS[name])
            cost = _cost(admin, load, take)
            if number:
                costs[name].append(cost)
    return costs


def _cost(admin: psycopg.Connection, load: Load, take: Callable[[Load], float]) -> Cost:
    admin.execute("CHECKPOINT")
    before = _wal_position(admin)
    seconds = take(load)
    return Cost(seconds / load.events * 1e6, (_wal_position(admin) - before) / load.events)


def _measure_parts(admin: psycopg.Connection) -> dict[str, tuple[list[Cost], list[Cost]]]:
    """For each kind of id what keys and what events cost, stored apart on one connection."""

    def keys(load: Load) -> float:
        blocks = [event_store._key_rows(sorted(batch, key=lambda event: event.key)) for batch in load.checked()]
        started = time.perf_counter()
        for rows in blocks:
            event_store._copy("metering_event_key (key, event_time, digest)", rows)
        return time.perf_counter() - started

    def events(load: Load) -> float:
        batches = load.checked()
        started = time.perf_counter()
        for batch in batches:
            event_store._copy_events(batch, load.received_at)
        return time.perf_counter() - started

    costs: dict[str, tuple[list[Cost], list[Cost]]] = {name: ([], []) for name in IDS}
    for _ in range(ROUNDS):
        for name, (key_costs, event_costs) in costs.items():
            load = make_load(BATCHES, make_id=IDS[name])
            key_costs.append(_cost(admin, load, keys))
            event_costs.append(_cost(admin, load, events))
    return costs


def _wal_position(admin: psycopg.Connection) -> int:
    row = admin.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint").fetchone()
    assert row is not None
    return int(row[0])


def _fill(events: int) -> float:
    """Seconds to put a history of that many events into the tables, by the server itself."""
    started = time.perf_counter()
    end = clock.now() - timedelta(hours=3)
    start: datetime = end - timedelta(days=DAYS)
    event_store.ensure_partitions(start=start, end=end)
    values = {"start": start, "step": timedelta(days=DAYS) / events, "customers": len(CUSTOMERS)}

    def fill(first: int) -> None:
        with psycopg.connect(os.environ["DATABASE_URL"], options="-c synchronous_commit=off") as own:
            own.execute(_FILL, {**values, "first": first, "last": min(first + SLICE, events) - 1})

    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        list(pool.map(fill, range(0, events, SLICE)))
    return time.perf_counter() - started


def _tell(
    console: Console,
    empty: dict[str, list[Cost]],
    full: dict[str, list[Cost]],
    parts: dict[str, tuple[list[Cost], list[Cost]]],
) -> None:
    table = Table(title=f"Ingest over HTTP, each round right after a checkpoint: medians of {ROUNDS}")
    headings = ("ids", "empty: events/s", "WAL B an event", f"on {HISTORY:,}: events/s", "WAL B an event", "of empty")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "ids" else "right")
    for name in IDS:
        before, after = _median(empty[name]), _median(full[name])
        rates = [1e6 / before.us, 1e6 / after.us]
        table.add_row(
            name,
            f"{rates[0]:,.0f}",
            f"{before.wal:,.0f}",
            f"{rates[1]:,.0f}",
            f"{after.wal:,.0f}",
            f"{rates[1] / rates[0]:.2f}",
        )
    console.print(table)
    for name, (key_costs, event_costs) in parts.items():
        keys, events = _median(key_costs), _median(event_costs)
        console.print(
            f"{name}: an event alone {events.us:.1f} us and {events.wal:,.0f} B of WAL; "
            f"its key, which catches the id with another time, {keys.us:.1f} us and {keys.wal:,.0f} B"
        )


def _median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(cost.us for cost in costs), statistics.median(cost.wal for cost in costs))
