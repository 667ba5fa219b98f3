"""
A month's end of many subscriptions against the sandbox: calls to Stripe per invoice, and invoices a second.

Timed is what our side does from Stripe's drafts to invoices that are finalised, paid and in the books, by as many
processes as there are cores, each with the events of its own customers. What Stripe allows in a second is published
(100 requests in live mode), so the calls say what a million subscribers would take, whatever the machine.
"""

import json
import multiprocessing
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import stripe
from django.conf import settings
from django.db import connections
from rich.console import Console
from rich.table import Table

from billing.invoicing.closing import advance_close
from billing.invoicing.models import Invoice, InvoiceClose
from billing.stripe import gateway, inbox
from billing.stripe.models import InboxEvent
from billing.stripe.projection import ENABLED_EVENTS, process_event
from ledger import queries as ledger
from metering.operations import UsageEventInput, ingest_events
from tests.billing.thread import MODEL, Thread, subscribe
from tests.sandbox.client import SandboxProcess

SUBSCRIPTIONS = int(os.environ.get("BENCH_SUBSCRIPTIONS", "500"))
PROCESSES = int(os.environ.get("BENCH_PROCESSES", "2"))
BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
END = datetime(2026, 11, 1, tzinfo=UTC)
TOKENS = 1_000_000
TOTAL_CENTS = 2000 + 300
# docs.stripe.com/rate-limits, read November 2026: requests a second of one account in live mode.
STRIPE_REQUESTS_PER_SECOND = 100
MILLION = 1_000_000
ROUNDS_MAX = 40
BATCH = 1_000
# Events as Stripe would deliver them: their texts, which take a fifth of the room that their objects do.
Part = list[str]
_IDENTIFIER = re.compile(r"/(in|cus|sub|pi|ch|re|txn|il|evt)_\w+")


class CountingClient(stripe.RequestsClient):
    """The SDK's client; counts each request by its method and path, identifiers left out."""

    calls: Counter[str] = Counter()

    def request_with_retries(self, method: str, url: str, *args: Any, **options: Any) -> Any:
        path = url.partition("?")[0].partition("/v1")[2]
        CountingClient.calls[f"{method.upper()} /v1{_IDENTIFIER.sub('/…', path)}"] += 1
        return super().request_with_retries(method, url, *args, **options)


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
    settings.STRIPE_SECRET_KEY = "sk_test_" + "b" * 24
    settings.STRIPE_HTTP_CLIENT = f"{__name__}.CountingClient"
    settings.ALLOWED_HOSTS = ["*"]
    settings.STATIC_ROOT = None
    with SandboxProcess(now=BEGIN.isoformat(), strict=False) as sandbox:
        settings.STRIPE_API_BASE = os.environ["STRIPE_API_BASE"] = sandbox.address
        thread = Thread(sandbox)
        keys = [f"month-end-{number}" for number in range(SUBSCRIPTIONS)]
        _begin(console, thread, keys)
        cpu, parts = sandbox.cpu_seconds(), _events_by_process(since=END)
        begun = time.perf_counter()
        finalized = _in_processes(_close_part, parts, thread.now)
        closed_after = time.perf_counter() - begun
        # Stripe delivers by itself; listing what it delivers is the bench's part and not timed.
        parts = _events_by_process(since=END)
        begun = time.perf_counter()
        paid = _in_processes(_project_part, parts, thread.now + timedelta(hours=1))
        seconds, cpu = closed_after + time.perf_counter() - begun, sandbox.cpu_seconds() - cpu
    _require_right()
    _print(console, finalized + paid, closed_after, seconds, cpu)


def _begin(console: Console, thread: Thread, keys: Sequence[str]) -> None:
    begun = time.perf_counter()
    _in_processes(_subscribe_part, [keys[number::PROCESSES] for number in range(PROCESSES)], thread.now)
    _in_processes(_project_part, _events_by_process(since=BEGIN), thread.now)
    thread.advance_our_clock_to(thread.now + timedelta(hours=1))
    for first in range(0, len(keys), BATCH):
        batch = [
            UsageEventInput(
                id=key,
                source="bench",
                type="llm.request",
                subject=key,
                time=BEGIN + timedelta(days=9),
                data={"model": MODEL, "input_tokens": TOKENS},
            )
            for key in keys[first : first + BATCH]
        ]
        assert ingest_events(batch, received_at=END).accepted == len(batch)
    thread.advance_our_clock_to(END + timedelta(hours=1))
    thread.aggregate()
    thread.sandbox.advance(END + timedelta(minutes=10))
    console.print(f"{len(keys):,} subscriptions, begun and used in {time.perf_counter() - begun:.0f} s (not counted)")


