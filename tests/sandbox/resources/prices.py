"""Prices. What they charge is fixed at creation; they cannot be deleted, only archived."""

from typing import Any

from tests.sandbox.billing.prices.catalog import new_price_and_product
from tests.sandbox.billing.prices.lookup_keys import holder_of_key
from tests.sandbox.billing.prices.plans import change_price
from tests.sandbox.billing.prices.price_terms import read_currency_options
from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

PRICE_WRITABLE = frozenset(
    {"active", "billing_scheme", "currency", "currency_options", "custom_unit_amount", "lookup_key", "metadata"}
    | {"nickname", "product", "product_data", "recurring", "tax_behavior", "tiers", "tiers_mode"}
    | {"transfer_lookup_key", "transform_quantity", "unit_amount", "unit_amount_decimal"}
)


@handles("POST /v1/prices")
def create_price(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, PRICE_WRITABLE, "POST /v1/prices")
    return new_price_and_product(world, parameters)


@handles("GET /v1/prices")
def list_prices(world: World, parameters: Parameters) -> StripeObject:
    if "product" in parameters:
        world.store.get("product", parameters["product"], param="product")
    prices = matching(world.store.all("price"), parameters, "active", "currency", "product", "type")
    if "lookup_keys" in parameters:
        prices = [price for price in prices if price["lookup_key"] in parameters["lookup_keys"]]
    for name, value in parameters.get("recurring", {}).items():
        prices = [price for price in prices if price["recurring"] and price["recurring"][name] == value]
    return page_of(world.store, prices, parameters, url="/v1/prices")


@handles("GET /v1/prices/{price}")
def retrieve_price(world: World, parameters: Parameters, price_id: str) -> StripeObject:
    return _price(world, price_id)


@handles("POST /v1/prices/{price}")
def update_price(world: World, parameters: Parameters, price_id: str) -> StripeObject:
    refuse_unsupported(
        parameters,
        frozenset({"active", "currency_options", "lookup_key", "metadata", "nickname", "tax_behavior"})
        | {"transfer_lookup_key"},
        "POST /v1/prices/{price}",
    )
    price = _price(world, price_id)
    _check_change(world, price, parameters)
    options = read_currency_options(parameters, price["billing_scheme"], price["currency"])
    holder = holder_of_key(world, parameters, own=price_id)
    changes: dict[str, Any] = {name: parameters[name] for name in ("active", "tax_behavior") if name in parameters}
    changes |= {name: unset(parameters[name]) for name in ("lookup_key", "nickname") if name in parameters}
    changes["metadata"] = merged_metadata(price["metadata"], parameters)
    if holder is not None:
        change_price(world, holder, {"lookup_key": None})
    if "currency_options" in parameters:
        kept = world.currency_options.get(price_id, {}) if parameters["currency_options"] else {}
        world.currency_options[price_id] = kept | options
    change_price(world, price, changes)
    return price


def _price(world: World, price_id: str) -> StripeObject:
    """Stripe names the parameter of a price that there is not `price`, not `id`."""
    price = world.store.find("price", price_id)
    if price is None:
        raise resource_missing("price", price_id, param="price")
    return price


def _check_change(world: World, price: StripeObject, parameters: Parameters) -> None:
    if parameters.get("active") is False and price["active"]:
        product = world.store.get("product", price["product"])
        if product["default_price"] == price["id"]:
            raise StripeError("This price cannot be archived because it is the default price of its product.")
    behavior = parameters.get("tax_behavior", price["tax_behavior"])
    if price["tax_behavior"] in ("inclusive", "exclusive") and behavior != price["tax_behavior"]:
        raise StripeError(
            f"The price's tax_behavior is already `{price['tax_behavior']}` and cannot be changed.",
            param="tax_behavior",
        )
