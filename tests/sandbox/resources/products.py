"""Products. A product with prices cannot be deleted, only archived."""

from tests.sandbox.billing.prices.catalog import (
    PRODUCT_FIELDS,
    PRODUCT_LISTS,
    PRODUCT_TEXTS,
    new_product,
    product_changes,
)
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

PRODUCT_WRITABLE = frozenset(
    {*PRODUCT_FIELDS, *PRODUCT_TEXTS, *PRODUCT_LISTS, "id", "metadata", "default_price", "default_price_data"}
)


@handles("POST /v1/products")
def create_product(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, PRODUCT_WRITABLE, "POST /v1/products")
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
