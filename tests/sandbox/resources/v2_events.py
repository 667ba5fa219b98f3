"""Thin events, as far back as 30 days."""

from datetime import datetime

from tests.sandbox.billing.periods import DAY_SECONDS
from tests.sandbox.billing.prices.thin_events import moment_text
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.core.v2 import TEXT, TEXTS, handles_v2, object_schema, v2_not_found, v2_page
from tests.sandbox.world import World

REACH_SECONDS = 30 * DAY_SECONDS
BOUNDS = {"gt": TEXT, "gte": TEXT, "lt": TEXT, "lte": TEXT}


@handles_v2(
    "GET /v2/core/events",
    {
        "created": object_schema(BOUNDS),
        "limit": {"type": "integer"},
        "object_id": TEXT,
        "page": TEXT,
        "types": TEXTS,
    },
)
def list_events(world: World, parameters: Parameters) -> StripeObject:
    events = [event for event in world.store.all("v2.core.event") if _reachable(world, event)][::-1]
    if "object_id" in parameters:
        wanted = parameters["object_id"]
        events = [event for event in events if (event["related_object"] or {}).get("id") == wanted]
    if "types" in parameters:
        events = [event for event in events if event["type"] in parameters["types"]]
    for comparison, text in parameters.get("created", {}).items():
        events = [event for event in events if _compares(event["created"], comparison, text)]
    return v2_page(events, parameters, path="/v2/core/events")


@handles_v2("GET /v2/core/events/{id}")
def retrieve_event(world: World, parameters: Parameters, event_id: str) -> StripeObject:
    event = world.store.find("v2.core.event", event_id)
    if event is None or not _reachable(world, event):
        raise v2_not_found(event_id)
    return event


def _reachable(world: World, event: StripeObject) -> bool:
    return bool(event["created"] >= moment_text(world.account_clock.now - REACH_SECONDS))


def _compares(created: str, comparison: str, text: str) -> bool:
    try:
        moment, bound = datetime.fromisoformat(created), datetime.fromisoformat(text)
        return {"gt": moment > bound, "gte": moment >= bound, "lt": moment < bound, "lte": moment <= bound}[comparison]
    except (ValueError, TypeError) as error:
        raise StripeError(f"Invalid timestamp: {text}. It must be in RFC 3339 format.", param="created") from error
