"""Meter events of /v1, and taking them back. Neither can be read again; a meter's event summaries show their sum."""

from tests.sandbox.billing.prices.meter_errors import report_faults
from tests.sandbox.billing.prices.meter_intake import GivenEvent, cancel, refuse_at_once, take
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

PAYLOAD_TEXT_MAX = 100


@handles("POST /v1/billing/meter_events")
def create_meter_event(world: World, parameters: Parameters) -> StripeObject:
    for name, text in parameters["payload"].items():
        if len(text) > PAYLOAD_TEXT_MAX:
            raise StripeError(
                f"Invalid string: must be at most {PAYLOAD_TEXT_MAX} characters",
                code="parameter_invalid_string_too_long",
                param=f"payload[{name}]",
            )
    given = GivenEvent(
        event_name=parameters["event_name"],
        identifier=parameters.get("identifier") or world.ids.new("mtrevt"),
        timestamp=parameters.get("timestamp", world.now),
        payload=parameters["payload"],
    )
    refuse_at_once(world, given)
    fault = take(world, given)
    if fault is not None:
        report_faults(world, [fault])
    return world.skeletons.new(
        "billing.meter_event",
        created=world.now,
        event_name=given.event_name,
        identifier=given.identifier,
        payload=given.payload,
        timestamp=given.timestamp,
    )


@handles("POST /v1/billing/meter_event_adjustments")
def create_meter_event_adjustment(world: World, parameters: Parameters) -> StripeObject:
    identifier = parameters.get("cancel", {}).get("identifier")
    if identifier is None:
        raise StripeError(
            "Missing required param: cancel[identifier].", code="parameter_missing", param="cancel[identifier]"
        )
    cancel(world, parameters["event_name"], identifier)
    return world.skeletons.new(
        "billing.meter_event_adjustment",
        cancel={"identifier": identifier},
        event_name=parameters["event_name"],
        status="complete",
        type="cancel",
    )
