"""The two faults in what Stripe remembers: lists that lag behind, and idempotency keys that are forgotten."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.sandbox.core.document import Operation
from tests.sandbox.core.faults import FORGET_IDEMPOTENCY_KEYS, LAGGING_LISTS
from tests.sandbox.wire import Request
from tests.sandbox.world import World

LISTS = frozenset({"list", "search_result"})


@contextmanager
def lists_lag(world: World, request: Request, operation: Operation) -> Iterator[None]:
    """Answer a list or a search, when a fault says so, from the objects as they were a while ago."""
    journal = world.store.journal
    if journal is None:
        yield
        return
    if request.method != "GET":
        journal.begin_write()
    call = f"{request.method} {request.path}"
    is_list = request.method == "GET" and operation.answer.tag in LISTS
    modes = frozenset({LAGGING_LISTS})
    fault = world.faults.take("operation", call, modes=modes, names=request.names) if is_list else None
    if fault is None:
        yield
        return
    world.history.hit(fault.mode, call, body=request.body, at=world.now, place=world.store.created_count)
    present = world.store
    world.store = journal.store_as_of(present, seconds=fault.seconds, writes=fault.writes)
    try:
        yield
    finally:
        world.store = present


def forget_key(world: World, request: Request, key: str) -> None:
    """Forget a key that was used, when a fault says so: what is sent with it again is done again."""
    if not world.idempotency.knows(key):
        return
    call = f"{request.method} {request.path}"
    modes = frozenset({FORGET_IDEMPOTENCY_KEYS})
    fault = world.faults.take("operation", call, modes=modes, names=request.names)
    if fault is not None:
        world.history.hit(fault.mode, call, body=request.body, at=world.now, place=world.store.created_count)
        world.idempotency.forget(key)
