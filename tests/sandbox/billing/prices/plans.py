"""A recurring price as the plan it also is: Stripe shows one object under both names and tells its life under both.

The plan is made from the price each time, so the two can never differ.
"""

from typing import Any

from tests.sandbox.core.expand import includes
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def plan_of(world: World, price: StripeObject) -> StripeObject:
    """The plan of a recurring price, without its tiers, which are shown only when expanded."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": recurring["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": price["transform_quantity"],
        "trial_period_days": world.trial_period_days.get(price["id"]),
        "usage_type": recurring["usage_type"],
    }


def tell_price(world: World, price: StripeObject, what: str) -> None:
    """`plan.created` and then `price.created` (or deleted), the order in which Stripe's CLI shows them."""
    if price["recurring"] is not None:
        world.emit(f"plan.{what}", plan_of(world, price))
    world.emit(f"price.{what}", price)


def change_price(
    world: World, price: StripeObject, changes: dict[str, Any], *, trial_period_days: int | None = None
) -> None:
    """Change a price and its plan together, and tell what changed of each. Trial days of None are left as they are."""
    before = plan_of(world, price) if price["recurring"] is not None else None
    if trial_period_days is not None:
        world.trial_period_days[price["id"]] = trial_period_days
    previous = world.update(price, None, **changes)
    if before is not None:
        plan = plan_of(world, price)
        differing = {field: value for field, value in before.items() if plan[field] != value}
        if differing:
            world.emit("plan.updated", plan, previous=differing)
    if previous:
        world.emit("price.updated", price, previous=previous)


@includes("price", "tiers")
@includes("plan", "tiers")
def _tiers(world: World, price: StripeObject) -> list[StripeObject] | None:
    return world.price_tiers.get(price["id"])


@includes("price", "currency_options")
def _currency_options(world: World, price: StripeObject) -> dict[str, StripeObject]:
    """All currencies of a price, its own among them. Assumption: tiers come along without being asked for."""
    own = {
        "custom_unit_amount": price["custom_unit_amount"],
        "tax_behavior": price["tax_behavior"],
        "unit_amount": price["unit_amount"],
        "unit_amount_decimal": price["unit_amount_decimal"],
    }
    if price["billing_scheme"] == "tiered":
        own["tiers"] = world.price_tiers[price["id"]]
    return {price["currency"]: own} | world.currency_options.get(price["id"], {})
