"""Eight senders, time-outs, retries, repeats, contradictions, and `kill -9` of whatever serves them: counted once each.

`make bench ARGS=storm`; STORM_EVENTS (a million) and STORM_SEED say how much and which. The senders' own sums are the
judge: the figures count only if events, identities and windows equal them.
"""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from django.db import connection
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from config import clock
from config.api_keys.models import LIMIT_MAX, ApiKey
from config.stack import ProcessSupervisor
from metering import operations, queries
from tests.bench.storm_clients import (
    CUSTOMERS,
    EVENT_TYPE,
    HOURS,
    METER,
    Client,
    StormFailed,
    Sums,
    Weather,
    WindowKey,
    shared_event,
    wait_for,
)
from tests.bench.storm_machine import Machine, logs_of

CLIENTS = 8
EVENTS = int(os.environ.get("STORM_EVENTS", "1000000"))
SEED = int(os.environ.get("STORM_SEED", "20261122"))
EVENTS_PER_KILL = 20_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found when the storm was over. Numbers of events."""

    acknowledged: int
    abandoned: int
    abandoned_and_stored: int
    stored: int
    identities: int
    in_windows: int
    quantity: Decimal
    windows: int
    figures: Mapping[str, int]
    kills: Mapping[str, int]
    seconds: float
    catch_up_seconds: float


def run(console: Console) -> None:
    """Print the table. Needs a migrated database and Django's settings loaded."""
    with tempfile.TemporaryDirectory() as folder, ProcessSupervisor(Path(folder) / "logs") as processes:
        outcome = storm(processes, events=EVENTS, seed=SEED, kills=max(4, EVENTS // EVENTS_PER_KILL), console=console)
    _print(console, outcome)


def storm(
    processes: ProcessSupervisor,
    *,
    events: int,
    seed: int,
    kills: int,
    console: Console | None = None,
) -> Outcome:
    """Let it rage and judge it. Raises StormFailed with what does not add up.

    `events` are the senders' distinct ones. So many kills happen as their number is acknowledged, at random.
    """
    operations.register_subjects(CUSTOMERS)
    operations.define_meter(
        code=METER,
        event_type=EVENT_TYPE,
        value_path="data.tokens",
        aggregation="sum",
        dimensions=["model"],
        unit="token",
    )
    _, key = ApiKey.objects.create_key(
        name="storm", scopes=["usage:write"], events_per_second=LIMIT_MAX, events_burst=LIMIT_MAX
    )
    machine = Machine(processes, Random(f"{seed}:kills"))
    machine.start()
    start = clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS + 2)
    weather = Weather(machine.web.port, str(key), seed, start, events // CLIENTS)
    clients = [Client(weather, number) for number in range(CLIENTS)]
    began = time.perf_counter()
    try:
        moments = Random(f"{seed}:moments").sample(range(int(events * 0.8)), kills)
        _rage(machine, clients, events, moments, console)
        seconds = time.perf_counter() - began
        operations.catch_up_windows(now=clock.now())
        catch_up_seconds = time.perf_counter() - began - seconds
        return _judge(weather, clients, machine.kills, seconds, catch_up_seconds)
    except StormFailed as failure:
        raise StormFailed(f"{failure}\n{logs_of(processes.log_directory)}") from failure


def _rage(
    machine: Machine,
    clients: Sequence[Client],
    events: int,
    moments: Sequence[int],
    console: Console | None,
) -> None:
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
    task = bar.add_task("acknowledged", total=events)

    def progress(seconds: float) -> int | None:
        if wait_for(clients, seconds=seconds):
            return None
        acknowledged = sum(client.acknowledged for client in clients)
        bar.update(task, completed=acknowledged)
        return acknowledged

    with bar if console is not None else nullcontext():
        for client in clients:
            client.start()
        machine.rage(moments=moments, progress=progress)


def _judge(
    weather: Weather, clients: Sequence[Client], kills: Mapping[str, int], seconds: float, catch_up_seconds: float
) -> Outcome:
    stored = _stored_ids()
    if repeated := len(stored) - len(set(stored)):
        raise StormFailed(f"{repeated} events are stored twice")
    expected, abandoned_and_stored = _expected(weather, clients, set(stored))
    if lost := expected.count.total() - len(stored):
        raise StormFailed(f"{lost} acknowledged events are not stored (below zero: stored and never sent)")
    windows = _windows()
    if wrong := _differing(expected, windows):
        raise StormFailed(f"{len(wrong)} windows differ from what the senders know: {wrong[:3]}")
    until = weather.start + timedelta(hours=HOURS + 3)
    if differing := list(queries.verify_windows(weather.start, until)):
        raise StormFailed(f"{len(differing)} windows differ from their events: {differing[:3]}")
    identities = _count("SELECT count(*) FROM metering_event_key")
    if identities != len(stored):
        raise StormFailed(f"{identities} identities for {len(stored)} events")
    contradicted = set().union(*(client.contradicted for client in clients))
    if (conflicts := _count("SELECT count(DISTINCT key) FROM metering_eventconflict")) != len(contradicted):
        raise StormFailed(f"{conflicts} events have conflicts, {len(contradicted)} were contradicted")
    return Outcome(
        acknowledged=len(stored) - abandoned_and_stored,
        abandoned=sum(len(client.abandoned) for client in clients),
        abandoned_and_stored=abandoned_and_stored,
        stored=len(stored),
        identities=identities,
        in_windows=sum(count for count, _ in windows.values()),
        quantity=sum(expected.quantity.values(), Decimal(0)),
        windows=len(windows),
        figures=sum((client.figures for client in clients), Counter()),
        kills=kills,
        seconds=seconds,
        catch_up_seconds=catch_up_seconds,
    )


def _expected(weather: Weather, clients: Sequence[Client], stored: set[tuple[str, str]]) -> tuple[Sums, int]:
    """What has to be stored: everything acknowledged, and of what nobody ever confirmed that which is there."""
    sums, unconfirmed = Sums(), 0
    for client in clients:
        sums.add_all(client.sums)
        for event in client.abandoned.values():
            if (event["source"], event["id"]) in stored:
                sums.add(event)
                unconfirmed += 1
    acknowledged = set().union(*(client.shared_acknowledged for client in clients))
    for number in range(max(client.shared_made for client in clients)):
        event = shared_event(weather, number)
        if number in acknowledged:
            sums.add(event)
        elif (event["source"], event["id"]) in stored:
            sums.add(event)
            unconfirmed += 1
    return sums, unconfirmed


def _differing(expected: Sums, windows: Mapping[WindowKey, tuple[int, Decimal]]) -> list[Any]:
    known = {window: (count, expected.quantity[window]) for window, count in expected.count.items()}
    return [
        (window, known.get(window), windows.get(window))
        for window in sorted(known.keys() | windows.keys())
        if known.get(window) != windows.get(window)
    ]


def _stored_ids() -> list[tuple[str, str]]:
    return [(source, event_id) for source, event_id in _rows("SELECT source, event_id FROM metering_event")]


def _windows() -> dict[WindowKey, tuple[int, Decimal]]:
    """Read past all code of ours: by SQL."""
    return {
        (hour, customer, model): (count, quantity)
        for hour, customer, model, count, quantity in _rows(
            "SELECT window_start, customer_key, dimensions->>'model', event_count, quantity FROM metering_window"
        )
    }


def _count(query: str) -> int:
    [(count,)] = _rows(query)
    return int(count)


def _rows(query: str) -> Iterable[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def _print(console: Console, outcome: Outcome) -> None:
    figures, kills = outcome.figures, outcome.kills
    table = Table(title=f"storm: {CLIENTS} senders, seed {SEED}", show_header=False)
    rows = [
        ("acknowledged, distinct", f"{outcome.acknowledged:,}"),
        ("given up unanswered, of which stored", f"{outcome.abandoned:,}, {outcome.abandoned_and_stored:,}"),
        ("stored events = identities", f"{outcome.stored:,} = {outcome.identities:,}"),
        ("events in windows", f"{outcome.in_windows:,} in {outcome.windows:,} windows, each as the senders know it"),
        ("quantity", f"{outcome.quantity:,}"),
        ("windows that differ from raw events", "0"),
        ("answers: accepted", f"{figures['accepted']:,}"),
        ("answers: duplicate, conflict", f"{figures['duplicate']:,}, {figures['conflict']:,}"),
        ("requests, unanswered, turned away", ", ".join(f"{figures[name]:,}" for name in _REQUESTS)),
        ("kill -9", ", ".join(f"{count} x {name}" for name, count in sorted(kills.items()))),
        ("seconds, then until all was in windows", f"{outcome.seconds:.0f}, {outcome.catch_up_seconds:.1f}"),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)


_REQUESTS = ("requests", "unanswered", "turned away")
