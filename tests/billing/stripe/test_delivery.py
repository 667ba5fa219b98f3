"""The same thread with every part as a process: the sandbox signs and posts, the web server stores, a worker works."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO

from django.core.management import call_command
from djstripe.models import WebhookEndpoint

from billing.invoicing.models import Invoice
from billing.payments.models import Payment
from billing.stripe.models import InboxEvent
from config.stack import ProcessSupervisor
from tests.billing.thread import SECOND_MONTH, Thread
from tests.processes import CeleryWorker, WebServer
from tests.sandbox.client import SandboxProcess

PATIENCE_SECONDS = 60.0


def eventually(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not happen in {PATIENCE_SECONDS:.0f} s"
        time.sleep(0.1)


def all_was_told_twice(sandbox: SandboxProcess) -> bool:
    """
    Asked as one: more events are made while the first are worked on, so what was true a moment ago may not be any more.
    """
    told = {delivery["event"] for delivery in sandbox.deliveries()}
    done = set(InboxEvent.objects.filter(state="done", deliveries=2).values_list("event_id", flat=True))
    return sandbox.is_idle() and done == told == set(InboxEvent.objects.values_list("event_id", flat=True))


def test_a_month_with_real_processes_and_events_that_come_twice(
    thread: Thread, at_sandbox: SandboxProcess, processes: ProcessSupervisor
) -> None:
    WebhookEndpoint.objects.all().delete()
    environment = {
        "STRIPE_API_BASE": at_sandbox.address,
        "STRIPE_SECRET_KEY": "sk_test_" + "a" * 24,
        "ALLOWED_HOSTS": "127.0.0.1",
    }
    web, worker = WebServer(processes), CeleryWorker(processes)
    web.start(environment)
    worker.start(environment)
    said = StringIO()
    call_command("setup_stripe_webhook", url=web.address, stdout=said)
    call_command("setup_stripe_webhook", url=web.address, stdout=said)
    assert len(set(said.getvalue().splitlines())) == 2  # snapshots and thin events, each said twice
    at_sandbox.fault(event=".*", mode="duplicate", times=1000)

    thread.subscribe()
    eventually(lambda: Payment.objects.filter(status="succeeded").exists(), "the first payment")
    thread.use(1_000_000, at=datetime(2026, 10, 10, tzinfo=UTC))
    thread.aggregate()
    at_sandbox.advance(SECOND_MONTH)
    paid = Invoice.objects.filter(billing_reason="subscription_cycle", status="paid", total_minor=2300)
    eventually(paid.exists, "the second invoice")
    # The inbox can be empty for a moment while the payment's own events are still on their way.
    eventually(lambda: Payment.objects.filter(status="succeeded").count() >= 2, "the second payment")
    eventually(lambda: all_was_told_twice(at_sandbox), "every event's second delivery and its projection")

    assert Payment.objects.filter(status="succeeded").count() == 2
    assert sorted(thread.balances()) == ["fees:stripe", "revenue:subscription", "revenue:usage", "stripe:clearing"]
