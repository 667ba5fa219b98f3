"""
The ingest endpoints in the API's description.

They are plain Django views, which drf-spectacular cannot see: this hook (SPECTACULAR_SETTINGS) adds them.
"""

from collections.abc import Mapping
from typing import Any

PATH = "/api/v1/events"
OPENMETER_PATH = "/openmeter/api/v1/events"

_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "A CloudEvent 1.0. The same source and id again count once, whatever else they carry.",
    "required": ["specversion", "id", "source", "type", "subject"],
    "properties": {
        "specversion": {"type": "string", "enum": ["1.0"]},
        "id": {"type": "string", "description": "Unique within its source."},
        "source": {"type": "string", "description": "Who sends, such as edge/us-east-1."},
        "type": {"type": "string", "description": "What happened; meters count events by it."},
        "subject": {"type": "string", "description": "The customer key."},
        "time": {
            "type": "string",
            "format": "date-time",
            "description": "RFC 3339 with an offset. Without one, the usage happened when it was received.",
        },
        "datacontenttype": {"type": "string", "description": "A JSON type, such as application/json, where given."},
        "data": {"type": "object", "description": "Quantities and dimensions. Numbers are exact: no float is taken."},
    },
    "example": {
        "specversion": "1.0",
        "id": "01JB8Z5Y",
        "source": "edge/us-east-1",
        "type": "llm.request",
        "subject": "acme",
        "time": "2026-10-03T10:00:00.123456Z",
        "data": {"model": "claude-sonnet-5", "input_tokens": 1200, "output_tokens": 45},
    },
}
_COUNTS = ("accepted", "duplicates", "conflicts", "quarantined", "refused")
_OUTCOME: dict[str, Any] = {
    "type": "object",
    "required": ["index", "status", "reason"],
    "properties": {
        "index": {"type": "integer", "description": "Position in the batch, from 0."},
        "id": {"type": "string", "nullable": True},
        "status": {"type": "string", "enum": ["duplicate", "conflict", "quarantined", "refused"]},
        "reason": {"type": "string"},
        "field": {"type": "string", "description": "What is wrong with the event is here."},
        "remedy": {"type": "string"},
    },
}
_ANSWER: dict[str, Any] = {
    "type": "object",
    "required": [*_COUNTS, "results"],
    "properties": {
        **{count: {"type": "integer"} for count in _COUNTS},
        "results": {"type": "array", "items": _OUTCOME, "description": "Every event that was not accepted."},
    },
}
_PROBLEMS = {
    "400": "The body is no JSON, or not gzip although it says so.",
    "401": "The API key is missing, unknown, expired or revoked.",
    "403": "The API key lacks the scope usage:write.",
    "413": "The body or the batch is over the limit.",
    "415": "The content encoding is neither plain nor gzip, or the events are not in JSON.",
    "429": "The key's rate limit would be exceeded. Nothing was taken; Retry-After says when to send it again.",
    "503": "Server or database cannot take more now. Nothing was taken; Retry-After says when to send it again.",
}
_WAITS = frozenset({"429", "503"})
_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds."}}


def describe_ingest(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add both addresses to the document drf-spectacular made; returns the same document."""
    paths = result.setdefault("paths", {})
    paths[PATH] = {
        "post": {
            "operationId": "ingest_events",
            "summary": "Send usage events",
            "description": (
                "Takes one event or a batch. An accepted event is durable when this answers, and is counted exactly "
                "once however often it is sent. A bad event does not spoil its batch: it is listed by index. "
                "CloudEvents' binary mode is taken as well: attributes in ce- headers, the data in the body."
            ),
            **_taking_events(),
            "responses": {
                "200": {
                    "description": "What became of each event.",
                    "content": {"application/json": {"schema": _ANSWER}},
                },
                **_refusals(_PROBLEMS),
            },
        }
    }
    paths[OPENMETER_PATH] = {
        "post": {
            "operationId": "ingest_events_as_openmeter",
            "summary": "Send usage events with a client of OpenMeter's",
            "description": (
                "As /api/v1/events, answered as those clients expect. Give them this site's address with /openmeter "
                "behind it as their endpoint, and the API key as their token."
            ),
            **_taking_events(),
            "responses": {
                "204": {"description": "Every event was accepted, a duplicate, or quarantined."},
                **_refusals(
                    {
                        **_PROBLEMS,
                        "400": f"{_PROBLEMS['400']} Or some events were refused: results names them, others are taken.",
                        "409": "Some events contradict events already counted: results names them, others are taken.",
                    }
                ),
            },
        }
    }
    schemes = result.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["ApiKey"] = {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "Api-Key <key>, as `manage.py create_api_key` printed it.",
    }
    schemes["BearerKey"] = {"type": "http", "scheme": "bearer", "description": "The same key as a bearer token."}
    return result


def _taking_events() -> dict[str, Any]:
    one, many = {"schema": _EVENT}, {"schema": {"type": "array", "items": _EVENT}}
    return {
        "tags": ["usage"],
        "security": [{"ApiKey": []}, {"BearerKey": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/cloudevents-batch+json": many,
                "application/cloudevents+json": one,
                "application/json": {"schema": {"oneOf": [many["schema"], one["schema"]]}},
            },
        },
    }


def _refusals(meanings: Mapping[str, str]) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"type": "object", "additionalProperties": True}}}
    return {
        status: {
            "description": meaning,
            "content": content,
            **({"headers": _RETRY_AFTER} if status in _WAITS else {}),
        }
        for status, meaning in sorted(meanings.items())
    }
