"""Tax rates: a percentage, on top of a price or inside it. What it taxes and how is fixed once made."""

from typing import Any

from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

TEXTS = ("country", "description", "jurisdiction", "state")
UPDATABLE = frozenset({*TEXTS, "active", "display_name", "metadata", "tax_type"})


@handles("POST /v1/tax_rates")
def create_tax_rate(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, UPDATABLE | {"inclusive", "percentage"}, "POST /v1/tax_rates")
    if not 0 <= parameters["percentage"] <= 100:
        raise StripeError("Invalid percentage: must be between 0 and 100.", param="percentage")
    rate = world.new(
        "tax_rate",
        "txr",
        active=True,
        inclusive=parameters["inclusive"],
        metadata={},
        percentage=parameters["percentage"],
        rate_type="percentage",
    )
    rate.update(_changes(rate, parameters))
    world.emit("tax_rate.created", rate)
    return rate


@handles("GET /v1/tax_rates")
def list_tax_rates(world: World, parameters: Parameters) -> StripeObject:
    rates = matching(world.store.all("tax_rate"), parameters, "active", "inclusive")
    return page_of(world.store, rates, parameters, url="/v1/tax_rates")


@handles("GET /v1/tax_rates/{tax_rate}")
def retrieve_tax_rate(world: World, parameters: Parameters, rate_id: str) -> StripeObject:
    return world.store.get("tax_rate", rate_id, noun="tax rate")


@handles("POST /v1/tax_rates/{tax_rate}")
def update_tax_rate(world: World, parameters: Parameters, rate_id: str) -> StripeObject:
    refuse_unsupported(parameters, UPDATABLE, "POST /v1/tax_rates/{tax_rate}")
    rate = world.store.get("tax_rate", rate_id, noun="tax rate")
    world.update(rate, "tax_rate.updated", **_changes(rate, parameters))
    return rate


def _changes(rate: StripeObject, parameters: Parameters) -> dict[str, Any]:
    changes: dict[str, Any] = {name: unset(parameters[name]) for name in TEXTS if name in parameters}
    changes |= {name: parameters[name] for name in ("active", "display_name", "tax_type") if name in parameters}
    changes["metadata"] = merged_metadata(rate["metadata"], parameters)
    return changes
