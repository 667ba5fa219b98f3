"""What `items[]` of a request says, held against what Stripe allows, and the subscription items made from it."""

from collections.abc import Sequence
from typing import Any

from tests.sandbox.billing.invoices.discounts import new_discounts, replaced_discounts
from tests.sandbox.billing.invoices.tax_rates import find_tax_rates
from tests.sandbox.billing.periods import DAY_SECONDS, MONTHS, SECONDS, Interval
from tests.sandbox.billing.prices.catalog import new_price
from tests.sandbox.billing.prices.pricing import is_metered, offer_in
from tests.sandbox.billing.subscriptions.anchoring import interval_of
from tests.sandbox.billing.subscriptions.period_lines import metered
from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

ITEMS_MAX = 20
TERMS = frozenset({"discounts", "metadata", "price", "price_data", "quantity", "tax_rates"})


def items_of(subscription: StripeObject) -> list[StripeObject]:
    items: list[StripeObject] = subscription["items"]["data"]
    return items


def list_of_items(subscription_id: str, items: Sequence[StripeObject]) -> StripeObject:
    url = f"/v1/subscription_items?subscription={subscription_id}"
    return {"object": "list", "data": list(items), "has_more": False, "url": url}


def price_for(world: World, given: Parameters, where: str) -> StripeObject:
    """The recurring price that an item names or describes. Raises `StripeError` for any other."""
    if ("price" in given) == ("price_data" in given):
        raise StripeError(
            f"You must specify exactly one of `{where}[price]` and `{where}[price_data]`.",
            code="parameters_exclusive" if "price" in given else "parameter_missing",
            param=f"{where}[price]",
        )
    if "price_data" in given:
        data = given["price_data"]
        product = world.store.get("product", data["product"], param=f"{where}[price_data][product]")
        return new_price(world, product, {**data, "active": False})
    price = world.store.get("price", given["price"], param=f"{where}[price]")
    if price["type"] != "recurring":
        raise StripeError(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
            param=f"{where}[price]",
        )
    if not price["active"]:
        raise StripeError(
            "The price specified is inactive. This field only accepts active prices.", param=f"{where}[price]"
        )
    return price


def quantity_for(price: StripeObject, given: Parameters, where: str, current: int = 1) -> int | None:
    """The quantity of an item; None for a metered price, which has none. Raises `StripeError`."""
    if is_metered(price):
        if "quantity" in given:
            raise StripeError(
                "You cannot set the quantity for a subscription item with `usage_type=metered`.",
                param=f"{where}[quantity]",
            )
        return None
    quantity: int = given.get("quantity", current)
    if quantity < 0:
        raise StripeError("Invalid non-negative integer", code="parameter_invalid_integer", param=f"{where}[quantity]")
    return quantity


def new_item(
    world: World, subscription_id: str, given: Parameters, where: str, period: tuple[int, int] = (0, 0)
) -> StripeObject:
    """A subscription item from an entry of `items[]`. Its discounts are redeemed by `redeem_item_discounts`."""
    refuse_unsupported(given, TERMS, f"a subscription item ({where})")
    price = price_for(world, given, where)
    quantity = quantity_for(price, given, where)
    item_id = world.ids.new("si")
    world.subscription_items[item_id] = subscription_id
    return world.skeletons.new(
        "subscription_item",
        id=item_id,
        created=world.now,
        current_period_start=period[0],
        current_period_end=period[1],
        metadata=merged_metadata({}, given),
        price=copied(price),
        subscription=subscription_id,
        tax_rates=find_tax_rates(world, given.get("tax_rates"), param=f"{where}[tax_rates]"),
        **({} if quantity is None else {"quantity": quantity}),
    )


def edited_item(world: World, item: StripeObject, given: Parameters, where: str) -> StripeObject:
    """A copy of an item with what an entry of `items[]` changes. A new price without a quantity is for one."""
    changed = dict(item)
    if "price" in given or "price_data" in given:
        changed["price"] = copied(price_for(world, given, where))
        changed.pop("quantity", None)
    current = changed.get("quantity", 1)
    quantity = quantity_for(changed["price"], given, where, current)
    if quantity is not None:
        changed["quantity"] = quantity
    changed["metadata"] = merged_metadata(item["metadata"], given)
    if "tax_rates" in given:
        changed["tax_rates"] = find_tax_rates(world, given["tax_rates"], param=f"{where}[tax_rates]")
    return changed


def redeem_item_discounts(
    world: World, item: StripeObject, given: Parameters, where: str, *, customer: str, told: bool
) -> None:
    """Put the discounts of an entry on its item. An empty list leaves them as they are, an empty text clears them."""
    if "discounts" not in given or given["discounts"] == []:
        return
    owner = {"subscription": item["subscription"], "subscription_item": item["id"], "param": f"{where}[discounts]"}
    if told:
        item["discounts"] = replaced_discounts(world, item["discounts"], given["discounts"], customer=customer, **owner)
    else:
        item["discounts"] = new_discounts(world, given["discounts"], customer=customer, **owner)


def require_together(world: World, items: Sequence[StripeObject], currency: str) -> None:
    """Raises `StripeError` for items that may not stand on one subscription."""
    if not items:
        raise StripeError("A subscription must have at least one item.", param="items")
    if len(items) > ITEMS_MAX:
        raise StripeError(f"A subscription can have at most {ITEMS_MAX} items.", param="items")
    seen: set[str] = set()
    for item in items:
        price = item["price"]
        if price["id"] in seen:
            raise StripeError(
                f"Cannot add multiple subscription items with the same plan: {price['id']}", param="items"
            )
        seen.add(price["id"])
        offer_in(world, price, currency)
    _require_aligned([interval_of(item["price"]) for item in items])


def find_item(subscription: StripeObject, item_id: str, where: str) -> StripeObject:
    """The subscription's item of that id. Raises `StripeError` resource_missing."""
    for item in items_of(subscription):
        if item["id"] == item_id:
            return item
    raise resource_missing("subscription item", item_id, param=f"{where}[id]", status=400)


def describe_items(items: Sequence[StripeObject]) -> list[tuple[str, Any]]:
    """Price and quantity of each item: what a proration depends on."""
    return [(item["price"]["id"], None if metered(item) else item["quantity"]) for item in items]


def _require_aligned(intervals: Sequence[Interval]) -> None:
    """Every interval must be a multiple of the shortest (Stripe's page on mixed intervals). A day divides them all."""
    shortest = min(intervals, key=_rough_seconds)
    for interval in intervals:
        by_month = (interval.unit in MONTHS, shortest.unit in MONTHS)
        if by_month == (True, False) and (shortest.unit, shortest.count) == ("day", 1):
            continue
        if by_month[0] != by_month[1] or _length(interval) % _length(shortest):
            raise StripeError(
                "Each price's interval must be a multiple of the shortest interval on the subscription: "
                f"{interval.count} {interval.unit} is none of {shortest.count} {shortest.unit}.",
                param="items",
            )


def _length(interval: Interval) -> int:
    return interval.count * (MONTHS if interval.unit in MONTHS else SECONDS)[interval.unit]


def _rough_seconds(interval: Interval) -> int:
    return interval.count * (SECONDS | {"month": 28 * DAY_SECONDS, "year": 365 * DAY_SECONDS})[interval.unit]
