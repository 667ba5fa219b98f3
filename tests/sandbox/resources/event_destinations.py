"""Event destinations of /v2: webhook endpoints for thin events, or for snapshots, the events of /v1.

The url and the signing secret are shown only when asked for with `include`.
"""

from typing import Any

from tests.sandbox.billing.prices.thin_events import emit_thin, moment_text
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.core.v2 import TEXT, TEXTS, handles_v2, object_schema, v2_not_found, v2_page
from tests.sandbox.world import World

KIND = "v2.core.event_destination"
ENDPOINT = object_schema({"url": TEXT}, required=("url",))
METADATA = {"type": "object", "additionalProperties": {"type": "string", "maxLength": 500, "nullable": True}}
CREATE: dict[str, Any] = {
    "amazon_eventbridge": {},
    "azure_event_grid": {},
    "description": TEXT,
    "enabled_events": TEXTS,
    "event_payload": {"type": "string", "enum": ["snapshot", "thin"]},
    "events_from": TEXTS,
    "include": TEXTS,
    "metadata": METADATA,
    "name": TEXT,
    "snapshot_api_version": TEXT,
    "type": {"type": "string", "enum": ["amazon_eventbridge", "azure_event_grid", "webhook_endpoint"]},
    "webhook_endpoint": ENDPOINT,
}
UPDATE: dict[str, Any] = {
    "description": TEXT,
    "enabled_events": TEXTS,
    "include": TEXTS,
    "metadata": METADATA,
    "name": TEXT,
    "webhook_endpoint": ENDPOINT,
}
KEPT = frozenset(CREATE) - {"amazon_eventbridge", "azure_event_grid"}


@handles_v2("POST /v2/core/event_destinations", CREATE, required=("enabled_events", "event_payload", "name", "type"))
def create_destination(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, KEPT, "POST /v2/core/event_destinations")
    if parameters["type"] != "webhook_endpoint":
        raise not_implemented(f"event destinations of the type {parameters['type']}", param="type")
    if "webhook_endpoint" not in parameters:
        raise StripeError(
            "Missing required param: webhook_endpoint.", code="parameter_missing", param="webhook_endpoint"
        )
    if parameters.get("events_from", ["@self"]) not in (["@self"], ["self"]):
        raise not_implemented("events of other accounts", param="events_from")
    snapshots = parameters["event_payload"] == "snapshot"
    version = parameters.get("snapshot_api_version", world.document.version if snapshots else None)
    if version not in (None, world.document.version):
        raise not_implemented(f"events of the version {version}", param="snapshot_api_version")
    now = moment_text(world.account_clock.now)
    destination: StripeObject = {
        "id": world.ids.new("ed_test"),
        "object": KIND,
        "amazon_eventbridge": None,
        "azure_event_grid": None,
        "created": now,
        "description": parameters.get("description", ""),
        "enabled_events": parameters["enabled_events"],
        "event_payload": parameters["event_payload"],
        "events_from": ["@self"],
        "livemode": False,
        "metadata": _merged({}, parameters),
        "name": parameters["name"],
        "snapshot_api_version": version,
        "status": "enabled",
        "status_details": None,
        "type": "webhook_endpoint",
        "updated": now,
        "webhook_endpoint": {"signing_secret": None, "url": parameters["webhook_endpoint"]["url"]},
    }
    world.store.add(destination)
    world.webhook_secrets[destination["id"]] = world.ids.new("whsec", 32)
    return _shown(world, destination, parameters, secret=True)


@handles_v2("GET /v2/core/event_destinations", {"include": TEXTS, "limit": {"type": "integer"}, "page": TEXT})
def list_destinations(world: World, parameters: Parameters) -> StripeObject:
    page = v2_page(world.store.all(KIND)[::-1], parameters, path="/v2/core/event_destinations")
    return {**page, "data": [_shown(world, destination, parameters) for destination in page["data"]]}


@handles_v2("GET /v2/core/event_destinations/{id}", {"include": TEXTS})
def retrieve_destination(world: World, parameters: Parameters, destination_id: str) -> StripeObject:
    return _shown(world, _found(world, destination_id), parameters)


@handles_v2("POST /v2/core/event_destinations/{id}", UPDATE)
def update_destination(world: World, parameters: Parameters, destination_id: str) -> StripeObject:
    destination = _found(world, destination_id)
    changes: dict[str, Any] = {
        name: parameters[name] for name in ("description", "enabled_events", "name") if name in parameters
    }
    changes["metadata"] = _merged(destination["metadata"], parameters)
    if "webhook_endpoint" in parameters:
        changes["webhook_endpoint"] = {"signing_secret": None, "url": parameters["webhook_endpoint"]["url"]}
    return _changed(world, destination, parameters, **changes)


@handles_v2("DELETE /v2/core/event_destinations/{id}")
def delete_destination(world: World, parameters: Parameters, destination_id: str) -> StripeObject:
    world.store.remove(_found(world, destination_id))
    return {"id": destination_id, "object": KIND}


@handles_v2("POST /v2/core/event_destinations/{id}/disable")
def disable_destination(world: World, parameters: Parameters, destination_id: str) -> StripeObject:
    why = {"disabled": {"reason": "user"}}
    return _changed(world, _found(world, destination_id), parameters, status="disabled", status_details=why)


@handles_v2("POST /v2/core/event_destinations/{id}/enable")
def enable_destination(world: World, parameters: Parameters, destination_id: str) -> StripeObject:
    return _changed(world, _found(world, destination_id), parameters, status="enabled", status_details=None)


@handles_v2("POST /v2/core/event_destinations/{id}/ping")
def ping_destination(world: World, parameters: Parameters, destination_id: str) -> StripeObject:
    """An event about the destination itself, for it alone."""
    _found(world, destination_id)
    related = {"id": destination_id, "type": KIND, "url": f"/v2/core/event_destinations/{destination_id}"}
    return emit_thin(world, "v2.core.event_destination.ping", related, None)


def _found(world: World, destination_id: str) -> StripeObject:
    destination = world.store.find(KIND, destination_id)
    if destination is None:
        raise v2_not_found(destination_id)
    return destination


def _changed(world: World, destination: StripeObject, parameters: Parameters, **changes: Any) -> StripeObject:
    world.update(destination, None, updated=moment_text(world.account_clock.now), **changes)
    return _shown(world, destination, parameters)


def _shown(world: World, destination: StripeObject, parameters: Parameters, *, secret: bool = False) -> StripeObject:
    """A copy with what `include` asks for. The secret can only be asked for at creation."""
    include = parameters.get("include", ())
    shown = copied(destination)
    if "webhook_endpoint.url" not in include:
        shown["webhook_endpoint"]["url"] = None
    if secret and "webhook_endpoint.signing_secret" in include:
        shown["webhook_endpoint"]["signing_secret"] = world.webhook_secrets[destination["id"]]
    return shown


def _merged(current: dict[str, str], parameters: Parameters) -> dict[str, str]:
    """In /v2 null unsets a key of the metadata."""
    given: dict[str, str | None] = parameters.get("metadata", {})
    return {key: value for key, value in {**current, **given}.items() if value is not None}
