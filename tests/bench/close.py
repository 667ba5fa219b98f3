"""
One invoice close against the number of its events.

A close reads windows, not events, so its cost must follow hours and prices used and stay flat while events grow. The
other side is what a close without windows would do: price the same events by one SQL statement over the raw events.
"""

import os
import statistics
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import connection
from rich.console import Console
from rich.table import Table

from billing.invoicing.closing import advance_close
from billing.invoicing.models import InvoiceClose
from metering.operations import UsageEventInput, ingest_events
from tests.billing.thread import MODEL, Thread
from tests.sandbox.client import SandboxProcess

EVENTS = (1_000, 10_000, 100_000)
ROUNDS = 3
BATCH = 1_000
START = datetime(2026, 10, 1, tzinfo=UTC)
END = datetime(2026, 11, 1, tzinfo=UTC)
TOKENS_PER_EVENT = 1_000
DOLLARS_PER_TOKEN = Decimal(3) / 1_000_000

FROM_RAW_EVENTS = """
SELECT data ->> 'model', sum((data ->> 'input_tokens')::numeric) * 3 / 1000000
  FROM metering_event
 WHERE customer_key = %s AND event_time >= %s AND event_time < %s
 GROUP BY 1
"""


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
    settings.STRIPE_SECRET_KEY = "sk_test_" + "b" * 24
    settings.ALLOWED_HOSTS = ["*"]
    settings.STATIC_ROOT = None
    with SandboxProcess(now=START.isoformat(), strict=False) as sandbox:
        settings.STRIPE_API_BASE = os.environ["STRIPE_API_BASE"] = sandbox.address
        thread = Thread(sandbox)
        customers = {f"close-{events}-{number}": events for number in range(ROUNDS) for events in EVENTS}
        for key, events in customers.items():
            thread.subscribe(key)
            _use(key, events)
        thread.aggregate()
        sandbox.advance(END + timedelta(minutes=10))
        thread.settle(is_closing=False)
        closes = {key: _timed_close(thread, key, events) for key, events in customers.items()}
        raw = {key: _timed_raw(key) for key in customers}
    _print(console, customers, closes, raw)


def _use(customer_key: str, events: int) -> None:
    """`events` requests spread evenly over the month's hours."""
    step = (END - START) / events
    for first in range(0, events, BATCH):
        batch = [
            UsageEventInput(
                id=f"{customer_key}-{number}",
                source="bench",
                type="llm.request",
                subject=customer_key,
                time=START + number * step,
                data={"model": MODEL, "input_tokens": TOKENS_PER_EVENT},
            )
            for number in range(first, first + BATCH)
        ]
        assert ingest_events(batch, received_at=END).accepted == BATCH


def _timed_close(thread: Thread, customer_key: str, events: int) -> float:
    """Seconds from the draft to the finalised invoice, Stripe's stand-in included; the amount is checked."""
    close = InvoiceClose.objects.select_related("invoice").get(invoice__customer__customer_key=customer_key)
    begun = time.perf_counter()
    while advance_close(close_id=close.pk, now=thread.now) != InvoiceClose.Step.FINALIZED:
        pass
    seconds = time.perf_counter() - begun
    charged = sum(line.exact_amount for line in close.invoice.lines.filter(kind="usage"))
    assert charged == events * TOKENS_PER_EVENT * DOLLARS_PER_TOKEN, (customer_key, charged)
    return seconds


def _timed_raw(customer_key: str) -> float:
    with connection.cursor() as cursor:
        begun = time.perf_counter()
        cursor.execute(FROM_RAW_EVENTS, [customer_key, START, END])
        assert len(cursor.fetchall()) == 1
        return time.perf_counter() - begun


def _print(console: Console, customers: dict[str, int], closes: dict[str, float], raw: dict[str, float]) -> None:
    medians = {
        events: (
            statistics.median(closes[key] for key, count in customers.items() if count == events),
            statistics.median(raw[key] for key, count in customers.items() if count == events),
        )
        for events in EVENTS
    }
    first_close, first_raw = medians[EVENTS[0]]
    table = Table(title=f"One close against the number of its events (medians of {ROUNDS})")
    for heading in ("events", "close", "ratio", "from raw events", "ratio"):
        table.add_column(heading, justify="right")
    for events, (close, naive) in medians.items():
        table.add_row(
            f"{events:,}",
            f"{close * 1000:.0f} ms",
            f"{close / first_close:.2f}",
            f"{naive * 1000:.1f} ms",
            f"{naive / first_raw:.2f}",
        )
    console.print(table)
