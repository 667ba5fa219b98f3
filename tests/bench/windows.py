"""What aggregation costs an event and whether history makes it dearer, against the bare statement that only adds up.

The bare side is `INSERT … SELECT … GROUP BY … ON CONFLICT DO UPDATE` over the same events: no fingerprint, no check of
values, no record of what was excluded. Rounds alternate; figures are the server's CPU time, by the kernel's count of
the backend. History is made by the server itself.
"""

import os
import resource
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from django.db import connection
from rich.console import Console

from config import clock
from metering import operations, queries

HISTORIES = tuple(int(number) for number in os.environ.get("BENCH_HISTORIES", "1000000,10000000").split(","))
CUSTOMERS, HISTORY_DAYS, CHUNK, ROUNDS = 1_000, 90, 100_000, 5
MEASURES = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens")
_TICK = os.sysconf("SC_CLK_TCK")

_EVENTS = """
INSERT INTO metering_event (event_time, received_at, key, source, event_id, event_type, customer_key, data)
SELECT %(start)s + mod((i - %(first)s) * %(stride)s, %(count)s) * %(span)s::interval / %(count)s, %(now)s,
       md5(%(kind)s || i)::uuid, 'edge/us-east-1', 'bench-' || lpad(i::text, 24, '0'), %(kind)s,
       'bench-' || lpad(mod(i, %(customers)s)::text, 4, '0'),
       jsonb_build_object('model', 'claude-sonnet-5', 'input_tokens', mod(i, 5000), 'output_tokens', mod(i, 700),
                          'cache_write_tokens', 0, 'cache_read_tokens', mod(i, 90))
  FROM generate_series(%(from)s::bigint, %(to)s::bigint) AS i
"""
# What keeps neighbours apart, so that new events come in no order of time. History comes in order.
_SCATTER = 7_919
_BARE_TABLE = """
CREATE TEMPORARY TABLE bare_window (
    window_start timestamptz, customer_key text, meter text, model text, quantity numeric, event_count bigint,
    PRIMARY KEY (window_start, customer_key, meter, model)
)
"""
_BARE_HISTORY = """
INSERT INTO bare_window
SELECT w.window_start, w.customer_key, m.code, coalesce(w.dimensions ->> 'model', ''), w.quantity, w.event_count
  FROM metering_window AS w JOIN metering_meter AS m ON m.id = w.meter_id
"""
_BARE = """
INSERT INTO bare_window AS w
SELECT date_trunc('hour', event_time, 'UTC'), customer_key, meter, data ->> 'model',
       sum((data ->> measure)::numeric), count(*)
  FROM metering_event JOIN (VALUES {meters}) AS m (meter, measure) ON true
 WHERE recorded_xid >= %(start)s AND recorded_xid < %(end)s
 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (window_start, customer_key, meter, model) DO UPDATE
   SET quantity = w.quantity + excluded.quantity, event_count = w.event_count + excluded.event_count
"""


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
    for meters in (1, 4):
        for measure in MEASURES[:meters]:
            operations.define_meter(
                code=f"{measure}_{meters}",
                event_type=f"bench.{meters}",
                value_path=f"data.{measure}",
                aggregation="sum",
                dimensions=["model"],
                unit="token",
            )
    with connection.cursor() as cursor:
        cursor.execute(_BARE_TABLE)
    made, medians = 0, {}
    for history in HISTORIES:
        made = _make_history(made, history)
        for meters in (1, 4):
            medians[history, meters] = _measure(console, history, meters)
        _measure_reading(console, history)
    _verify(console)
    for meters in (1, 4):
        small, large = (medians[history, meters] for history in (HISTORIES[0], HISTORIES[-1]))
        console.print(
            f"{meters} meter(s), {HISTORIES[-1] // HISTORIES[0]} times the history: {large / small:.2f} times the CPU"
        )
    console.print(
        f"memory: backend {_backend_peak_megabytes():.0f} MB, "
        f"client {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most"
    )


def _make_history(made: int, wanted: int) -> int:
    days = timedelta(days=HISTORY_DAYS)
    _insert("bench.1", made, wanted - made, _today() - days, days)
    operations.catch_up_windows(now=clock.now())
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE metering_event, metering_window")
        cursor.execute("TRUNCATE bare_window")
        cursor.execute(_BARE_HISTORY)
        cursor.execute("ANALYZE bare_window")
    return wanted


_numbers = {"bench.1": 10**9, "bench.4": 2 * 10**9}


