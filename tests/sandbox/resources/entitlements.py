"""Entitlements: features that can be bought with products, and which of them a customer has now.

Stripe's document has no schema of the summary that `entitlements.active_entitlement_summary.updated` is about, so this
event is not told.
"""

from typing import Any

from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.resources.product_features import features_of
from tests.sandbox.world import World

FEATURES_URL = "/v1/entitlements/features"
ACTIVE_URL = "/v1/entitlements/active_entitlements"
KIND = "entitlements.active_entitlement"
# Statuses of subscriptions that entitle. Assumption for past_due: until the account's last retry says otherwise.
ENTITLING = frozenset({"active", "past_due", "trialing"})


@handles("POST /v1/entitlements/features")
def create_feature(world: World, parameters: Parameters) -> StripeObject:
    key = parameters["lookup_key"]
    if any(feature["lookup_key"] == key for feature in world.store.all("entitlements.feature")):
        raise StripeError(
            f"A feature already uses the lookup key {key}.", code="resource_already_exists", param="lookup_key"
        )
    return world.new(
        "entitlements.feature",
        "feat",
        active=True,
        lookup_key=key,
        metadata=merged_metadata({}, parameters),
        name=parameters["name"],
    )


@handles("GET /v1/entitlements/features")
def list_features(world: World, parameters: Parameters) -> StripeObject:
    features = matching(world.store.all("entitlements.feature"), parameters, "lookup_key")
    if "archived" in parameters:
        features = [feature for feature in features if feature["active"] is not parameters["archived"]]
    return page_of(world.store, features, parameters, url=FEATURES_URL)


@handles("GET /v1/entitlements/features/{id}")
def retrieve_feature(world: World, parameters: Parameters, feature_id: str) -> StripeObject:
    return world.store.get("entitlements.feature", feature_id, noun="feature")


@handles("POST /v1/entitlements/features/{id}")
def update_feature(world: World, parameters: Parameters, feature_id: str) -> StripeObject:
    """Stripe tells no event of features."""
    feature = world.store.get("entitlements.feature", feature_id, noun="feature")
    changes: dict[str, Any] = {name: parameters[name] for name in ("active", "name") if name in parameters}
    world.update(feature, None, metadata=merged_metadata(feature["metadata"], parameters), **changes)
    return feature


@handles("GET /v1/entitlements/active_entitlements")
def list_active_entitlements(world: World, parameters: Parameters) -> StripeObject:
    customer = world.store.get("customer", parameters["customer"], param="customer")
    return page_of(world.store, _active(world, customer["id"]), parameters, url=ACTIVE_URL)


@handles("GET /v1/entitlements/active_entitlements/{id}")
def retrieve_active_entitlement(world: World, parameters: Parameters, entitlement_id: str) -> StripeObject:
    customer, _ = world.entitlements.get(entitlement_id, ("", ""))
    _active(world, customer)
    return world.store.get(KIND, entitlement_id, noun="active entitlement")


def _active(world: World, customer: str) -> list[StripeObject]:
    """What the customer's running subscriptions entitle to. One that is gone and comes back has a new id."""
    features: dict[str, StripeObject] = {}
    for subscription in world.store.where("subscription", "customer", customer):
        if subscription["status"] in ENTITLING:
            for item in subscription["items"]["data"]:
                for attached in features_of(world, item["price"]["product"]):
                    features[attached["entitlement_feature"]["id"]] = attached["entitlement_feature"]
    held = {feature: name for name, (owner, feature) in world.entitlements.items() if owner == customer}
    for entitlement in [name for feature, name in held.items() if feature not in features]:
        world.store.remove(world.store.get(KIND, entitlement))
        del world.entitlements[entitlement]
    for feature_id in [name for name in features if name not in held]:
        made = world.new(KIND, "ent", feature=feature_id, lookup_key=features[feature_id]["lookup_key"])
        world.entitlements[made["id"]] = (customer, feature_id)
    return [item for item in world.store.all(KIND) if world.entitlements[item["id"]][0] == customer]