def _events_by_process(*, since: datetime) -> list[Part]:
    """Stripe's events that were not delivered yet, those of one customer in one part, oldest first."""
    known = set(InboxEvent.objects.values_list("event_id", flat=True))
    parts: list[Part] = [[] for _ in range(PROCESSES)]
    for event in gateway.listed_events(ENABLED_EVENTS, created={"gte": int(since.timestamp())}):
        if event["id"] not in known:
            thing = event["data"]["object"]
            owner = str(thing.get("customer") or thing["id"])
            parts[sum(owner.encode()) % PROCESSES].append(json.dumps(event))
    return [part[::-1] for part in parts]


def _in_processes(work: Any, parts: Sequence[Any], now: datetime) -> Counter[str]:
    """What each process counted, which does one part's work."""
    connections.close_all()
    gateway._client.cache_clear()
    CountingClient.calls.clear()
    # Pool ends its processes by SIGTERM, which this program has made an interrupt that prints where it was.
    end_quietly = partial(signal.signal, signal.SIGTERM, signal.SIG_DFL)
    with multiprocessing.get_context("fork").Pool(len(parts), initializer=end_quietly) as pool:
        counted = pool.starmap(work, [(part, now) for part in parts])
    return sum(counted, Counter[str]())


def _subscribe_part(keys: Sequence[str], now: datetime) -> Counter[str]:
    for key in keys:
        subscribe(key, starts_at=BEGIN, card="pm_card_visa", now=now)
    connections.close_all()
    return CountingClient.calls


def _deliver(part: Part, now: datetime) -> list[str]:
    """Write the events into the inbox; return their ids, oldest first."""
    ids = []
    for body in part:
        event = json.loads(body)
        inbox.receive(event, body=body, source="webhook", received_at=now)
        ids.append(event["id"])
    return ids


def _close_part(part: Part, now: datetime) -> Counter[str]:
    """From the drafts to finalised invoices."""
    ids = _deliver(part, now)
    for event_id in ids:
        process_event(event_id=event_id, now=now)
    invoices = InboxEvent.objects.filter(event_id__in=ids, type="invoice.created").values("object_id")
    closes = InvoiceClose.objects.filter(invoice__stripe_invoice_id__in=invoices).values_list("pk", flat=True)
    for close_id in list(closes):
        for _ in InvoiceClose.Step:
            if advance_close(close_id=close_id, now=now) == InvoiceClose.Step.FINALIZED:
                break
    connections.close_all()
    return CountingClient.calls


def _project_part(part: Part, now: datetime) -> Counter[str]:
    """From what Stripe told of them to paid invoices in the books."""
    waiting = _deliver(part, now)
    for round_number in range(ROUNDS_MAX):
        for event_id in waiting:
            process_event(event_id=event_id, now=now + round_number * timedelta(minutes=20))
        done = InboxEvent.objects.filter(event_id__in=waiting, state="done").values_list("event_id", flat=True)
        finished = set(done)
        waiting = [event_id for event_id in waiting if event_id not in finished]
        if not waiting:
            break
    connections.close_all()
    return CountingClient.calls


def _require_right() -> None:
    cycles = Invoice.objects.filter(billing_reason="subscription_cycle")
    assert cycles.filter(status="paid", total_minor=TOTAL_CENTS).count() == SUBSCRIPTIONS, list(
        cycles.values_list("status", "total_minor").distinct()
    )
    assert ledger.out_of_balance() == []


def _print(console: Console, calls: Counter[str], closed_after: float, seconds: float, cpu: float) -> None:
    table = Table(title=f"The month's end of {SUBSCRIPTIONS:,} subscriptions, {PROCESSES} processes")
    for heading in ("call", "an invoice"):
        table.add_column(heading, justify="left" if heading == "call" else "right")
    for call, count in calls.most_common():
        table.add_row(call, f"{count / SUBSCRIPTIONS:.2f}")
    per_invoice = calls.total() / SUBSCRIPTIONS
    table.add_row("all", f"{per_invoice:.2f}", style="bold")
    console.print(table)
    hours = MILLION * per_invoice / STRIPE_REQUESTS_PER_SECOND / 3600
    console.print(
        f"finalised after {closed_after:.1f} s ({SUBSCRIPTIONS / closed_after:.1f} invoices/s),"
        f" paid and in the books after {seconds:.1f} s ({SUBSCRIPTIONS / seconds:.1f} invoices/s);"
        f" the sandbox used {cpu:.1f} s of CPU of it"
    )
    console.print(
        f"on paper: a million subscribers are {MILLION * per_invoice / 1e6:.1f} million calls,"
        f" {hours:.1f} hours at Stripe's {STRIPE_REQUESTS_PER_SECOND} requests a second,"
        f" {hours / 5:.1f} at five times that (Stripe raises it on request)"
    )
