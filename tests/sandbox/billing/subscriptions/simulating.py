"""Test clocks: what may be put on one, how far one may be moved, moving it, and its end.

Sources: the description of `frozen_time` in Stripe's document (two intervals of the shortest subscription, else two
years), and Stripe's pages on test clocks (three customers a clock, three subscriptions a customer).
"""

from collections.abc import Iterator

from tests.sandbox.billing.periods import DAY_SECONDS, Interval, boundary
from tests.sandbox.billing.subscriptions.anchoring import interval_of
from tests.sandbox.billing.subscriptions.ended import ENDED
from tests.sandbox.core.clock import Clock, iso
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

CUSTOMERS_MAX = 3
SUBSCRIPTIONS_OF_CUSTOMER_MAX = 3
INTERVALS_AT_ONCE_MAX = 2
YEARS_AT_ONCE_MAX = 2
# Stripe's examples show seven and thirty days; recorded from the real Stripe are thirty (stripe-python issue 789).
LIFETIME_SECONDS = 30 * DAY_SECONDS
SCHEDULED = frozenset({"not_started", "active"})


def require_room_for_customer(world: World) -> None:
    """Raises `StripeError` when the test clock in force has all the customers that it may have."""
    if world.clock.id is not None and len(customers_of(world, world.clock.id)) >= CUSTOMERS_MAX:
        raise StripeError(f"A test clock can have at most {CUSTOMERS_MAX} customers.", param="test_clock")


def require_room_for_subscription(world: World, customer: StripeObject) -> None:
    """Raises `StripeError` when a customer of a test clock has all the subscriptions that they may have."""
    if customer["test_clock"] is None:
        return
    subscriptions = world.store.where("subscription", "customer", customer["id"])
    if sum(item["status"] not in ENDED for item in subscriptions) >= SUBSCRIPTIONS_OF_CUSTOMER_MAX:
        raise StripeError(
            f"A customer of a test clock can have at most {SUBSCRIPTIONS_OF_CUSTOMER_MAX} subscriptions.",
            param="customer",
        )


def customers_of(world: World, test_clock_id: str) -> list[StripeObject]:
    return world.store.where("customer", "test_clock", test_clock_id)


def require_reachable(world: World, clock: Clock, moment: int) -> None:
    """Raises `StripeError` for a moment that is not later, or further away than a clock may go at once."""
    if moment <= clock.now:
        raise StripeError(
            f"The new frozen time must be after the test clock's current frozen time ({iso(clock.now)}).",
            param="frozen_time",
        )
    intervals = list(_intervals(world, clock))
    if not intervals:
        furthest = boundary(clock.now, Interval("year", 1), YEARS_AT_ONCE_MAX)
        bound = f"{YEARS_AT_ONCE_MAX} years"
    else:
        furthest = min(boundary(clock.now, interval, INTERVALS_AT_ONCE_MAX) for interval in intervals)
        bound = f"{INTERVALS_AT_ONCE_MAX} intervals of its shortest subscription"
    if moment > furthest:
        raise StripeError(
            f"A test clock cannot be advanced by more than {bound} at once: not later than {furthest}.",
            param="frozen_time",
        )


def begin_advance(world: World, test_clock: StripeObject, moment: int) -> None:
    """Say that the clock moves; it does so after the current request is answered."""
    details = {"advancing": {"target_frozen_time": moment}}
    world.update(test_clock, None, status="advancing", status_details=details)
    world.emit("test_helpers.test_clock.advancing", test_clock)
    world.account_clock.at(
        world.account_clock.now, lambda: _advance(world, test_clock, moment), f"advance of {test_clock['id']}"
    )


def _advance(world: World, test_clock: StripeObject, moment: int) -> None:
    clock = world.test_clocks[test_clock["id"]]
    with world.by_clock(clock):
        clock.advance(moment)
    world.update(test_clock, None, frozen_time=moment, status="ready", status_details={})
    world.emit("test_helpers.test_clock.ready", test_clock)


def _intervals(world: World, clock: Clock) -> Iterator[Interval]:
    """Of every price that a customer of the clock has subscribed to, or will by a schedule."""
    for customer in customers_of(world, str(clock.id)):
        for subscription in world.store.where("subscription", "customer", customer["id"]):
            if subscription["status"] not in ENDED:
                yield from (interval_of(item["price"]) for item in subscription["items"]["data"])
        for schedule in world.store.where("subscription_schedule", "customer", customer["id"]):
            if schedule["status"] in SCHEDULED:
                prices = [item["price"] for phase in schedule["phases"] for item in phase["items"]]
                yield from (interval_of(world.store.get("price", price)) for price in prices)
