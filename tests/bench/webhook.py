"""
What a webhook costs: the answer to Stripe beside a bare view, and the projection of what was stored.

Both answers go through Django's whole handler in this process, in turn, so that what they differ in is the work of the
endpoint: signature, JSON, one committed statement, and the message to the broker. Nothing is said of a network. The
projection is one worker's, Stripe's answers by the sandbox included.
"""

import json
import os
import time
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from rich.console import Console
from rich.table import Table

from billing.stripe.models import InboxEvent
from billing.stripe.projection import process_event
from config.urls import urlpatterns as _ours
from tests.bench.close import START
from tests.billing.thread import ENDPOINT_UUID, Thread, sign
from tests.sandbox.client import SandboxProcess

ROUNDS = 500
WARM_UP = 30
CUSTOMERS = 20
Row = tuple[str, str, str]


@csrf_exempt
def bare(request: HttpRequest) -> HttpResponse:
    """Reads the body and says 200."""
    assert request.body
    return HttpResponse(status=200)


urlpatterns = [path("bare/", bare), *_ours]


def run(console: Console) -> None:
    """Print the figures. Needs a migrated database and Django's settings loaded."""
    settings.STRIPE_SECRET_KEY = "sk_test_" + "b" * 24
    settings.ALLOWED_HOSTS = ["*"]
    settings.SECURE_SSL_REDIRECT = False
    settings.STATIC_ROOT = None
    with SandboxProcess(now=START.isoformat(), strict=False) as sandbox, override_settings(ROOT_URLCONF=__name__):
        settings.STRIPE_API_BASE = os.environ["STRIPE_API_BASE"] = sandbox.address
        settings.STRIPE_REQUESTS_PER_SECOND = 100_000
        thread = Thread(sandbox)
        rows = [*_answers(), *_projections(thread)]
    table = Table(title=f"Webhooks: {ROUNDS} of each, in turn; {CUSTOMERS} customers' first month")
    for name in ("what", "figure", "of that"):
        table.add_column(name)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _answers() -> list[Row]:
    client = Client()
    times: dict[str, list[int]] = {"bare": [], "inbox": []}
    for number in range(ROUNDS + WARM_UP):
        event = {
            "id": f"evt_{number}",
            "object": "event",
            "type": "invoice.paid",
            "api_version": settings.STRIPE_API_VERSION,
            "livemode": False,
            "created": 1_790_000_000,
            "data": {"object": {"id": f"in_{number}", "object": "invoice", "padding": "x" * 6000}},
        }
        body = json.dumps(event)
        for name, address in (("bare", "/bare/"), ("inbox", f"/stripe/webhook/{ENDPOINT_UUID}/")):
            times[name].append(_answered(client, address, body))
    shown = {name: sorted(taken[WARM_UP:]) for name, taken in times.items()}
    InboxEvent.objects.update(state="done", outcome="ignored")  # they are about nothing
    rows = []
    for label, share in (("p50", 50), ("p95", 95)):
        ours, theirs = (shown[name][ROUNDS * share // 100 - 1] for name in ("inbox", "bare"))
        rows.append(
            (
                f"answer {label}",
                f"{ours // 1000:,} µs",
                f"bare view {theirs // 1000:,} µs: × {ours * 10 // theirs / 10}",
            )
        )
    return rows


def _answered(client: Client, address: str, body: str) -> int:
    headers = {"Stripe-Signature": sign(body)}
    began = time.perf_counter_ns()
    answer: Any = client.post(address, data=body, content_type="application/json", headers=headers)
    taken = time.perf_counter_ns() - began
    assert answer.status_code == 200
    return taken


def _projections(thread: Thread) -> list[Row]:
    for number in range(CUSTOMERS):
        thread.subscribe(f"bench-{number}")
    client = Client()
    events = thread.new_events()
    for event in events:
        _answered(client, f"/stripe/webhook/{ENDPOINT_UUID}/", json.dumps(event))
    waiting = list(
        InboxEvent.objects.filter(state="received").order_by("stripe_created_at").values_list("pk", flat=True)
    )
    claims = 0
    began = time.perf_counter_ns()
    with CaptureQueriesContext(connection) as statements:
        for event_id in waiting:
            claims += process_event(event_id=event_id, now=thread.now)
    seconds_ms = (time.perf_counter_ns() - began) // 1_000_000
    done = InboxEvent.objects.filter(pk__in=waiting, state="done").count()
    return [
        (
            "projected by one worker",
            f"{done * 1000 // max(seconds_ms, 1):,} events/s",
            f"{done} events of {claims} claims",
        ),
        ("SQL statements", f"{len(statements) * 10 // max(done, 1) / 10} an event", f"{len(statements)} in all"),
    ]
