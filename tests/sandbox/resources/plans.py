"""Legacy plans: recurring prices under their older name and with its parameters."""

from typing import Any

from tests.sandbox.billing.prices.catalog import new_price_and_product
from tests.sandbox.billing.prices.plans import change_price, plan_of, tell_price
from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

SAME_NAMES = frozenset(
    {"active", "billing_scheme", "currency", "id", "metadata", "nickname", "tiers", "tiers_mode", "trial_period_days"}
)
PRICE_NAMES = {
    "amount": "unit_amount",
    "amount_decimal": "unit_amount_decimal",
    "transform_usage": "transform_quantity",
}
RECURRING_NAMES = ("interval", "interval_count", "meter", "usage_type")


@handles("POST /v1/plans")
def create_plan(world: World, parameters: Parameters) -> StripeObject:
    if world.store.find("price", parameters.get("id")):
        raise StripeError("Plan already exists.", code="resource_already_exists", param="id")
    if "product" not in parameters:
        raise StripeError("Missing required param: product.", code="parameter_missing", param="product")
    wanted = {name: value for name, value in parameters.items() if name in SAME_NAMES}
    wanted |= {name: parameters[given] for given, name in PRICE_NAMES.items() if given in parameters}
    wanted["recurring"] = {name: parameters[name] for name in RECURRING_NAMES if name in parameters}
    wanted["product" if isinstance(parameters["product"], str) else "product_data"] = parameters["product"]
    return plan_of(world, new_price_and_product(world, wanted))


@handles("GET /v1/plans")
def list_plans(world: World, parameters: Parameters) -> StripeObject:
    prices = matching(world.store.all("price"), parameters, "active", "product")
    plans = [plan_of(world, price) for price in prices if price["recurring"] is not None]
    return page_of(world.store, plans, parameters, url="/v1/plans")


@handles("GET /v1/plans/{plan}")
def retrieve_plan(world: World, parameters: Parameters, plan_id: str) -> StripeObject:
    return plan_of(world, _price_of_plan(world, plan_id))


@handles("POST /v1/plans/{plan}")
def update_plan(world: World, parameters: Parameters, plan_id: str) -> StripeObject:
    price = _price_of_plan(world, plan_id)
    changes: dict[str, Any] = {"metadata": merged_metadata(price["metadata"], parameters)}
    if "active" in parameters:
        changes["active"] = parameters["active"]
    if "nickname" in parameters:
        changes["nickname"] = unset(parameters["nickname"])
    if "product" in parameters:
        changes["product"] = world.store.get("product", parameters["product"], param="product")["id"]
    change_price(world, price, changes, trial_period_days=parameters.get("trial_period_days"))
    return plan_of(world, price)


@handles("DELETE /v1/plans/{plan}")
def delete_plan(world: World, parameters: Parameters, plan_id: str) -> StripeObject:
    """Nobody can subscribe to it any more; who has subscribed stays."""
    price = _price_of_plan(world, plan_id)
    world.store.remove(price)
    gone = {"id": plan_id, "object": "plan", "deleted": True}
    world.tombstones[plan_id] = gone
    tell_price(world, price, "deleted")
    return gone


def _price_of_plan(world: World, plan_id: str) -> StripeObject:
    price = world.store.find("price", plan_id)
    if price is None or price["recurring"] is None:
        raise resource_missing("plan", plan_id, param="plan")
    return price
