"""
The Stripe sandbox: typical calls through the SDK, a month of many subscriptions, a reset, and the document's load.

The calls go to a bare HTTP server too, one in the same language that answers bodies of the same size and does nothing:
the ratio says what the sandbox costs beside HTTP and the SDK, whose own work is most of each call. Rounds alternate.
CPU seconds are the server's own, so "on one core" is one second of them. A figure counts only if the objects it is
about are found afterwards.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import stripe
from rich.console import Console

from tests.sandbox.client import SandboxProcess
from tests.sandbox.conformance import client_for_measurements
from tests.sandbox.core.document import Document

ROUNDS = 5
TURNS = 200  # of the mix, in a round
SUBSCRIPTIONS = 1_000
START, MONTH_LATER = "2026-10-01T00:00:00Z", "2026-11-01T02:00:00Z"
KEY = "sk_test_" + "b" * 24
MIX = "create a customer, create an invoice item, retrieve the customer, list 10 customers, update the customer"

CpuSeconds = Callable[[], float]


@dataclass
class Rounds:
    """Calls a second, and the server's CPU microseconds a call, of each round."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def run(console: Console) -> None:
    """Print the figures. Needs no services."""
    _bench_document(console)
    with SandboxProcess(now=START, strict=False, options=("--seed", "1")) as sandbox:
        _bench_calls(console, sandbox)
        sandbox.reset(now=START)
        _bench_month(console, sandbox)
        _bench_reset(console, sandbox)


def _bench_document(console: Console) -> None:
    seconds = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        Document()
        seconds.append(time.process_time() - begun)
    console.print(f"Stripe's document: loads in {statistics.median(seconds) * 1000:.0f} ms of CPU")


def _bench_calls(console: Console, sandbox: SandboxProcess) -> None:
    names = ("sandbox", "bare")
    rounds = {name: Rounds() for name in names}
    with _bare_server(_bodies_of_one_turn(sandbox)) as bare:
        addresses = {"sandbox": sandbox.address, "bare": bare}
        cpu: dict[str, CpuSeconds] = {
            "sandbox": sandbox.cpu_seconds,
            "bare": lambda: float(json.load(urllib.request.urlopen(f"{bare}/cpu", timeout=10))),
        }
        for number in range(ROUNDS + 1):  # the first one warms up
            for name in names if number % 2 else names[::-1]:
                sandbox.reset(now=START)
                api = _api(addresses[name])
                cpu_before, begun = cpu[name](), time.perf_counter()
                calls = sum(len(_turn(api)) for _ in range(TURNS))
                seconds, used = time.perf_counter() - begun, cpu[name]() - cpu_before
                if name == "sandbox" and (made := sandbox.counts()["customer"]) != TURNS:
                    raise AssertionError(f"{made} customers found, {TURNS} made: the figure does not count")
                if number:
                    rounds[name].rates.append(calls / seconds)
                    rounds[name].cpu.append(used / calls * 1e6)
    ratios = [own / bare for own, bare in zip(rounds["sandbox"].rates, rounds["bare"].rates, strict=True)]
    own_cpu = statistics.median(rounds["sandbox"].cpu)
    console.print(
        f"typical calls ({MIX}):\n"
        f"  sandbox, through the SDK:   {statistics.median(rounds['sandbox'].rates):,.0f} calls/s, "
        f"{own_cpu:.0f} us of the server's CPU a call: {1e6 / own_cpu:,.0f} calls/s on one core\n"
        f"  bare server, the same way:  {statistics.median(rounds['bare'].rates):,.0f} calls/s, "
        f"{statistics.median(rounds['bare'].cpu):.0f} us\n"
        f"  ratio, median of {ROUNDS} alternating rounds: {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


def _api(address: str) -> Any:
    client = client_for_measurements()
    return stripe.StripeClient(KEY, base_addresses={"api": address}, http_client=client).v1


def _turn(api: Any) -> list[Any]:
    """The mix once; its answers."""
    customer = api.customers.create({"name": "Ada", "email": "ada@example.com"})
    item = {"customer": customer.id, "amount": 1500, "currency": "usd", "description": "Work"}
    return [
        customer,
        api.invoice_items.create(item),
        api.customers.retrieve(customer.id),
        api.customers.list({"limit": 10}),
        api.customers.update(customer.id, {"metadata": {"plan": "pro"}}),
    ]


def _bodies_of_one_turn(sandbox: SandboxProcess) -> list[str]:
    """As they are once the list has its ten customers."""
    api = _api(sandbox.address)
    answers = [_turn(api) for _ in range(10)][-1]
    return [answer.last_response.body for answer in answers]


@contextmanager
def _bare_server(bodies: list[str]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bodies.json"
        path.write_text(json.dumps(bodies))
        command = [sys.executable, "-m", "tests.bench.bare_server", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield json.loads(process.stdout.readline())["address"]
            finally:
                process.terminate()


def _bench_month(console: Console, sandbox: SandboxProcess) -> None:
    api = _api(sandbox.address)
    product = api.products.create({"name": "Pro"})
    monthly = {"currency": "usd", "unit_amount": 2000, "recurring": {"interval": "month"}}
    price = api.prices.create({"product": product.id, **monthly})
    card = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    cpu_before = sandbox.cpu_seconds()
    for _ in range(SUBSCRIPTIONS):
        customer = api.customers.create(card)
        api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    started, before = sandbox.cpu_seconds(), sandbox.counts()
    begun = time.perf_counter()
    sandbox.advance(MONTH_LATER)
    seconds = time.perf_counter() - begun
    used, after = sandbox.cpu_seconds() - started, sandbox.counts()
    if (renewed := after["charge"] - before["charge"]) != SUBSCRIPTIONS:
        raise AssertionError(f"{renewed} of {SUBSCRIPTIONS} subscriptions were renewed and paid")
    console.print(
        f"{SUBSCRIPTIONS:,} subscriptions: started in {started - cpu_before:.2f} s of the server's CPU; the clock "
        f"moved a month in {seconds:.2f} s ({used:.2f} s of CPU), all renewed, finalised and paid, "
        f"{after['event'] - before['event']:,} events"
    )


def _bench_reset(console: Console, sandbox: SandboxProcess) -> None:
    full = sum(sandbox.counts().values())
    begun = time.perf_counter()
    sandbox.reset(now=START)
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    sandbox.counts()
    then = time.perf_counter() - begun
    console.print(
        f"reset of a world of {full:,} objects: {first * 1000:.1f} ms; the request after it: {then * 1000:.1f} ms"
    )
