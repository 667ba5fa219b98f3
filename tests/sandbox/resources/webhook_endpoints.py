"""Where events are sent. The signing secret is answered once, at creation."""

from typing import Any
from urllib.parse import urlsplit

from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.lists import page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

ENDPOINTS_MAX = 16  # https://docs.stripe.com/webhooks: up to 16 in an account
URL_PATH = "/v1/webhook_endpoints"


@handles("POST /v1/webhook_endpoints")
def create_webhook_endpoint(world: World, parameters: Parameters) -> StripeObject:
    if parameters.get("connect"):
        raise not_implemented("the parameter 'connect' of POST /v1/webhook_endpoints", param="connect")
    version = parameters.get("api_version", world.document.version)
    if version != world.document.version:
        raise not_implemented(f"events rendered as API version {version}", param="api_version")
    if len(world.store.all("webhook_endpoint")) >= ENDPOINTS_MAX:
        raise StripeError(f"You have reached the maximum of {ENDPOINTS_MAX} test webhook endpoints.")
    endpoint = world.new(
        "webhook_endpoint",
        "we",
        api_version=parameters.get("api_version"),
        description=unset(parameters.get("description")),
        enabled_events=_checked_events(parameters["enabled_events"]),
        metadata=merged_metadata({}, parameters),
        status="enabled",
        url=_checked_url(parameters["url"]),
    )
    secret = world.ids.new("whsec", 32)
    world.webhook_secrets[endpoint["id"]] = secret
    return {**copied(endpoint), "secret": secret}


@handles("GET /v1/webhook_endpoints")
def list_webhook_endpoints(world: World, parameters: Parameters) -> StripeObject:
    return page_of(world.store, world.store.all("webhook_endpoint"), parameters, url=URL_PATH)


@handles("GET /v1/webhook_endpoints/{webhook_endpoint}")
def retrieve_webhook_endpoint(world: World, parameters: Parameters, endpoint_id: str) -> StripeObject:
    return world.store.get("webhook_endpoint", endpoint_id, noun="webhook endpoint")


@handles("POST /v1/webhook_endpoints/{webhook_endpoint}")
def update_webhook_endpoint(world: World, parameters: Parameters, endpoint_id: str) -> StripeObject:
    endpoint = world.store.get("webhook_endpoint", endpoint_id, noun="webhook endpoint")
    changes: dict[str, Any] = {}
    if "enabled_events" in parameters:
        changes["enabled_events"] = _checked_events(parameters["enabled_events"])
    if "url" in parameters:
        changes["url"] = _checked_url(parameters["url"])
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


def _checked_url(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise StripeError(
            "Invalid URL: An explicit scheme (such as https) must be provided.", code="url_invalid", param="url"
        )
    return url


def _checked_events(names: list[str]) -> list[str]:
    if not names:
        raise StripeError(
            "You must provide at least one event to listen to.", code="parameter_missing", param="enabled_events"
        )
    return names
