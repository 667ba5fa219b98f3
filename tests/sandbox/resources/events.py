"""The list of events. Stripe's reaches back 30 days, and so does this one, by the sandbox's clock."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import islice

from tests.sandbox.billing.periods import DAY_SECONDS
from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.lists import in_range, page_of, read_limit
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

REACH_SECONDS = 30 * DAY_SECONDS
# "An array of up to 20 strings", says the document of `types`, in words only.
TYPES_MAX = 20


@handles("GET /v1/events")
def list_events(world: World, parameters: Parameters) -> StripeObject:
    if "type" in parameters and "types" in parameters:
        raise StripeError(
            "You may only specify one of these parameters: type, types.", code="parameters_exclusive", param="types"
        )
    if len(parameters.get("types", ())) > TYPES_MAX:
        raise StripeError(f"You may only specify up to {TYPES_MAX} types.", param="types")
    if "ending_before" in parameters:
        found = list(_wanted(world, parameters, world.store.all("event")))
        return page_of(world.store, found, parameters, url="/v1/events")
    # Of a list that may be long, only what the page shows is looked for, from its newest on.
    events, store = world.store.all("event"), world.store
    if store.by_id(parameters.get("starting_after", "")) is not None:
        place = store.place(parameters["starting_after"])
        events = events[: bisect_left(events, place, key=lambda event: store.place(event["id"]))]
    shown = islice(_wanted(world, parameters, reversed(events)), read_limit(parameters) + 1)
    return page_of(store, list(shown)[::-1], parameters, url="/v1/events")


@handles("GET /v1/events/{id}")
def retrieve_event(world: World, parameters: Parameters, event_id: str) -> StripeObject:
    event = world.store.get("event", event_id)
    if event["created"] < world.now - REACH_SECONDS:
        raise resource_missing("event", event_id)
    return event


def _wanted(world: World, parameters: Parameters, events: Iterable[StripeObject]) -> Iterator[StripeObject]:
    """Those within reach that the filters let pass, in the order given."""
    oldest = world.now - REACH_SECONDS
    for event in events:
        if (
            event["created"] >= oldest
            and ("created" not in parameters or in_range(event["created"], parameters["created"]))
            and ("type" not in parameters or fnmatchcase(event["type"], parameters["type"]))
            and ("types" not in parameters or event["type"] in parameters["types"])
            and (
                "delivery_success" not in parameters
                or (event["pending_webhooks"] == 0) is parameters["delivery_success"]
            )
        ):
            yield event
