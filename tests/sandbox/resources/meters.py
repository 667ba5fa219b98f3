"""Meters: what is counted, under which event name, and how its events add up."""

from tests.sandbox.billing.prices.meter_summaries import summaries
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.lists import matching, ordered_page, page_of
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

NOUN = "billing meter"


@handles("POST /v1/billing/meters")
def create_meter(world: World, parameters: Parameters) -> StripeObject:
    _refuse_second(world, parameters["event_name"])
    meter = world.new(
        "billing.meter",
        "mtr",
        customer_mapping=parameters.get(
            "customer_mapping", {"event_payload_key": "stripe_customer_id", "type": "by_id"}
        ),
        default_aggregation=parameters["default_aggregation"],
        display_name=parameters["display_name"],
        event_name=parameters["event_name"],
        event_time_window=parameters.get("event_time_window"),
        status="active",
        updated=world.now,
        value_settings=parameters.get("value_settings", {"event_payload_key": "value"}),
    )
    world.emit("billing.meter.created", meter)
    return meter


@handles("GET /v1/billing/meters")
def list_meters(world: World, parameters: Parameters) -> StripeObject:
    meters = matching(world.store.all("billing.meter"), parameters, "status")
    return page_of(world.store, meters, parameters, url="/v1/billing/meters")


@handles("GET /v1/billing/meters/{id}")
def retrieve_meter(world: World, parameters: Parameters, meter_id: str) -> StripeObject:
    return world.store.get("billing.meter", meter_id, noun=NOUN)


@handles("POST /v1/billing/meters/{id}")
def update_meter(world: World, parameters: Parameters, meter_id: str) -> StripeObject:
    meter = world.store.get("billing.meter", meter_id, noun=NOUN)
    name = parameters.get("display_name", meter["display_name"])
    if name != meter["display_name"]:
        world.update(meter, "billing.meter.updated", display_name=name, updated=world.now)
    return meter


@handles("POST /v1/billing/meters/{id}/deactivate")
def deactivate_meter(world: World, parameters: Parameters, meter_id: str) -> StripeObject:
    """No more events are taken; what was counted is still billed."""
    meter = world.store.get("billing.meter", meter_id, noun=NOUN)
    if meter["status"] != "active":
        raise StripeError(f"The meter {meter_id} is already inactive.", param="id")
    world.update(meter, None, status="inactive", status_transitions={"deactivated_at": world.now}, updated=world.now)
    world.emit("billing.meter.deactivated", meter)
    return meter


@handles("POST /v1/billing/meters/{id}/reactivate")
def reactivate_meter(world: World, parameters: Parameters, meter_id: str) -> StripeObject:
    meter = world.store.get("billing.meter", meter_id, noun=NOUN)
    if meter["status"] == "active":
        raise StripeError(f"The meter {meter_id} is already active.", param="id")
    _refuse_second(world, meter["event_name"])
    world.update(meter, None, status="active", status_transitions={"deactivated_at": None}, updated=world.now)
    world.emit("billing.meter.reactivated", meter)
    return meter


@handles("GET /v1/billing/meters/{id}/event_summaries")
def list_event_summaries(world: World, parameters: Parameters, meter_id: str) -> StripeObject:
    meter = world.store.get("billing.meter", meter_id, noun=NOUN)
    customer = world.store.get("customer", parameters["customer"], param="customer")
    found = summaries(
        world,
        meter,
        customer["id"],
        period=(parameters["start_time"], parameters["end_time"]),
        window=parameters.get("value_grouping_window"),
    )
    return ordered_page(found, parameters, url=f"/v1/billing/meters/{meter_id}/event_summaries")


def _refuse_second(world: World, event_name: str) -> None:
    for meter in world.store.all("billing.meter"):
        if meter["event_name"] == event_name and meter["status"] == "active":
            raise StripeError(
                f"An active meter already exists for event name '{event_name}'. To create a new meter with the same "
                "event name, first deactivate the currently active meter."
            )
