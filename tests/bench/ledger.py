"""
Posting against three other ways of writing entries: the bare rows, Django's ORM and django-hordak; then reading.

Rounds alternate, so that all sides meet the machine in the same moods; what is quoted is the median of the rounds'
ratios. A figure counts only if afterwards every entry is found and the journal is in balance.
"""

import multiprocessing
import os
import statistics
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg
from rich.console import Console
from rich.table import Table

from ledger import queries
from ledger.operations import AccountSpec, open_accounts
from tests.bench import ledger_reads
from tests.bench import ledger_sides as sides

ROUNDS = 5
SIZES = (1, 100, 1_000, 5_000)
CONNECTIONS = (1, 2)
# Entries a connection writes in one round, by the size of its batches.
LEDGER_ENTRIES = {1: 300, 100: 8_000, 1_000: 16_000, 5_000: 20_000}
ORM_ENTRIES = {1: 150, 100: 400}
HORDAK_ENTRIES = {1: 150, 1_000: 3_000}
GROUPED_ENTRIES = 4_000
SPREAD, HOT, WITH_SYSTEM, HOT_SYSTEM = sides.WORKLOADS


@dataclass(frozen=True)
class Cell:
    """One figure: a side that writes batches of `size` over `connections` connections."""

    side: str
    workload: str
    connections: int
    size: int

    @property
    def entries(self) -> int:
        """Per connection and round."""
        counts = {"orm": ORM_ENTRIES, "hordak": HORDAK_ENTRIES, "grouped": {1: GROUPED_ENTRIES}}
        return counts.get(self.side, LEDGER_ENTRIES)[self.size]


Processes = dict[str, list[ProcessPoolExecutor]]
# Entries a second of each cell, round by round.
Rates = dict[Cell, list[float]]


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
    _make_tables()
    cells = _cells()
    with _processes({cell.side for cell in cells}) as processes:
        rates = measure(cells, processes, ROUNDS)
    _require_all_written(rates)
    _print_rates(console, rates)
    _print_ratios(console, rates)
    ledger_reads.run(console)


def _cells() -> list[Cell]:
    cells = [Cell("grouped", WITH_SYSTEM, 1, 1)]
    for connections in CONNECTIONS:
        for size in SIZES:
            cells += [Cell("ledger", workload, connections, size) for workload in sides.WORKLOADS]
            cells += [Cell("limit", workload, connections, size) for workload in (SPREAD, WITH_SYSTEM)]
        cells += [Cell("orm", SPREAD, connections, size) for size in ORM_ENTRIES]
        cells += [Cell("hordak", SPREAD, connections, size) for size in HORDAK_ENTRIES]
    return cells


def _make_tables() -> None:
    """The accounts of all workloads, and copies of the three tables without a trigger for the sides that need none."""
    codes = {sides.HOT, *(sides.customer(process, number) for process in (0, 1) for number in range(sides.ACCOUNTS))}
    system = {sides.HOT_SYSTEM, *(f"bench:system:{n}" for n in range(sides.SYSTEM_ACCOUNTS))}
    open_accounts(
        # As many kinds as a chart has: with one or two, the planner takes the index by kind for one of a few codes.
        [AccountSpec(code, f"kind {n % 6}", "USD", "D", "bench") for n, code in enumerate(sorted(codes))]
        + [
            AccountSpec(code, f"system kind {n % 20}", "USD", "C", keeps_balance=False)
            for n, code in enumerate(sorted(system))
        ]
    )
    application = psycopg.conninfo.conninfo_to_dict(os.environ["DATABASE_URL"])["user"]
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("DROP SCHEMA IF EXISTS bench CASCADE")
        owner.execute("DROP SCHEMA IF EXISTS hordak CASCADE")
        owner.execute("CREATE SCHEMA bench")
        for table in ("ledger_account", "ledger_journalentry", "ledger_posting"):
            owner.execute(f"CREATE TABLE bench.{table} (LIKE public.{table} INCLUDING ALL)")
        owner.execute("INSERT INTO bench.ledger_account SELECT * FROM public.ledger_account")
        owner.execute("UPDATE bench.ledger_account SET balance = 0, version = 0")
        owner.execute(f"GRANT USAGE ON SCHEMA bench TO {application}")
        owner.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA bench TO {application}")
        owner.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA bench TO {application}")
        owner.execute("VACUUM ANALYZE")
        owner.execute("CREATE SCHEMA hordak")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(sides.migrate_hordak, os.environ["DATABASE_OWNER_URL"]).result()


@contextmanager
def _processes(names: Iterable[str]) -> Iterator[Processes]:
    """Two processes of each side, each with its own connection, made and warm before anything is timed."""
    with ExitStack() as stack:
        yield {
            name: [
                stack.enter_context(
                    ProcessPoolExecutor(
                        1,
                        mp_context=multiprocessing.get_context("spawn"),
                        initializer=sides.make_side,
                        initargs=(name, number),
                    )
                )
                for number in range(max(CONNECTIONS))
            ]
            for name in names
        }


