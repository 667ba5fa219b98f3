"""Products and prices: flat, licensed or one-time. Tiers and metered prices are not kept."""

from typing import Any

from tests.sandbox.billing.catalog import PRODUCT_FIELDS, PRODUCT_TEXTS, new_price, new_product, product_changes
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.lists import list_answer, matching, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

PRODUCT_WRITABLE = frozenset({*PRODUCT_FIELDS, *PRODUCT_TEXTS, "id", "metadata", "default_price"})
PRICE_WRITABLE = frozenset(
    {"active", "billing_scheme", "currency", "lookup_key", "metadata", "nickname", "product", "product_data"}
    | {"recurring", "tax_behavior", "transfer_lookup_key", "unit_amount", "unit_amount_decimal"}
)


@handles("POST /v1/products")
def create_product(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, PRODUCT_WRITABLE, "POST /v1/products")
    if world.store.find("product", parameters.get("id")):
        raise StripeError("Product already exists.", code="resource_already_exists", param="id")
    return new_product(world, parameters)


@handles("GET /v1/products")
def list_products(world: World, parameters: Parameters) -> StripeObject:
    products = matching(world.store.all("product"), parameters, "active", "url", "shippable")
    if "ids" in parameters:
        products = [product for product in products if product["id"] in parameters["ids"]]
    return page_of(world.store, products, parameters, url="/v1/products")


@handles("GET /v1/products/{id}")
def retrieve_product(world: World, parameters: Parameters, product_id: str) -> StripeObject:
    return world.tombstones.get(product_id) or world.store.get("product", product_id)


@handles("POST /v1/products/{id}")
def update_product(world: World, parameters: Parameters, product_id: str) -> StripeObject:
    refuse_unsupported(parameters, PRODUCT_WRITABLE, "POST /v1/products/{id}")
    product = world.store.get("product", product_id)
    changes = product_changes(world, product, parameters)
    world.update(product, "product.updated", updated=world.now, **changes)
    return product


@handles("DELETE /v1/products/{id}")
def delete_product(world: World, parameters: Parameters, product_id: str) -> StripeObject:
    product = world.store.get("product", product_id)
    if any(price["product"] == product_id for price in world.store.all("price")):
        raise StripeError("This product cannot be deleted because it has one or more user-created prices.")
    world.store.remove(product)
    gone = {"id": product_id, "object": "product", "deleted": True}
    world.tombstones[product_id] = gone
    world.emit("product.deleted", product)
    return gone


@handles("GET /v1/products/{product}/features")
def list_features(world: World, parameters: Parameters, product_id: str) -> StripeObject:
    return list_answer([], has_more=False, url=f"/v1/products/{product_id}/features")


@handles("POST /v1/prices")
def create_price(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, PRICE_WRITABLE, "POST /v1/prices")
    if ("product" in parameters) == ("product_data" in parameters):
        raise StripeError("You must specify either `product` or `product_data` when creating a price.", param="product")
    if parameters.get("billing_scheme", "per_unit") != "per_unit":
        raise not_implemented("tiered prices", param="billing_scheme")
    if parameters.get("recurring", {}).get("usage_type", "licensed") != "licensed":
        raise not_implemented("metered prices", param="recurring[usage_type]")
    if "product_data" in parameters:
        product = new_product(world, parameters["product_data"])
    else:
        product = world.store.get("product", parameters["product"], param="product")
    _claim_lookup_key(world, parameters)
    price = new_price(world, product, parameters)
    world.emit("price.created", price)
    return price


@handles("GET /v1/prices")
def list_prices(world: World, parameters: Parameters) -> StripeObject:
    prices = matching(world.store.all("price"), parameters, "active", "currency", "product", "type")
    if "lookup_keys" in parameters:
        prices = [price for price in prices if price["lookup_key"] in parameters["lookup_keys"]]
    return page_of(world.store, prices, parameters, url="/v1/prices")


@handles("GET /v1/prices/{price}")
def retrieve_price(world: World, parameters: Parameters, price_id: str) -> StripeObject:
    return world.store.get("price", price_id)


@handles("POST /v1/prices/{price}")
def update_price(world: World, parameters: Parameters, price_id: str) -> StripeObject:
    refuse_unsupported(
        parameters,
        frozenset({"active", "lookup_key", "metadata", "nickname", "tax_behavior", "transfer_lookup_key"}),
        "POST /v1/prices/{price}",
    )
    price = world.store.get("price", price_id)
    _claim_lookup_key(world, parameters, own=price_id)
    changes: dict[str, Any] = {name: parameters[name] for name in ("active", "tax_behavior") if name in parameters}
    changes |= {name: unset(parameters[name]) for name in ("lookup_key", "nickname") if name in parameters}
    world.update(price, "price.updated", metadata=merged_metadata(price["metadata"], parameters), **changes)
    return price


def _claim_lookup_key(world: World, parameters: Parameters, own: str | None = None) -> None:
    key = parameters.get("lookup_key")
    holder = next((price for price in world.store.all("price") if key and price["lookup_key"] == key), None)
    if holder is None or holder["id"] == own:
        return
    if not parameters.get("transfer_lookup_key"):
        raise StripeError(
            f"A price (`{holder['id']}`) already uses that lookup key.",
            code="resource_already_exists",
            param="lookup_key",
        )
    world.update(holder, "price.updated", lookup_key=None)