def _measure(console: Console, history: int, meters: int) -> float:
    """The median CPU microseconds an event of the advance, over rounds in which both sides take the same events."""
    ours, bare, wall = [], [], []
    kind = f"bench.{meters}"
    pairs = ", ".join(f"('{measure}_{meters}', '{measure}')" for measure in MEASURES[:meters])
    for number in range(ROUNDS + 1):  # the first one warms up
        _insert(kind, _numbers[kind], CHUNK, _today() - timedelta(hours=2), timedelta(hours=2), stride=_SCATTER)
        _numbers[kind] += CHUNK
        reach = _reach()
        sides: list[Callable[[], None]] = [_advance, partial(_add_up, pairs, reach)]
        costs = [_cost(side) for side in (sides if number % 2 else sides[::-1])]
        (cpu, seconds), (bare_cpu, _) = costs if number % 2 else costs[::-1]
        if number:
            ours.append(cpu)
            wall.append(seconds)
            bare.append(bare_cpu)
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    console.print(
        f"aggregation, {meters} meter(s), {history:,} events of history: {statistics.median(ours):.2f} us CPU an event "
        f"({statistics.median(wall):.2f} us wall); bare statement {statistics.median(bare):.2f} us; "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    return statistics.median(ours)


def _advance() -> None:
    advance = operations.catch_up_windows(now=clock.now())
    if advance.events != CHUNK:
        raise AssertionError(f"{advance.events:,} events taken, {CHUNK:,} recorded: the figure does not count")


def _add_up(pairs: str, reach: dict[str, int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET jit = off")
        cursor.execute("SET work_mem = '64MB'")
        cursor.execute(_BARE.format(meters=pairs), reach)


def _reach() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT next_xid FROM metering_cursor")
        (start,) = cursor.fetchone()
    return {"start": start, "end": 2**62}


def _insert(kind: str, first: int, count: int, start: datetime, span: timedelta, *, stride: int = 1) -> None:
    """Events numbered from `first` on, evenly over the span; aggregated as they come, when there are many."""
    values: dict[str, Any] = {
        "kind": kind,
        "first": first,
        "count": count,
        "start": start,
        "span": span,
        "stride": stride,
    }
    for offset in range(first, first + count, CHUNK):
        last = min(offset + CHUNK, first + count) - 1
        with connection.cursor() as cursor:
            cursor.execute(_EVENTS, {**values, "from": offset, "to": last, "customers": CUSTOMERS, "now": clock.now()})
        if count > CHUNK:
            operations.catch_up_windows(now=clock.now())


def _measure_reading(console: Console, history: int) -> None:
    end = _today()
    times = []
    for number in range(50):
        started = time.perf_counter()
        rows = queries.usage(
            f"bench-{number:04}",
            "input_tokens_1",
            end - timedelta(days=30),
            end,
            window_size="total",
            group_by=["model"],
        )
        times.append((time.perf_counter() - started) * 1_000)
        if len(rows) != 1 or rows[0].quantity <= Decimal(0):
            raise AssertionError(f"{rows}: the figure does not count")
    console.print(
        f"one customer's month by usage(), {history:,} events of history: {statistics.median(times):.2f} ms "
        f"(the slowest of 50 customers: {max(times):.2f} ms)"
    )


def _verify(console: Console) -> None:
    days = 10
    start = _today() - timedelta(days=40)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM metering_event WHERE event_time >= %s AND event_time < %s",
            [start, start + timedelta(days=days)],
        )
        (events,) = cursor.fetchone()
    started = time.perf_counter()
    if differing := list(queries.verify_windows(start, start + timedelta(days=days))):
        raise AssertionError(f"{len(differing)} windows differ from their events: the figures do not count")
    seconds = time.perf_counter() - started
    hour = _today() - timedelta(hours=3)
    if differing := list(queries.verify_windows(hour, hour + timedelta(hours=6))):
        raise AssertionError(f"{len(differing)} new windows differ from their events: the figures do not count")
    console.print(f"verify_windows: {seconds / events * 1e6:.1f} s per million events ({events:,} events proved)")


def _cost(side: Callable[[], Any]) -> tuple[float, float]:
    """CPU and wall microseconds an event of a chunk."""
    cpu, started = _backend_cpu_seconds(), time.perf_counter()
    side()
    wall = time.perf_counter() - started
    return (_backend_cpu_seconds() - cpu) / CHUNK * 1e6, wall / CHUNK * 1e6


def _backend() -> Path:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return Path(f"/proc/{cursor.fetchone()[0]}")


def _backend_cpu_seconds() -> float:
    fields = (_backend() / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _backend_peak_megabytes() -> float:
    status = (_backend() / "status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _today() -> datetime:
    return clock.now().replace(minute=0, second=0, microsecond=0)
