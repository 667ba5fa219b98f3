"""
The ingest endpoint in the API's description.

It is a plain Django view, which drf-spectacular cannot see; this hook (SPECTACULAR_SETTINGS) adds it to the document.
"""

from typing import Any

PATH = "/api/v1/events"

_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "A CloudEvent 1.0. The same source and id again count once, whatever else they carry.",
    "required": ["specversion", "id", "source", "type", "subject", "time"],
    "properties": {
        "specversion": {"type": "string", "enum": ["1.0"]},
        "id": {"type": "string", "description": "Unique within its source."},
        "source": {"type": "string", "description": "Who sends, such as edge/us-east-1."},
        "type": {"type": "string", "description": "What happened; meters count events by it."},
        "subject": {"type": "string", "description": "The customer key."},
        "time": {"type": "string", "format": "date-time", "description": "RFC 3339 with an offset."},
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
    "415": "The content encoding is neither plain nor gzip.",
}


def describe_ingest(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the operation to the document drf-spectacular made; returns the same document."""
    one, many = {"schema": _EVENT}, {"schema": {"type": "array", "items": _EVENT}}
    answer, problem = {"schema": _ANSWER}, {"schema": {"type": "object", "additionalProperties": True}}
    result.setdefault("paths", {})[PATH] = {
        "post": {
            "operationId": "ingest_events",
            "summary": "Send usage events",
            "description": (
                "Takes one event or a batch. An accepted event is durable when this answers, and is counted exactly "
                "once however often it is sent. A bad event does not spoil its batch: it is listed by index."
            ),
            "tags": ["usage"],
            "security": [{"ApiKey": []}],
            "requestBody": {
                "required": True,
                "content": {
                    "application/cloudevents-batch+json": many,
                    "application/cloudevents+json": one,
                    "application/json": {"schema": {"oneOf": [many["schema"], one["schema"]]}},
                },
            },
            "responses": {
                "200": {"description": "What became of each event.", "content": {"application/json": answer}},
                **{
                    status: {"description": meaning, "content": {"application/problem+json": problem}}
                    for status, meaning in _PROBLEMS.items()
                },
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
    return result
