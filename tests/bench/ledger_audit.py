"""
The audit of a million postings: how long, how much memory, and whether one changed byte is found and named.

The audit is all that is computed from the journal: sums of entries, chains, floors, reversals, accounts, keys and
snapshots. The proof of the seals is apart, because it hashes every byte. The limit is one sum over the same table.
Seconds are also given as the time the server's process ran, which counts where others use the machine meanwhile.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
from django.db import connection, transaction
from rich.console import Console

from config import clock
from ledger import verification
from ledger.operations import AccountSpec, open_accounts
from ledger.sealing import make_seals
from ledger.snapshots import take_snapshots
from tests.bench import tampering

ENTRIES = 480_000
ROUNDS = 3
CUSTOMERS, SYSTEM_ACCOUNTS = 1_000, 20
FILL_CHUNK = 5_000
# One entry in ten has a third line.
FILL = """
    SELECT count(*) FROM ledger_post_entries((
        SELECT jsonb_agg(jsonb_build_object(
            'idempotency_key', 'audit:' || number, 'kind', 'usage_accrued', 'memo', 'usage of October',
            'effective_at', timestamptz '2026-10-01' + number * interval '1 second', 'actor', 'task:accrue_usage',
            'cause', jsonb_build_object('period', '2026-10', 'subscription', 'sub_' || number %% {customers}),
            'body_digest', '\\x' || repeat('ab', 32),
            'lines', jsonb_build_array(
                jsonb_build_array('audit:unbilled:' || number %% {customers}, amount),
                jsonb_build_array('audit:revenue:' || number %% {system}, -amount - extra))
                || CASE extra WHEN 0 THEN '[]' ELSE jsonb_build_array(
                       jsonb_build_array('audit:grant:' || number %% {customers}, extra)) END))
        FROM (
            SELECT number, (number %% 9973 + 1)::numeric / 1000000 AS amount,
                   CASE WHEN number %% 10 = 0 THEN 0.5 ELSE 0 END AS extra
            FROM generate_series(%s::int, %s::int) AS number
        ) AS usage), %s)
    WHERE created
