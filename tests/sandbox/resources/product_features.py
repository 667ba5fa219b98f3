"""The features of a product: what whoever buys it is entitled to."""

from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.lists import page_of
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


@handles("POST /v1/products/{product}/features")
def attach_feature(world: World, parameters: Parameters, product_id: str) -> StripeObject:
    product = world.store.get("product", product_id)
    feature = world.store.get(
        "entitlements.feature", parameters["entitlement_feature"], noun="feature", param="entitlement_feature"
    )
    if any(attached["entitlement_feature"]["id"] == feature["id"] for attached in features_of(world, product_id)):
        raise StripeError("This feature is already attached to this product.", param="entitlement_feature")
    attached = world.new("product_feature", "prodft", entitlement_feature=feature)
    world.product_features[attached["id"]] = product["id"]
    return attached


@handles("GET /v1/products/{product}/features")
def list_features(world: World, parameters: Parameters, product_id: str) -> StripeObject:
    world.store.get("product", product_id)
    return page_of(world.store, features_of(world, product_id), parameters, url=f"/v1/products/{product_id}/features")


@handles("GET /v1/products/{product}/features/{id}")
def retrieve_feature(world: World, parameters: Parameters, product_id: str, attached_id: str) -> StripeObject:
    return _attached(world, product_id, attached_id)


@handles("DELETE /v1/products/{product}/features/{id}")
def detach_feature(world: World, parameters: Parameters, product_id: str, attached_id: str) -> StripeObject:
    world.store.remove(_attached(world, product_id, attached_id))
    del world.product_features[attached_id]
    return {"id": attached_id, "object": "product_feature", "deleted": True}


def features_of(world: World, product_id: str) -> list[StripeObject]:
    attached = world.store.all("product_feature")
    return [item for item in attached if world.product_features[item["id"]] == product_id]


def _attached(world: World, product_id: str, attached_id: str) -> StripeObject:
    attached = world.store.get("product_feature", attached_id, noun="product feature")
    if world.product_features[attached_id] != product_id:
        raise StripeError(f"No such product feature: '{attached_id}'", status=404, code="resource_missing", param="id")
    return attached
