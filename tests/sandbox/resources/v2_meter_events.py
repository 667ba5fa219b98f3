"""Meter events of /v2: one at a time and checked at once, or a hundred in a stream and checked later."""

from datetime import datetime
from typing import Any

from tests.sandbox.billing.prices.meter_errors import report_faults
from tests.sandbox.billing.prices.meter_intake import GivenEvent, cancel, fault_of, is_repeated, take
from tests.sandbox.billing.prices.thin_events import moment_text
from tests.sandbox.core.belonging import named_test_clock
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.core.v2 import TEXT, handles_v2, object_schema
from tests.sandbox.world import World

SESSION_SECONDS = 15 * 60
EVENTS_MAX = 100
NAME: dict[str, Any] = {"type": "string", "maxLength": 100}
EVENT: dict[str, Any] = {
    "event_name": NAME,
    "identifier": NAME,
    "payload": {"type": "object", "additionalProperties": NAME},
    "timestamp": TEXT,
}
EVENT_REQUIRED = ("event_name", "payload")


@handles_v2("POST /v2/billing/meter_events", EVENT, required=EVENT_REQUIRED)
def create_meter_event(world: World, parameters: Parameters) -> StripeObject:
    """Everything that is wrong with the event is answered at once, with the code that a report would give it."""
    given = _given(world, parameters)
    if is_repeated(world, given.identifier):
        raise StripeError(f"An event already exists with identifier {given.identifier}.", code="duplicate_meter_event")
    fault = fault_of(world, given)
    if fault is not None:
        raise StripeError(fault.message, code=fault.code)
    take(world, given)
    return {
        "object": "v2.billing.meter_event",
        "created": moment_text(world.now),
        "event_name": given.event_name,
        "identifier": given.identifier,
        "livemode": False,
        "payload": given.payload,
        "timestamp": moment_text(given.timestamp),
    }


@handles_v2(
    "POST /v2/billing/meter_event_adjustments",
    {
        "cancel": object_schema({"identifier": NAME}, required=("identifier",)),
        "event_name": NAME,
        "type": {"type": "string", "enum": ["cancel"]},
    },
    required=("cancel", "event_name", "type"),
)
def create_meter_event_adjustment(world: World, parameters: Parameters) -> StripeObject:
    cancel(world, parameters["event_name"], parameters["cancel"]["identifier"])
    return {
        "id": world.ids.new("mtr_event_adj"),
        "object": "v2.billing.meter_event_adjustment",
        "cancel": parameters["cancel"],
        "created": moment_text(world.now),
        "event_name": parameters["event_name"],
        "livemode": False,
        "status": "complete",
        "type": "cancel",
    }


@handles_v2("POST /v2/billing/meter_event_session")
def create_meter_event_session(world: World, parameters: Parameters) -> StripeObject:
    """A token for the stream, good for a quarter of an hour of the account's clock."""
    token = world.ids.new("token", 32)
    now = world.account_clock.now
    world.meter_sessions[token] = now + SESSION_SECONDS
    return {
        "id": world.ids.new("mtr_event_session"),
        "object": "v2.billing.meter_event_session",
        "authentication_token": token,
        "created": moment_text(now),
        "expires_at": moment_text(now + SESSION_SECONDS),
        "livemode": False,
    }


@handles_v2(
    "POST /v2/billing/meter_event_stream",
    {"events": {"type": "array", "items": object_schema(EVENT, required=EVENT_REQUIRED)}},
    required=("events",),
    by_session=True,
)
def stream_meter_events(world: World, parameters: Parameters) -> StripeObject:
    """Takes what counts; the rest is told by error reports. Answers nothing."""
    if not 1 <= len(parameters["events"]) <= EVENTS_MAX:
        raise StripeError(f"Between 1 and {EVENTS_MAX} events can be sent at a time.", param="events")
    given = [(event, _given(world, event)) for event in parameters["events"]]
    faults = []
    for event, read in given:
        with world.by_clock(world.clock_with(named_test_clock(world.store, event, ()))):
            faults.append(take(world, read))
    report_faults(world, [fault for fault in faults if fault is not None])
    return {}


def _given(world: World, event: Parameters) -> GivenEvent:
    clock = world.clock_with(named_test_clock(world.store, event, ()))
    return GivenEvent(
        event_name=event["event_name"],
        identifier=event.get("identifier") or world.ids.new("mtrevt"),
        timestamp=_moment(event["timestamp"]) if "timestamp" in event else clock.now,
        payload=event["payload"],
    )


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise StripeError(f"Invalid timestamp: {text}. It must be in RFC 3339 format.", param="timestamp")
    return int(moment.timestamp())
