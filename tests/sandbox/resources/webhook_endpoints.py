"""Where events are sent. The signing secret is answered once, at creation."""

from typing import Any

from tests.sandbox.core.lists import page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World


@handles("POST /v1/webhook_endpoints")
def create_webhook_endpoint(world: World, parameters: Parameters) -> StripeObject:
    endpoint = world.new(
        "webhook_endpoint",
        "we",
        api_version=parameters.get("api_version", world.document.version),
        description=unset(parameters.get("description")),
        enabled_events=parameters["enabled_events"],
        metadata=merged_metadata({}, parameters),
        status="enabled",
        url=parameters["url"],
    )
    secret = world.ids.new("whsec", 32)
    world.webhook_secrets[endpoint["id"]] = secret
    return {**copied(endpoint), "secret": secret}


@handles("GET /v1/webhook_endpoints")
def list_webhook_endpoints(world: World, parameters: Parameters) -> StripeObject:
    return page_of(world.store, world.store.all("webhook_endpoint"), parameters, url="/v1/webhook_endpoints")


@handles("GET /v1/webhook_endpoints/{webhook_endpoint}")
def retrieve_webhook_endpoint(world: World, parameters: Parameters, endpoint_id: str) -> StripeObject:
    return world.store.get("webhook_endpoint", endpoint_id, noun="webhook endpoint")


@handles("POST /v1/webhook_endpoints/{webhook_endpoint}")
def update_webhook_endpoint(world: World, parameters: Parameters, endpoint_id: str) -> StripeObject:
    endpoint = world.store.get("webhook_endpoint", endpoint_id, noun="webhook endpoint")
    changes: dict[str, Any] = {name: parameters[name] for name in ("enabled_events", "url") if name in parameters}
    if "description" in parameters:
        changes["description"] = unset(parameters["description"])
    if "disabled" in parameters:
        changes["status"] = "disabled" if parameters["disabled"] else "enabled"
    world.update(endpoint, None, metadata=merged_metadata(endpoint["metadata"], parameters), **changes)
    return endpoint


@handles("DELETE /v1/webhook_endpoints/{webhook_endpoint}")
def delete_webhook_endpoint(world: World, parameters: Parameters, endpoint_id: str) -> StripeObject:
    world.store.remove(world.store.get("webhook_endpoint", endpoint_id, noun="webhook endpoint"))
    return {"id": endpoint_id, "object": "webhook_endpoint", "deleted": True}
