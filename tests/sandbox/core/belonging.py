"""Whose an object is: the customer behind it, and the test clock that the customer lives by.

An object of a test clock carries it itself (`test_clock`), or is the customer's whose clock it is, at one or two
removes: a refund's charge, an invoice payment's invoice, a subscription item's subscription.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import Store, StripeObject

LEADS = ("invoice", "subscription", "charge", "payment_intent", "setup_intent", "from_subscription")
# Parameters whose own values name objects: a meter event says whose usage it is inside its payload.
NAMING_CONTAINERS = ("payload",)
NO_PARTS: Mapping[str, str] = {}


def customer_of(store: Store, thing: StripeObject) -> str | None:
    """The id of the customer that `thing` belongs to; None for what belongs to the account (a price, a coupon …)."""
    if thing.get("object") == "customer":
        return str(thing["id"])
    customer = thing.get("customer")
    if isinstance(customer, str):
        return customer
    for lead in LEADS:
        found = store.by_id(thing[lead]) if isinstance(thing.get(lead), str) else None
        if found is not None and found is not thing:
            return customer_of(store, found)
    return None


def test_clock_of(store: Store, thing: StripeObject) -> str | None:
    """The id of the test clock that `thing` lives by; None for the account's clock."""
    if thing.get("object") == "test_helpers.test_clock":
        return str(thing["id"])
    if thing.get("test_clock"):
        return str(thing["test_clock"])
    customer = store.find("customer", customer_of(store, thing))
    return customer["test_clock"] if customer else None


def named_test_clock(
    store: Store, parameters: Parameters, path_values: tuple[str, ...], part_of: Mapping[str, str] = NO_PARTS
) -> str | None:
    """The test clock of the first object that a request names, in its path or as the value of a parameter.

    `part_of` leads from the id of a part that is no stored object (a subscription item) to what it is a part of.
    """
    for value in (*path_values, *_named(parameters)):
        thing = store.by_id(part_of.get(value, value))
        clock = test_clock_of(store, thing) if thing is not None else None
        if clock is not None:
            return clock
    return None


def without_other_clocks(things: list[StripeObject], parameters: Parameters) -> list[StripeObject]:
    """As Stripe lists: with `test_clock`, only its objects; without it, a list of all has none of any test clock."""
    if "test_clock" in parameters:
        return [thing for thing in things if thing["test_clock"] == parameters["test_clock"]]
    if any(name in parameters for name in ("customer", "invoice", "subscription")):
        return things
    return [thing for thing in things if thing["test_clock"] is None]


def _named(parameters: Parameters) -> Iterator[str]:
    for name, value in parameters.items():
        if isinstance(value, str):
            yield value
        elif name in NAMING_CONTAINERS and isinstance(value, dict):
            inner: dict[str, Any] = value
            yield from (text for text in inner.values() if isinstance(text, str))
