"""Test clocks: time that some customers live by, apart from the account's. How one is chosen: `world.py`."""

from tests.sandbox.billing.customers import delete_customer
from tests.sandbox.billing.subscriptions.simulating import (
    LIFETIME_SECONDS,
    begin_advance,
    customers_of,
    require_reachable,
)
from tests.sandbox.core.clock import Clock
from tests.sandbox.core.lists import page_of
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

KIND = "test_helpers.test_clock"
URL = "/v1/test_helpers/test_clocks"


@handles("POST /v1/test_helpers/test_clocks")
def create_test_clock(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, frozenset({"frozen_time", "name"}), f"POST {URL}")
    created = world.account_clock.now
    test_clock = world.new(
        KIND,
        "clock",
        created=created,
        deletes_after=created + LIFETIME_SECONDS,
        frozen_time=parameters["frozen_time"],
        name=parameters.get("name"),
        status="ready",
        status_details={},
    )
    world.test_clocks[test_clock["id"]] = Clock(parameters["frozen_time"], test_clock_id=test_clock["id"])
    world.emit("test_helpers.test_clock.created", test_clock)
    _delete_when_due(world, test_clock)
    return test_clock


@handles("GET /v1/test_helpers/test_clocks")
def list_test_clocks(world: World, parameters: Parameters) -> StripeObject:
    return page_of(world.store, world.store.all(KIND), parameters, url=URL)


@handles("GET /v1/test_helpers/test_clocks/{test_clock}")
def retrieve_test_clock(world: World, parameters: Parameters, test_clock_id: str) -> StripeObject:
    return _find(world, test_clock_id)


@handles("POST /v1/test_helpers/test_clocks/{test_clock}/advance")
def advance_test_clock(world: World, parameters: Parameters, test_clock_id: str) -> StripeObject:
    test_clock = _find(world, test_clock_id)
    moment: int = parameters["frozen_time"]
    require_reachable(world, world.test_clocks[test_clock_id], moment)
    begin_advance(world, test_clock, moment)
    return test_clock


@handles("DELETE /v1/test_helpers/test_clocks/{test_clock}")
def delete_test_clock(world: World, parameters: Parameters, test_clock_id: str) -> StripeObject:
    test_clock = _find(world, test_clock_id)
    _delete(world, test_clock)
    return {"id": test_clock_id, "object": KIND, "deleted": True}


def _delete(world: World, test_clock: StripeObject) -> None:
    """Its customers go with it, and their subscriptions are canceled."""
    with world.by_clock(world.test_clocks[test_clock["id"]]):
        for customer in customers_of(world, test_clock["id"]):
            delete_customer(world, customer)
    world.store.remove(test_clock)
    world.emit("test_helpers.test_clock.deleted", test_clock)


def _delete_when_due(world: World, test_clock: StripeObject) -> None:
    def due() -> None:
        if world.store.find(KIND, test_clock["id"]) is not None:
            _delete(world, test_clock)

    world.account_clock.at(test_clock["deletes_after"], due, f"deletion of {test_clock['id']}")


def _find(world: World, test_clock_id: str) -> StripeObject:
    return world.store.get(KIND, test_clock_id, noun="test_clock")
