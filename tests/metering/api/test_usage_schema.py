"""The API's description of usage says what the endpoints really take and answer."""

import json
from typing import Any

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from config.api_keys.models import ApiKey
from metering import operations
from metering.api import urls
from metering.event_keys import event_key
from tests.metering.usage import NOW, event, ingest

SOURCE = "edge/us-east-1"
PATHS = {
    "/api/v1/customers/{customer_key}/usage": "customers/acme/usage?meter=input_tokens&from=2026-10-01&to=2026-11-01",
    "/api/v1/meters": "meters",
    "/api/v1/usage/events": "usage/events",
    "/api/v1/usage/events/by-id": f"usage/events/by-id?source={SOURCE}&id=e1",
    "/api/v1/usage/events/{key}": f"usage/events/{event_key(SOURCE, 'e1')}",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return found


def test_every_address_is_described(document: dict[str, Any]) -> None:
    assert len(PATHS) == len(urls.urlpatterns)
    assert set(PATHS) <= set(document["paths"])
    assert {method for path in PATHS for method in document["paths"][path]} == {"get"}


@pytest.mark.parametrize("path", PATHS)
def test_parameters_and_refusals_are_described(document: dict[str, Any], path: str) -> None:
    operation = document["paths"][path]["get"]
    (view,) = [
        pattern.callback.view_class  # type: ignore[attr-defined]
        for pattern in urls.urlpatterns
        if f"/api/v1/{_template(pattern)}" == path
    ]

    queried = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
    assert queried - {"where.<dimension>"} == view.takes
    assert ("where.<dimension>" in queried) == (view.takes_prefix == "where.")
    assert all(parameter["description"] for parameter in operation.get("parameters", []))
    named = {"404"} if path != "/api/v1/meters" else set()
    assert set(operation["responses"]) == {"200", "400", "401", "403"} | named


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.usefixtures("metered")
def test_answers_have_the_fields_that_are_described(client: Client, document: dict[str, Any], path: str) -> None:
    ingest(event("e1"))
    ingest(event("e1", data={"input_tokens": 5}))
    operations.catch_up_windows(now=NOW)
    _, key = ApiKey.objects.create_key(name="service", scopes=["usage:read"])

    body = json.loads(client.get(f"/api/v1/{PATHS[path]}", headers={"Authorization": f"Api-Key {key}"}).content)

    schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert _differences(body, schema, document, where="") == []


def _template(pattern: Any) -> str:
    """The address as the description writes it: <path:code> is {code}."""
    parts = str(pattern.pattern).replace("<", "{").replace(">", "}").split("{")
    return "".join(part if index == 0 else "{" + part.partition(":")[2] for index, part in enumerate(parts))


def _differences(value: Any, schema: dict[str, Any], document: dict[str, Any], *, where: str) -> list[str]:
    """Where a value differs from its schema: a field too many or missing, or of another type."""
    if value is None:
        return [] if schema.get("nullable") else [f"{where} is null"]
    if "allOf" in schema:
        schema = {**schema, **schema["allOf"][0]}
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    match schema.get("type"):
        case "object" if "properties" in schema:
            found = [f"{where}.{name} is missing" for name in schema["required"] if name not in value]
            for name, inner in value.items():
                if name not in schema["properties"]:
                    found.append(f"{where}.{name} is not described")
                else:
                    found += _differences(inner, schema["properties"][name], document, where=f"{where}.{name}")
            return found
        case "array":
            return [
                difference
                for index, inner in enumerate(value)
                for difference in _differences(inner, schema["items"], document, where=f"{where}[{index}]")
            ]
        case "string":
            return [] if isinstance(value, str) else [f"{where} is no text"]
        case "integer":
            return [] if type(value) is int else [f"{where} is no whole number"]
        case "boolean":
            return [] if isinstance(value, bool) else [f"{where} is neither true nor false"]
    return []