def measure(cells: list[Cell], processes: Processes, rounds: int) -> Rates:
    rates: Rates = {cell: [] for cell in cells}
    for number in range(rounds + 1):  # the first one warms up
        for cell in cells if number % 2 else cells[::-1]:
            rate = _rate(cell, processes[cell.side][: cell.connections])
            if number:
                rates[cell].append(rate)
    return rates


def _rate(cell: Cell, pools: list[ProcessPoolExecutor]) -> float:
    batches = cell.entries // cell.size
    for prepared in [pool.submit(sides.prepare, cell.workload, batches, cell.size) for pool in pools]:
        prepared.result()
    spans = [written.result() for written in [pool.submit(sides.write) for pool in pools]]
    seconds = max(ended for _, ended in spans) - min(started for started, _ in spans)
    return batches * cell.size * cell.connections / seconds


def _require_all_written(rates: Rates) -> None:
    def expected(*names: str) -> int:
        written = [cell.entries * cell.connections for cell in rates if cell.side in names]
        return (ROUNDS + 1) * sum(written)

    with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as owner:
        found: dict[tuple[str, ...], int] = {
            ("ledger", "grouped"): _count(owner, "public.ledger_journalentry WHERE actor = 'system:bench'"),
            ("limit", "orm"): _count(owner, "bench.ledger_journalentry"),
            ("hordak",): _count(owner, "hordak.hordak_transaction"),
        }
    for names, entries in found.items():
        if entries != expected(*names):
            raise AssertionError(f"{names}: {entries:,} entries found, {expected(*names):,} written: nothing counts")
    if queries.out_of_balance() or queries.accounts_out_of_step():
        raise AssertionError("the journal is not in balance: nothing counts")


def _count(owner: psycopg.Connection, rows: str) -> int:
    row = owner.execute(f"SELECT count(*) FROM {rows}").fetchone()
    assert row is not None
    return int(row[0])


def _print_rates(console: Console, rates: Rates) -> None:
    table = Table(title=f"Entries a second, each of two lines (medians of {ROUNDS} alternating rounds; us an entry)")
    for heading in ("way", "accounts", "connections", *(f"batches of {size:,}" for size in SIZES)):
        table.add_column(heading, justify="right" if heading.startswith("batch") else "left")
    rows: dict[tuple[str, str, int], dict[int, float]] = {}
    for cell, measured in rates.items():
        rows.setdefault((cell.side, cell.workload, cell.connections), {})[cell.size] = statistics.median(measured)
    for (side, workload, connections), by_size in sorted(rows.items()):
        cells = [f"{by_size[size]:,.0f} ({1e6 / by_size[size]:,.1f})" if size in by_size else "" for size in SIZES]
        table.add_row(side, workload, str(connections), *cells)
    console.print(table)


def _print_ratios(console: Console, rates: Rates) -> None:
    table = Table(title="Ratios: median of the rounds (least to most)")
    for heading in ("what", "connections", "ratio", "aim"):
        table.add_column(heading)
    for what, connections, ours, other, aim in _comparisons(rates):
        ratios = [one / two for one, two in zip(rates[ours], rates[other], strict=True)]
        shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        table.add_row(what, str(connections), shown, aim)
    console.print(table)


def _comparisons(rates: Rates) -> Iterator[tuple[str, int, Cell, Cell, str]]:
    def ledger(workload: str, size: int) -> Cell:
        return Cell("ledger", workload, connections, size)

    for connections in CONNECTIONS:
        for size in SIZES:
            for workload in (SPREAD, WITH_SYSTEM):
                limit = Cell("limit", workload, connections, size)
                aim = "≥ 0.5" if size == 1_000 else ""
                what = f"batches of {size:,}, {workload} / rows without logic"
                yield what, connections, ledger(workload, size), limit, aim
        for size in SIZES:
            aims = ("≥ 0.5", "≥ 0.9") if size > 1 else ("", "≥ 0.9")
            hot, spread = ledger(HOT, size), ledger(SPREAD, size)
            yield f"batches of {size:,}: {HOT} / {SPREAD}", connections, hot, spread, aims[0]
            yield (
                f"batches of {size:,}: {HOT_SYSTEM} / {WITH_SYSTEM}",
                connections,
                ledger(HOT_SYSTEM, size),
                ledger(WITH_SYSTEM, size),
                aims[1],
            )
        for size, aim in ((1, "≥ 5"), (100, "")):
            orm = Cell("orm", SPREAD, connections, size)
            yield f"batches of {size:,} / Django's ORM", connections, ledger(SPREAD, size), orm, aim
        bulk, transfer = (Cell("hordak", SPREAD, connections, size) for size in (1_000, 1))
        yield "batches of 1,000 / hordak bulk_create", connections, ledger(SPREAD, 1_000), bulk, "≥ 4"
        yield "batches of 1,000 / hordak transfer_to", connections, ledger(SPREAD, 1_000), transfer, "≥ 30"
        yield "one a commit / hordak transfer_to", connections, ledger(SPREAD, 1), transfer, ""
    grouped = Cell("grouped", WITH_SYSTEM, 1, 1)
    yield f"{sides.CALLERS} callers grouped / one a commit", 1, grouped, Cell("ledger", WITH_SYSTEM, 1, 1), "≥ 2"
