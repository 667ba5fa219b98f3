"""What a customer's balances cost over HTTP, beside a bare view that answers the same; and statements, top and deep.

Rounds alternate; what is quoted is the median of the rounds' ratios. Both sides must answer the same body.
"""

import os
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from rich.console import Console

from config.api_keys.models import ApiKey
from config.stack import ProcessSupervisor
from config.stack.ports import free_port
from ledger import queries
from ledger.operations import AccountSpec, JournalEntryDraft, credit, debit, open_accounts, post_journal_entries

ROUNDS, REQUESTS, CONNECTIONS = 7, 1_000, 2
CUSTOMERS = 500
KINDS = ("unbilled", "receivable", "balance", "refund_due", "prepaid_pending", "credit")
BATCH, DEPTH = 1_000, 100_000
PAGE, PAGES_READ = 100, 50
START = datetime(2026, 10, 1, tzinfo=UTC)
REVENUE = "revenue:bench"


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
    _fill()
    _, key = ApiKey.objects.create_key(name="bench", scopes=["billing:read"])
    with tempfile.TemporaryDirectory() as folder:
        _bench_balances(console, str(key), Path(folder))
    _bench_statement(console)


def _fill() -> None:
    """Six accounts for each customer, and one account with a long history."""
    open_accounts(
        [
            AccountSpec(f"{kind}:bench-{number}:USD", kind, "USD", "D", f"bench-{number}")
            for number in range(CUSTOMERS)
            for kind in KINDS
        ]
    )
    open_accounts([AccountSpec(REVENUE, "revenue", "USD", "C", keeps_balance=False)])
    for start in range(0, DEPTH, BATCH):
        post_journal_entries([_accrual(number) for number in range(start, start + BATCH)], recorded_at=START)


def _accrual(number: int) -> JournalEntryDraft:
    amount = Decimal(number % 97 + 1) / 1000
    return JournalEntryDraft(
        idempotency_key=f"bench:{number}",
        kind="usage_accrued",
        lines=(debit("unbilled:bench-0:USD", amount), credit(REVENUE, amount)),
        effective_at=START,
        actor="task:bench",
        cause={"period": "1"},
    )


def _bench_balances(console: Console, key: str, folder: Path) -> None:
    rates: dict[str, list[float]] = {"api": [], "bare": []}
    with ExitStack() as stack:
        ports = {
            "api": stack.enter_context(_server("config.wsgi:application", folder / "api")),
            "bare": stack.enter_context(_server("tests.bench.bare_balances:application", folder / "bare")),
        }
        requests = {name: _requests(port, key) for name, port in ports.items()}
        bodies = {name: _ask(ports[name], requests[name][:1])[0] for name in ports}
        if bodies["api"] != bodies["bare"]:
            raise AssertionError(f"the two sides answer differently, so the figure does not count: {bodies}")
        for number in range(ROUNDS + 1):  # the first one warms up
            for name in ("api", "bare") if number % 2 else ("bare", "api"):
                seconds = _timed(ports[name], requests[name])
                if number:
                    rates[name].append(len(requests[name]) / seconds)
    ratios = [api / bare for api, bare in zip(rates["api"], rates["bare"], strict=True)]
    console.print(
        f"balances of a customer over HTTP (key, scope, {len(KINDS)} accounts): "
        f"{statistics.median(rates['api']):,.0f} requests/s\n"
        f"the same body by a bare view, no key:                      "
        f"{statistics.median(rates['bare']):,.0f} requests/s\n"
        f"ratio, median of {ROUNDS} alternating rounds: {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}), {CONNECTIONS} connections, one worker"
    )


def _requests(port: int, key: str) -> list[bytes]:
    return [
        (
            f"GET /api/v1/customers/bench-{number % CUSTOMERS}/balances HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Authorization: Api-Key {key}\r\n\r\n"
        ).encode()
        for number in range(REQUESTS)
    ]


def _timed(port: int, requests: Sequence[bytes]) -> float:
    shares = [requests[number::CONNECTIONS] for number in range(CONNECTIONS)]
    started = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda share: _ask(port, share), shares))
    return time.perf_counter() - started


def _ask(port: int, requests: Sequence[bytes]) -> list[bytes]:
    """Send the requests one after the other on one connection; return the bodies. Plain sockets cost the least."""
    bodies = []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for request in requests:
            connection.sendall(request)
            bodies.append(_body(connection))
    return bodies


def _body(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65_536)
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise AssertionError(f"answered {head[:80]!r}: the figure does not count")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < int(length.partition(b":")[2]):
        body += connection.recv(65_536)
    return body


@contextmanager
def _server(application: str, folder: Path) -> Iterator[int]:
    """One worker with as many threads as there are connections."""
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    options = ["--workers", "1", "--blocking-threads", str(CONNECTIONS), "--log-level", "warning"]

    def is_healthy() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    with ProcessSupervisor(folder) as supervisor:
        supervisor.start("web", [*command, *options, application], env=dict(os.environ), ready=is_healthy)
        yield port


def _bench_statement(console: Console) -> None:
    """Pages of a customer's statement at the top, and from the far end of a long history."""
    accounts = queries.accounts_of_customer("bench-0")
    newest = queries.newest_lines(accounts, limit=1)[0]
    deep = (newest.entry_id - DEPTH + 2 * PAGE, 1)
    seconds = {"top": [0.0] * PAGES_READ, "deep": [0.0] * PAGES_READ}
    for number in range(PAGES_READ):
        for name, before in (("top", (newest.entry_id, 1)), ("deep", deep)):
            started = time.perf_counter()
            lines = queries.newest_lines(accounts, limit=PAGE, before=before)
            seconds[name][number] = time.perf_counter() - started
            if len(lines) != PAGE:
                raise AssertionError(f"{len(lines)} lines on a page: the figure does not count")
    top, down = (statistics.median(seconds[name]) * 1000 for name in ("top", "deep"))
    console.print(
        f"a customer's statement, page of {PAGE} lines: {top:.2f} ms at the top, {down:.2f} ms {DEPTH:,} lines down, "
        f"{down / top:.2f} times"
    )
