"""Ingest over HTTP beside the same rows by bare SQL, by COPY, and by Django REST framework; and where the time goes.

All sides send from processes of their own. Rounds alternate, so that all sides meet the machine in the same moods; what
is quoted is the median of the rounds' ratios. A round counts only if its rows are found afterwards, a key for each.
"""

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from config.api_keys.models import ApiKey
from tests.bench import ingest_profile, senders
from tests.bench.ingest_sides import (
    BATCH,
    HTTP_CONNECTIONS,
    Load,
    http_shipment,
    make_load,
    prepare,
    send,
    sql_shipments,
    stored_events,
    web_server,
)

ROUNDS, BATCHES = 5, 96
REPEATED = 20  # one batch in so many is sent again
DRF_BATCHES = 16  # it is slow; its rate does not depend on how much is sent
SINGLES = 2_000
ACCEPTED = b'"accepted":%d'
Side = Callable[[Load], Sequence[senders.Shipment]]


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
    prepare()
    _, key = ApiKey.objects.create_key(name="bench", scopes=["usage:write"])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(web_server(folder))
        bare = stack.enter_context(web_server(folder, "tests.bench.bare_ingest:application"))
        _bench_batches(console, folder, _batch_sides(str(key), ours, bare))
        _bench_singles(console, folder, str(key), ours, bare)
        ingest_profile.tell_cpu(console, folder, str(key), ours)
    ingest_profile.tell_stages(console)
    ingest_profile.tell_disk(console)


def _batch_sides(key: str, ours: int, bare: int) -> dict[str, tuple[int, Side]]:
    """Each side's name, how many batches it sends, and what it sends."""

    def over_http(port: int, path: str = "", key: str = key) -> Side:
        def ship(load: Load) -> Sequence[senders.Shipment]:
            requests = load.requests(key, path) if path else load.requests(key)
            return http_shipment(port, requests, ACCEPTED % BATCH, HTTP_CONNECTIONS)

        return ship

    def with_repeats(load: Load) -> Sequence[senders.Shipment]:
        """One batch in twenty is sent again, a little after it was sent first, as after a time-out."""
        requests = load.requests(key)
        for place in range(len(requests) - REPEATED, 0, -REPEATED):
            requests.insert(place + HTTP_CONNECTIONS, requests[place])
        return http_shipment(ours, requests, b'"refused":0', HTTP_CONNECTIONS)

    return {
        "ours over HTTP": (BATCHES, over_http(ours)),
        "ours, 1 batch in 20 sent twice": (BATCHES, with_repeats),
        "INSERT … SELECT FROM unnest, literals joined": (BATCHES, lambda load: sql_shipments("unnest", load.rows())),
        "INSERT … SELECT FROM unnest, literals made before": (
            BATCHES,
            lambda load: sql_shipments("unnest", [senders.literals(rows) for rows in load.rows()]),
        ),
        "COPY, made of tuples": (BATCHES, lambda load: sql_shipments("copy", load.rows())),
        "COPY, made before": (
            BATCHES,
            lambda load: sql_shipments("copy", [senders.copy_blocks(rows) for rows in load.rows()]),
        ),
        "DRF serializer and bulk_create": (DRF_BATCHES, over_http(bare, "/bulk", "")),
    }


def _bench_batches(console: Console, folder: Path, sides: Mapping[str, tuple[int, Side]]) -> None:
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):  # the first one warms up
        for name in list(sides)[:: 1 if number % 2 else -1]:
            batches, ship = sides[name]
            load = make_load(batches)
            before = stored_events()
            sent = send(folder, ship(load))
            if (stored := stored_events() - before) != load.events:
                raise AssertionError(f"{name}: {stored:,} rows found, {load.events:,} sent: the figure does not count")
            if number:
                rates[name].append(load.events / sent.seconds)
    ours = rates["ours over HTTP"]
    table = Table(title=f"Batches of {BATCH:,}: medians of {ROUNDS} alternating rounds")
    for heading in ("", "events/s", "ours against it (least to most)"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, figures in rates.items():
        ratios = [a / b for a, b in zip(ours, figures, strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        table.add_row(name, f"{statistics.median(figures):,.0f}", spread)
    console.print(table)
    repeats = [b / a for a, b in zip(ours, rates["ours, 1 batch in 20 sent twice"], strict=True)]
    console.print(f"5 % repeated batches: {statistics.median(repeats):.2f} of the clean stream, in new events a second")


def _bench_singles(console: Console, folder: Path, key: str, ours: int, bare: int) -> None:
    """One event a request, beside a view that answers at once and beside one row at a time by bare SQL."""
    sides: dict[str, Side] = {
        "ours": lambda load: http_shipment(ours, load.requests(key), ACCEPTED % 1, HTTP_CONNECTIONS),
        "a view that does nothing": lambda load: http_shipment(
            bare, load.requests("", "/nothing"), b"accepted", HTTP_CONNECTIONS
        ),
        "one row by INSERT": lambda load: sql_shipments("unnest", load.rows()),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            load = make_load(SINGLES, 1)
            sent = send(folder, sides[name](load))
            if number:
                rates[name].append(SINGLES / sent.seconds)
    for name, figures in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rates["ours"], figures, strict=True))
        console.print(f"one event a request, {name}: {statistics.median(figures):,.0f}/s; ours is {ratio:.2f} of it")
