"""The list of events. Stripe's reaches back 30 days, and so does this one, by the sandbox's clock."""

from fnmatch import fnmatchcase

from tests.sandbox.billing.periods import DAY_SECONDS
from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.lists import page_of
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
    oldest = world.now - REACH_SECONDS
    events = [event for event in world.store.all("event") if event["created"] >= oldest]
    if "type" in parameters:
        events = [event for event in events if fnmatchcase(event["type"], parameters["type"])]
    if "types" in parameters:
        events = [event for event in events if event["type"] in parameters["types"]]
    if "delivery_success" in parameters:
        wanted = parameters["delivery_success"]
        events = [event for event in events if (event["pending_webhooks"] == 0) is wanted]
    return page_of(world.store, events, parameters, url="/v1/events")


@handles("GET /v1/events/{id}")
def retrieve_event(world: World, parameters: Parameters, event_id: str) -> StripeObject:
    event = world.store.get("event", event_id)
    if event["created"] < world.now - REACH_SECONDS:
        raise resource_missing("event", event_id)
    return event
