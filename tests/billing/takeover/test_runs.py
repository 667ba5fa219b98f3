"""Runs of a takeover as processes: two at once, one that is killed, and how long one took."""

import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from billing.customers.models import Customer
from billing.takeover.document import read_map
from billing.takeover.models import TakenOver, TakeoverRun
from billing.takeover.operations import TakeoverRefused, run_takeover
from tests.billing.takeover.test_odd_accounts import ACTOR, CUT, Shop
from tests.sandbox.client import SandboxProcess

KILLED_AT = 60  # statements of the run: in the middle of bringing in the second customer


@pytest.fixture
def shop(committed_db: None, at_sandbox: SandboxProcess) -> Shop:
    return Shop(at_sandbox)


UNDER_WAY = "another run is under way; let it come to its end, or interrupt it"


def run_beside(shop: Shop) -> str:
    """What another run says, in a connection of its own."""
    try:
        shop.run()
    except TakeoverRefused as refused:
        return str(refused)
    finally:
        connection.close()
    return ""


def test_one_run_at_a_time_says_when_it_began_and_ended(shop: Shop, owner_connection: psycopg.Connection) -> None:
    for name in ("first", "second"):
        shop.buy(name)
    shop.sandbox.advance(CUT + timedelta(hours=1))
    answers: list[str] = []

    def meanwhile(what: str, done: int, total: int | None) -> None:
        if total is not None and not answers:
            with ThreadPoolExecutor(1) as others:
                answers.append(others.submit(run_beside, shop).result())

    minutes = count()
    run = run_takeover(
        by=read_map("currency: USD"), as_of=CUT, actor=ACTOR, progress=meanwhile,
        clock=lambda: shop.thread.now + timedelta(minutes=next(minutes)),
    )  # fmt: skip
    assert answers == [UNDER_WAY]
    assert run is not None
    recorded = list(TakenOver.objects.order_by("id").values_list("recorded_at", flat=True))
    assert run.started_at == shop.thread.now
    assert run.started_at < recorded[0] < recorded[-1] < run.finished_at
    assert run.finished_at == shop.thread.now + timedelta(minutes=next(minutes) - 1)

    with owner_connection.transaction():
        owner_connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('billing.takeover', 0))")
        with pytest.raises(CommandError) as refused:
            call_command("stripe_takeover", "run")
    assert (refused.value.returncode, str(refused.value)) == (2, UNDER_WAY)
    shop.run()
    assert TakeoverRun.objects.count() == 2


def killed(shop: Shop) -> None:
    statements = count(1)

    def kill(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if next(statements) == KILLED_AT and Customer.objects.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(kill):
        shop.run("currency: USD")


def test_a_run_that_is_killed_and_said_again_ends_with_the_same_books(
    shop: Shop, owner_connection: psycopg.Connection
) -> None:
    for name in ("one", "two", "three"):
        shop.buy(name)
    shop.buy("open", is_paid=False)
    shop.sandbox.advance(CUT + timedelta(hours=1))
    connection.close()  # the child must not share it
    process = multiprocessing.get_context("fork").Process(target=killed, args=(shop,))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert 0 < TakenOver.objects.count() < 4
    assert not TakeoverRun.objects.exists()
    wait_until_free(owner_connection)

    shop.run()
    assert shop.differences() == []
    assert shop.owed() == {"open": {"receivable": 50}}
    assert shop.house("opening") == {"opening": 3 * (50 - Decimal("1.75")) + 50}
    assert TakenOver.objects.values("kind").filter(outcome="left_out").count() == 0


def wait_until_free(owner_connection: psycopg.Connection) -> None:
    """Until the server noticed that the process is gone: then nobody has the lock."""
    with owner_connection.transaction():
        owner_connection.execute("SET LOCAL lock_timeout = '20s'")
        owner_connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('billing.takeover', 0))")