"""
LIMIT = "SELECT entry_id FROM ledger_posting GROUP BY entry_id HAVING sum(amount) <> 0"


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
    started = time.perf_counter()
    _fill()
    console.print(f"posted {ENTRIES:,} entries in {time.perf_counter() - started:.1f} s")
    started = time.perf_counter()
    seals = list(make_seals(sealed_at=clock.now()))
    console.print(f"made {len(seals)} seals in {time.perf_counter() - started:.1f} s")
    for _ in range(2):  # marked, then taken
        take_snapshots(taken_at=clock.now(), min_postings=1)
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE ledger_posting, ledger_journalentry, ledger_account")
    _measure(console)
    _verify_by_command(console)
    _tamper(console)


def _fill() -> None:
    specs = [AccountSpec(f"audit:unbilled:{n}", "unbilled", "USD", "D", f"audit_{n}") for n in range(CUSTOMERS)]
    specs += [AccountSpec(f"audit:grant:{n}", "grant", "USD", "C", f"audit_{n}") for n in range(CUSTOMERS)]
    specs += [
        AccountSpec(f"audit:revenue:{n}", "revenue", "USD", "C", keeps_balance=False) for n in range(SYSTEM_ACCOUNTS)
    ]
    open_accounts(specs)
    statement = FILL.format(customers=CUSTOMERS, system=SYSTEM_ACCOUNTS)
    for first in range(1, ENTRIES + 1, FILL_CHUNK):
        with connection.cursor() as cursor:
            cursor.execute(statement, [first, first + FILL_CHUNK - 1, clock.now()])
            if cursor.fetchone() != (FILL_CHUNK,):
                raise AssertionError("not all entries were posted: nothing counts")


@dataclass(frozen=True)
class Spent:
    seconds: float
    # The time the server's process ran; None where it is on another machine.
    server_seconds: float | None


def _measure(console: Console) -> None:
    work: dict[str, Callable[[], list[verification.Fault]]] = {
        "one sum by entry (the limit)": _bare_sum,
        "the audit": lambda: _faults(verification.verify_entries(), verification.verify_accounts()),
        "the proof of the seals": lambda: _faults(verification.verify_seals(from_seal=1)),
    }
    spent: dict[str, list[Spent]] = {name: [] for name in work}
    for number in range(ROUNDS + 1):  # the first one warms up
        for name, do in work.items():
            one = _timed(do)
            if number:
                spent[name].append(one)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM ledger_posting")
        millions = cursor.fetchone()[0] / 1e6
    limit, audit, _ = spent
    for name, rounds in spent.items():
        seconds = statistics.median(one.seconds for one in rounds) / millions
        server = [one.server_seconds for one in rounds if one.server_seconds is not None]
        running = f", {statistics.median(server) / millions:.2f} s of them running" if server else ""
        aim = " (≤ 2)" if name == audit else ""
        console.print(f"{name}: {seconds:.2f} s a million postings{running}{aim}")
    ratios = [one.seconds / other.seconds for one, other in zip(spent[audit], spent[limit], strict=True)]
    console.print(f"the audit / the limit: {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


def _bare_sum() -> list[verification.Fault]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'; SET LOCAL max_parallel_workers_per_gather = 0")
        cursor.execute(LIMIT)
        return cursor.fetchall()


def _faults(*parts: Iterator[verification.Step]) -> list[verification.Fault]:
    return [fault for part in parts for step in part for fault in step.faults]


def _timed(do: Callable[[], list[verification.Fault]]) -> Spent:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    started, ran = time.perf_counter(), _running_seconds(backend)
    if do():
        raise AssertionError("the ledger is not sound: nothing counts")
    seconds, ran_then = time.perf_counter() - started, _running_seconds(backend)
    return Spent(seconds, None if ran is None or ran_then is None else ran_then - ran)


def _running_seconds(backend: int) -> float | None:
    try:
        return int(Path(f"/proc/{backend}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return None


@dataclass(frozen=True)
class Verified:
    """
    One run of `manage.py verify_ledger`.

    `running_seconds`: of the command and its server process together. Memory is in megabytes at its peak, the server's
    without what its processes share.
    """

    code: int
    seconds: float
    running_seconds: float
    client_memory: float
    server_memory: float
    lines: list[dict[str, object]]


def _verify_by_command(console: Console) -> None:
    verified = _verify()
    if verified.code:
        raise AssertionError(f"the ledger is not sound: {verified.lines[:3]}")
    console.print(
        f"manage.py verify_ledger: {verified.seconds:.1f} s, {verified.running_seconds:.1f} s of them running; peak "
        f"memory {verified.client_memory:.0f} MB of the command, {verified.server_memory:.0f} MB of its server process"
    )


def _verify() -> Verified:
    name = "bench-verify-ledger"
    address = os.environ["DATABASE_URL"]
    address += ("&" if "?" in address else "?") + f"application_name={name}"
    started = time.perf_counter()
    command = subprocess.Popen(
        [sys.executable, "manage.py", "verify_ledger"],
        env={**os.environ, "DATABASE_URL": address},
        stdout=subprocess.PIPE,
        text=True,
    )
    with _watched(name) as server:
        assert command.stdout is not None
        output = command.stdout.read()
        _, status, usage = os.wait4(command.pid, 0)
    return Verified(
        code=os.waitstatus_to_exitcode(status),
        seconds=time.perf_counter() - started,
        running_seconds=usage.ru_utime + usage.ru_stime + server.running_seconds,
        client_memory=usage.ru_maxrss / 1024,
        server_memory=server.memory,
        lines=[json.loads(line) for line in output.splitlines()],
    )


@dataclass
class Watched:
    memory: float = 0.0
    running_seconds: float = 0.0


@contextmanager
def _watched(application_name: str) -> Iterator[Watched]:
    """What the server's process of that name takes, looked at every few milliseconds."""
    done, seen = threading.Event(), Watched()

    def watch() -> None:
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
            backend = None
            while not done.wait(timedelta(milliseconds=5).total_seconds()):
                if backend is None:
                    question = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
                    backend = server.execute(question, [application_name]).fetchone()
                else:
                    seen.memory = max(seen.memory, _private_memory(backend[0]))
                    seen.running_seconds = _running_seconds(backend[0]) or seen.running_seconds

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def _private_memory(backend: int) -> float:
    try:
        lines = Path(f"/proc/{backend}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


def _tamper(console: Console) -> None:
    """Change one byte as a superuser, let the command look, change it back; three times."""
    with tampering.superuser(os.environ["BENCH_SUPERUSER_URL"]) as changer:
        victim = tampering.victim_of(changer, f"audit:{ENTRIES // 2 + 1}")
        for change in tampering.CHANGES:
            with tampering.changed(changer, change, victim):
                verified = _verify()
            rules = sorted({str(line["rule"]) for line in verified.lines[:-1]})
            named = verified.lines[-1]["first_broken_entry"]
            if verified.code != 1 or named != victim.entry or change.rule not in rules:
                raise AssertionError(f"{change.name}: exit code {verified.code}, named {named}, rules {rules}")
            console.print(
                f"{change.name} of entry {victim.entry}: found in {verified.seconds:.1f} s, {', '.join(rules)}, "
                f"first broken entry {named}"
            )
    if _verify().code:
        raise AssertionError("what was changed was not put back")
