"""What the sandbox keeps in memory, and that it lets go of it."""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.core.faults import LAGGING_LISTS
from tests.sandbox.core.history import (
    BODY_SIZE_KEPT_MAX,
    BYTES_REMEMBERED_MAX,
    REQUESTS_REMEMBERED,
    History,
    PastRequest,
)
from tests.sandbox.core.journal import Journal
from tests.stripe_sandbox.in_process import START, InProcess

DAY = 24 * 3600


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed is freed because nobody holds it any more."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_reset_frees_the_world_at_once() -> None:
    """With work waiting on both clocks, with a preview asked for, and while lists lag."""
    account = InProcess()
    account.world.faults.add({"operation": "GET /v1/prices", "mode": LAGGING_LISTS, "writes": 1})
    clock = account.world.account_clock
    account.world.store.journal = Journal(lambda: clock.now)
    frozen = account.ask("test_helpers/test_clocks", frozen_time=START)
    clocks: list[dict[str, Any]] = [{}, {"test_clock": frozen["id"]}]
    for on_clock in clocks:
        customer = account.ask("customers", payment_method="pm_card_visa", **on_clock)
        [card] = account.ask(f"customers/{customer['id']}/payment_methods", "GET")["data"]
        wanted: dict[str, Any] = {
            "customer": customer["id"],
            "default_payment_method": card["id"],
            "items[0][price_data][currency]": "usd",
            "items[0][price_data][product]": account.ask("products", name="Pro")["id"],
            "items[0][price_data][recurring][interval]": "month",
            "items[0][price_data][unit_amount]": 1000,
        }
        subscription = account.ask("subscriptions", **wanted)
        assert subscription["status"] == "active", subscription
        assert account.ask("invoices/create_preview", subscription=subscription["id"])["total"] == 1000
    world = weakref.ref(account.world)
    store = weakref.ref(account.world.store)

    account.application.reset(now=START + DAY)

    assert world() is None
    assert store() is None
    assert account.world.now == START + DAY


def test_the_history_forgets_the_oldest_by_number() -> None:
    history = History()
    for number in range(REQUESTS_REMEMBERED + 3):
        history.note(_past(number, answer=b"{}"))

    assert len(history.requests) == 2000
    assert history.find("req_2") is None
    assert [history.requests[0].id, history.requests[-1].id] == ["req_3", "req_2002"]


def test_the_history_forgets_the_oldest_by_bytes() -> None:
    """Answers of 64 KiB: 512 of them are the 32 MiB that are kept."""
    history = History()
    answer = b"x" * BODY_SIZE_KEPT_MAX
    for number in range(600):
        history.note(_past(number, answer=answer))

    assert BYTES_REMEMBERED_MAX == 33_554_432
    assert len(history.requests) == 512
    assert [history.requests[0].id, history.requests[-1].id] == ["req_88", "req_599"]


def _past(number: int, *, answer: bytes) -> PastRequest:
    return PastRequest(
        id=f"req_{number}",
        at=START,
        place=number,
        method="GET",
        path="/v1/customers",
        query="",
        body=b"",
        idempotency_key=None,
        status=200,
        answer=answer,
    )
