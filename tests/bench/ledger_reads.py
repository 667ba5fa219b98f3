"""
Reading against the length of history: an account that keeps its balance, and a system account with its snapshot.

Each has a short history and a long one, in one ledger, read in turn.
"""

import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
from django.db import connection
from rich.console import Console

from ledger import queries
from ledger.operations import AccountSpec, open_accounts
from ledger.snapshots import take_snapshots

SHORT, LONG = 1_000, 1_000_000
READS = 200
NOW = datetime(2026, 10, 1, tzinfo=UTC)
FILL_CHUNK = 10_000
FILL = """
    SELECT count(*) FROM ledger_post_entries((
        SELECT jsonb_agg(jsonb_build_object(
            'idempotency_key', %(code)s || number, 'kind', 'fill', 'memo', '', 'effective_at', '2026-10-01T00:00:00Z',
            'actor', 'system:bench', 'cause', '{}'::jsonb, 'body_digest', '\\x' || repeat('00', 32),
            'lines', jsonb_build_array(jsonb_build_array(%(code)s, '1'), jsonb_build_array(%(system)s, '-1'))))
        FROM generate_series(%(first)s::int, %(last)s::int) AS number), now())
    WHERE created
"""


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
    histories = (SHORT, LONG)
    open_accounts(
        [AccountSpec(_kept(length), "unbilled", "USD", "D", "bench") for length in histories]
        + [AccountSpec(_system(length), "revenue", "USD", "C", keeps_balance=False) for length in histories]
    )
    for length in histories:
        _fill(console, length)
    started = time.perf_counter()
    for _ in range(2):  # marked, then taken
        taken = take_snapshots(taken_at=NOW)
    console.print(f"took {taken.snapshot_count} snapshots in {time.perf_counter() - started:.2f} s")
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE ledger_posting, ledger_journalentry, ledger_account, ledger_balancesnapshot")
    for name, code in (("account that keeps its balance", _kept), ("system account", _system)):
        for length in histories:
            if queries.balance_of(code(length)) != length or len(_lines(code(length))) != 100:
                raise AssertionError(f"{code(length)} does not hold what was posted: nothing counts")
        places = {code(length): _lines(code(length))[-1].place for length in histories}
        reads: dict[str, Callable[[str], object]] = {
            "balance_of": queries.balance_of,
            "statement, newest 100": _lines,
            "statement, next 100": lambda code, places=places: _lines(code, before=places[code]),  # type: ignore[misc]
        }
        for read_name, read in reads.items():
            seconds = _timed(read, [code(length) for length in histories])
            short, long = (statistics.median(seconds[code(length)]) for length in histories)
            console.print(
                f"{name}, {read_name}: {short * 1e3:.2f} ms at {SHORT:,} postings, {long * 1e3:.2f} ms at {LONG:,}; "
                f"ratio {long / short:.2f} (≤ 1.1)"
            )


def _lines(code: str, *, before: tuple[int, int] | None = None) -> list[queries.JournalLine]:
    return queries.newest_lines([queries.find_account(code)], limit=100, before=before)


def _kept(length: int) -> str:
    return f"bench:filled:{length}"


def _system(length: int) -> str:
    return f"bench:filled:system:{length}"


def _fill(console: Console, length: int) -> None:
    started = time.perf_counter()
    for first in range(1, length + 1, FILL_CHUNK):
        last = min(first + FILL_CHUNK - 1, length)
        with connection.cursor() as cursor:
            cursor.execute(FILL, {"code": _kept(length), "system": _system(length), "first": first, "last": last})
            if cursor.fetchone() != (last - first + 1,):
                raise AssertionError(f"not all of {_kept(length)} was posted: nothing counts")
    console.print(f"filled two accounts with {length:,} postings in {time.perf_counter() - started:.1f} s")


def _timed(read: Callable[[str], object], codes: list[str]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {code: [] for code in codes}
    for _ in range(READS):
        for code, measured in seconds.items():
            started = time.perf_counter()
            read(code)
            measured.append(time.perf_counter() - started)
    return seconds
