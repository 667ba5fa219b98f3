"""
A month's end while every request to Stripe may go wrong in every way the sandbox knows.

Whatever happens, the totals are those of the arithmetic in `world`, each paid invoice was charged once, the books are
in balance, and reconciliation finds nothing. Keys are kept a day by Stripe: what is sent again after days is sent into
a memory without them.
"""

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, get_args

import psycopg
import pytest

from billing.reconciliation.operations import reconcile
from billing.stripe import gateway, outbox
from billing.stripe.errors import OutboxNeedsPerson, OutboxSuperseded, StripeUnavailable
from billing.stripe.models import OutboxIntent
from ledger import queries as ledger
from tests.billing.month_end.world import begin, digest, expected, held_by_stripe
from tests.billing.thread import SECOND_MONTH, START, Crasher, Restless, Thread
from tests.plugin import admin_url
from tests.sandbox.client import SandboxProcess
from tests.sandbox.core.faults import FORGET_IDEMPOTENCY_KEYS, RequestMode

EVERY_MODE: tuple[RequestMode, ...] = get_args(RequestMode)
# How each mode is switched on: seldom enough that work gets done, often enough that each strikes.
RULES: dict[str, dict[str, Any]] = {
    "hold_before": {"times": 2, "probability": "1/5"},
    "hold_after": {"times": 2, "probability": "1/5"},
    "slow": {"times": 3, "seconds": 0.1, "probability": "1/6"},
    "error_500": {"times": 8, "probability": "1/6"},
    "error_500_after_commit": {"times": 6, "probability": "1/8"},
    "rate_limit": {"times": 6, "seconds": 0.05, "probability": "1/8"},
    "forbidden": {"times": 2, "probability": "1/12"},
    "timeout_after_commit": {"times": 8, "probability": "1/6"},
    "connection_reset": {"times": 6, "probability": "1/8"},
    "connection_refused": {"times": 2, "seconds": 0.1, "probability": "1/20"},
    "lagging_lists": {"times": None, "writes": 2, "probability": "1/3"},
}
DAYS_LATER = timedelta(days=3)
PATIENCE = 40


@pytest.fixture(autouse=True)
def _quick_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway waits some tenths of a second before it asks again, in earnest; here there is nobody to spare."""
    monkeypatch.setattr(gateway, "BACKOFF_FIRST_MS", 2)


@contextmanager
def everything_goes_wrong(sandbox: SandboxProcess, *, seed: int) -> Iterator[None]:
    """All modes at once, and somebody who lets go what is held."""
    chance = random.Random(seed)
    for mode, rule in RULES.items():
        sandbox.fault(mode=mode, operation="(GET|POST) /v1/", seed=chance.randrange(2**31), **rule)  # type: ignore[arg-type]
    is_over = threading.Event()

    def let_go() -> None:
        while not is_over.wait(0.02):
            with suppress(OSError):  # while the port is shut
                if sandbox.held():
                    sandbox.release()

    letting_go = threading.Thread(target=let_go)
    letting_go.start()
    try:
        yield
    finally:
        is_over.set()
        letting_go.join()
        sandbox.clear_faults()


def live_through(thread: Thread, *, chance: random.Random) -> None:
    """Deliver, project and close until nothing moves, as often as the test itself cannot list the events."""
    for _ in range(PATIENCE):
        with suppress(StripeUnavailable):
            return thread.settle(copies=2, shuffle=chance)
    raise AssertionError("the events could not be listed")


def require_right(thread: Thread) -> None:
    assert thread.unfinished() == []
    assert held_by_stripe(thread.sandbox.state()) == expected()
    assert ledger.out_of_balance() == []
    run = reconcile(range_start=START, range_end=SECOND_MONTH + timedelta(hours=1), now=thread.now, actor="user:tester")
    assert list(run.discrepancies.values_list("check_code", "subject", "left_value", "right_value")) == []


def forget_outcomes() -> None:
    """As after a restore of a backup: what was answered is intended again. Only the server's superuser can do that."""
    with psycopg.connect(admin_url(os.environ["DATABASE_URL"].rsplit("/", 1)[1]), autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(
            "UPDATE billing_outboxintent SET state = 'intended', finished_at = NULL, stripe_object_id = '',"
            " request_id = ''"
        )


def test_every_mode_of_the_sandbox_has_its_rule() -> None:
    assert {*RULES, FORGET_IDEMPOTENCY_KEYS} == set(EVERY_MODE)


@pytest.mark.parametrize("seed", range(1, 1 + int(os.environ.get("MONTH_ENDS", "1"))))
def test_the_totals_are_the_same_and_nobody_is_charged_twice(thread: Thread, seed: int) -> None:
    begin(thread)
    chance = random.Random(seed)
    thread.crasher = Crasher(chance, statements_max=60, crashes_max=8)
    thread.sandbox.advance(SECOND_MONTH)
    with everything_goes_wrong(thread.sandbox, seed=seed):
        live_through(thread, chance=chance)
        struck = {fault["mode"]: fault["hits"] for fault in thread.sandbox.faults()}
    thread.settle()

    assert all(struck.get(mode, RULES[mode]["times"]) for mode in RULES), struck
    assert thread.crasher.crashes > 2
    require_right(thread)


def test_answers_lost_and_the_outbox_replayed_days_later_change_nothing(thread: Thread) -> None:
    """At each step of the close every answer is lost, and three days later Stripe has forgotten the keys."""
    begin(thread)
    thread.sandbox.advance(SECOND_MONTH)
    for operation in ("/v1/invoices/[^/]+$", "/v1/invoices/.*/add_lines$", "/v1/invoices/.*/finalize$"):
        thread.sandbox.clear_faults()  # within the day Stripe knows the keys
        thread.sandbox.fault(mode="timeout_after_commit", operation=f"POST {operation}", times=None)
        with suppress(Restless):
            thread.settle(rounds_max=8)
        print(
            "STEP",
            operation,
            list(OutboxIntent.objects.filter(state="intended").values_list("purpose", "attempts")),
            list(
                __import__("billing.models", fromlist=["x"]).InvoiceClose.objects.values_list(
                    "step", "held_reason", "error"
                )
            ),
        )
        assert OutboxIntent.objects.filter(state="intended", attempts__gte=1).exists(), operation
        thread.sandbox.clear_faults()
        thread.sandbox.fault(mode="forget_idempotency_keys", operation="POST /v1/", times=None)
        thread.now += DAYS_LATER
    thread.settle()
    require_right(thread)

    before = digest(thread.sandbox.state())
    forget_outcomes()
    left_to_people = []
    for intent in OutboxIntent.objects.order_by("created_at"):
        try:
            outbox.perform(
                purpose=intent.purpose,
                operation=intent.operation,
                target=intent.target,
                params=intent.params,
                now=thread.now + DAYS_LATER,
            )
        except (OutboxNeedsPerson, OutboxSuperseded):
            left_to_people.append(intent.operation)

    assert digest(thread.sandbox.state()) == before
    # What only says how things are to be from now on is not said again over what came later.
    assert set(left_to_people) <= {"customers.update", "invoices.update"}
    thread.redeliver_everything()
    require_right(thread)
