"""The API's description of the ledger says what the endpoints really take and answer."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern
from drf_spectacular.generators import SchemaGenerator

from config.api_keys.models import ApiKey
from ledger.api import urls
from tests.ledger.chart import UNBILLED, accrual, post

PATHS = {
    "/api/v1/customers/{customer_key}/balances": "customers/acme/balances",
    "/api/v1/customers/{customer_key}/statement": "customers/acme/statement",
    "/api/v1/accounts/{code}/balance": f"accounts/{UNBILLED}/balance",
    "/api/v1/accounts/{code}/statement": f"accounts/{UNBILLED}/statement",
    "/api/v1/entries/{entry_id}": "entries/{entry}",
    "/api/v1/entries": "entries?idempotency_key=a",
    "/api/v1/trial-balance": "trial-balance",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return found


def test_every_address_is_described(document: dict[str, Any]) -> None:
    patterns = [pattern for pattern in urls.urlpatterns if isinstance(pattern, URLPattern)]

    assert len(PATHS) == len(patterns)
    assert set(PATHS) <= set(document["paths"])
    assert {method for path in PATHS for method in document["paths"][path]} == {"get"}


@pytest.mark.parametrize("path", PATHS)
def test_parameters_and_refusals_are_described(document: dict[str, Any], path: str) -> None:
    operation = document["paths"][path]["get"]
    view = next(
        pattern.callback.view_class  # type: ignore[attr-defined]
        for pattern in urls.urlpatterns
        if f"/api/v1/{_template(pattern)}" == path
    )

    queried = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
    assert queried == view.takes
    assert all(parameter["description"] for parameter in operation["parameters"])
    assert operation["summary"]
    assert operation["description"]
    named = {"404"} if path != "/api/v1/trial-balance" else set()
    assert set(operation["responses"]) == {"200", "400", "401", "403"} | named
    for status, response in operation["responses"].items():
        content = "application/json" if status == "200" else "application/problem+json"
        assert list(response["content"]) == [content]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.usefixtures("chart")
def test_answers_have_the_fields_that_are_described(client: Client, document: dict[str, Any], path: str) -> None:
    entry = post(accrual("a", "1"))
    post(accrual("b", "2"))
    _, key = ApiKey.objects.create_key(name="service", scopes=["billing:read"])
    address = f"/api/v1/{PATHS[path].format(entry=entry.id)}"

    body = json.loads(client.get(address, headers={"Authorization": f"Api-Key {key}"}).content)

    schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert _differences(body, schema, document, where="") == []


def test_a_problem_has_the_fields_that_are_described(client: Client, db: None, document: dict[str, Any]) -> None:
    _, key = ApiKey.objects.create_key(name="service", scopes=["billing:read"])

    body = json.loads(client.get("/api/v1/entries", headers={"Authorization": f"Api-Key {key}"}).content)

    assert _differences(body, {"$ref": "#/components/schemas/Problem"}, document, where="") == []


def _template(pattern: Any) -> str:
    """The address as the description writes it: <path:code> is {code}."""
    parts = str(pattern.pattern).replace("<", "{").replace(">", "}").split("{")
    return "".join(part if index == 0 else "{" + part.partition(":")[2] for index, part in enumerate(parts))


def _differences(value: Any, schema: dict[str, Any], document: dict[str, Any], *, where: str) -> list[str]:
    """Where a value differs from its schema: a field too many or missing, or of another type."""
    if "allOf" in schema:
        schema = {**schema, **schema["allOf"][0]}
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if value is None:
        return [] if schema.get("nullable") else [f"{where} is null"]
    match schema["type"]:
        case "object" if "properties" in schema:
            properties = schema["properties"]
            missing = [f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value]
            extra = [f"{where}.{name} is not described" for name in value if name not in properties]
            inner = [
                difference
                for name in value.keys() & properties.keys()
                for difference in _differences(value[name], properties[name], document, where=f"{where}.{name}")
            ]
            return [*missing, *extra, *inner]
        case "array":
            return [d for item in value for d in _differences(item, schema["items"], document, where=f"{where}[]")]
        case kind:
            types = {"string": str, "integer": int, "object": dict}
            return [] if isinstance(value, types[kind]) else [f"{where} is no {kind}"]
