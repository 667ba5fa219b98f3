"""Taking meter events in. What is wrong with one is found at once or told later, as Stripe does.

At once (an error answer): a repeated identifier, a time out of the window, an event name without an active meter.
Later (an error report): everything about the payload. On the meter event stream everything is told later.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

from tests.sandbox.billing.periods import DAY_SECONDS
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.meter_events import MeterEvent
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

IDENTIFIER_KEPT_SECONDS = 24 * 3600  # Stripe: at least 24 hours; here exactly that
PAST_MAX_SECONDS = 35 * DAY_SECONDS
FUTURE_MAX_SECONDS = 5 * 60
DIGITS_MAX = 15
WHOLE_NUMBER = re.compile(r"[+-]?\d+")


@dataclass(frozen=True, slots=True)
class GivenEvent:
    """A meter event as it was sent. `timestamp` in Unix seconds."""

    event_name: str
    identifier: str
    timestamp: int
    payload: dict[str, str]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an event does not count. `code` is Stripe's; `meter` is None when no meter has the event's name."""

    code: str
    message: str
    meter: StripeObject | None
    identifier: str


def refuse_at_once(world: World, given: GivenEvent) -> None:
    """Raises `StripeError` for what Stripe finds while it answers."""
    if meter_named(world, given.event_name) is None:
        raise StripeError(f'No active meter found for event name "{given.event_name}".', param="event_name")
    oldest, newest = world.now - PAST_MAX_SECONDS, world.now + FUTURE_MAX_SECONDS
    if given.timestamp < oldest:
        raise StripeError(
            "The event timestamp cannot be more than 35 days in past. Expected a timestamp greater than or equal to "
            f"{oldest}.",
            param="timestamp",
        )
    if given.timestamp > newest:
        raise StripeError(
            "The event timestamp cannot be more than 5 minutes in the future. Expected a timestamp less than or equal "
            f"to {newest}.",
            param="timestamp",
        )
    if is_repeated(world, given.identifier):
        raise StripeError(f"An event already exists with identifier {given.identifier}.")  # Stripe gives it no code


def is_repeated(world: World, identifier: str) -> bool:
    received_at = world.meter_events.received_at(identifier)
    return received_at is not None and world.account_clock.now - received_at < IDENTIFIER_KEPT_SECONDS


def take(world: World, given: GivenEvent) -> Fault | None:
    """Count the event, or say why it does not count. A repeated identifier is dropped without a word."""
    if is_repeated(world, given.identifier):
        return None
    world.meter_events.receive(given.identifier, world.account_clock.now)
    fault = fault_of(world, given)
    meter = meter_named(world, given.event_name)
    if fault is None and meter is not None:
        world.meter_events.add(
            MeterEvent(
                meter=meter["id"],
                customer=given.payload[meter["customer_mapping"]["event_payload_key"]],
                event_name=given.event_name,
                identifier=given.identifier,
                timestamp=given.timestamp,
                received_at=world.account_clock.now,
                value=_value(meter, given),
            )
        )
    return fault


def cancel(world: World, event_name: str, identifier: str) -> None:
    """Take a counted event back. Raises `StripeError` for one that was not received in the last 24 hours."""
    event = world.meter_events.find(event_name, identifier)
    if event is None or event.canceled:
        raise StripeError(
            f"No meter event found with identifier {identifier} for event name {event_name}.",
            code="resource_missing",
            param="cancel[identifier]",
        )
    if world.account_clock.now - event.received_at > IDENTIFIER_KEPT_SECONDS:
        raise StripeError(
            "Meter events can only be canceled within 24 hours of Stripe receiving them.", param="cancel[identifier]"
        )
    world.meter_events.cancel(event)


def meter_named(world: World, event_name: str) -> StripeObject | None:
    """The active meter of an event name."""
    meters = world.store.all("billing.meter")
    return next((meter for meter in meters if meter["event_name"] == event_name and meter["status"] == "active"), None)


def fault_of(world: World, given: GivenEvent) -> Fault | None:
    """What keeps the event from being counted, apart from a repeated identifier."""
    meter = meter_named(world, given.event_name)

    def fault(code: str, message: str, of: StripeObject | None = meter) -> Fault:
        return Fault(code, message, of, given.identifier)

    if meter is None:
        archived = [found for found in world.store.all("billing.meter") if found["event_name"] == given.event_name]
        if archived:
            return fault("archived_meter", f"The meter {archived[-1]['id']} is archived.", archived[-1])
        return fault("no_meter", f"No meter was found matching event_name {given.event_name}.")
    key = meter["customer_mapping"]["event_payload_key"]
    customer = given.payload.get(key)
    if not customer:
        return fault("meter_event_no_customer_defined", f"Customer mapping key {key} not found in payload.")
    if world.store.find("customer", customer) is None:
        return fault("meter_event_customer_not_found", f"Customer {customer} not found.")
    if given.timestamp < world.now - PAST_MAX_SECONDS:
        return fault("timestamp_too_far_in_past", "The event timestamp is more than 35 days in the past.")
    if given.timestamp > world.now + FUTURE_MAX_SECONDS:
        return fault("timestamp_in_future", "The event timestamp is more than 5 minutes in the future.")
    return _value_fault(meter, given)


def _value_fault(meter: StripeObject, given: GivenEvent) -> Fault | None:
    """A meter that counts events needs no value."""
    if meter["default_aggregation"]["formula"] == "count":
        return None
    key = meter["value_settings"]["event_payload_key"]
    text = given.payload.get(key)
    if text is None:
        code, message = "meter_event_value_not_found", f"Value key {key} not found in payload."
    elif not WHOLE_NUMBER.fullmatch(text):
        code, message = "meter_event_invalid_value", f"Value {text} is not a whole number."
    elif len(text.lstrip("+-").lstrip("0")) > DIGITS_MAX:
        code, message = "meter_event_value_too_many_digits", f"Value {text} has more than {DIGITS_MAX} digits."
    else:
        return None
    return Fault(code, message, meter, given.identifier)


def _value(meter: StripeObject, given: GivenEvent) -> Decimal:
    if meter["default_aggregation"]["formula"] == "count":
        return Decimal(1)
    return Decimal(given.payload[meter["value_settings"]["event_payload_key"]])
