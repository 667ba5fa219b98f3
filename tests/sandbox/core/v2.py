"""Operations of /v2: JSON in, JSON out. Stripe's document of /v1 has none of them.

Parameters and answers are written after Stripe's reference of /v2 and the types of its Python SDK 15.6.2.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.forms import FormConflict, FormTooDeep, decode_form
from tests.sandbox.core.parameters import NAME_SHOWN_MAX, Parameters, parameter_error
from tests.sandbox.core.schema import Schema, SchemaCompiler, coerce, problems
from tests.sandbox.core.store import StripeObject

TEXT = {"type": "string", "maxLength": 5000}
TEXTS = {"type": "array", "items": TEXT}
LIMIT_DEFAULT = 20
LIMIT_MAX = 100

V2Handler = Callable[..., StripeObject]  # (world, parameters, *path values)
SomeHandler = TypeVar("SomeHandler", bound=V2Handler)


@dataclass(frozen=True, slots=True)
class V2Operation:
    """`by_session`: let in by the token of a meter event session in place of a key."""

    key: str
    pattern: re.Pattern[str]
    parameters: Schema
    handler: V2Handler
    by_session: bool


OPERATIONS: list[V2Operation] = []


def handles_v2(
    key: str, properties: dict[str, Any] | None = None, *, required: Sequence[str] = (), by_session: bool = False
) -> Callable[[SomeHandler], SomeHandler]:
    """Register a function for an operation; `properties` are its parameters as JSON Schema."""
    schema = object_schema(properties or {}, required=required)
    template = key.partition(" ")[2]

    def register(handler: SomeHandler) -> SomeHandler:
        pattern = re.compile(re.sub(r"\{[^}]+\}", "([^/]+)", template))
        OPERATIONS.append(V2Operation(key, pattern, SchemaCompiler({}).compile(schema), handler, by_session))
        return handler

    return register


def object_schema(properties: dict[str, Any], *, required: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def match_v2(method: str, path: str) -> tuple[V2Operation, tuple[str, ...]] | None:
    for operation in OPERATIONS:
        found = operation.pattern.fullmatch(path)
        if found and operation.key.startswith(f"{method} "):
            return operation, found.groups()
    return None


def read_v2_parameters(operation: V2Operation, query: str, body: bytes) -> Parameters:
    """The parameters: of a GET in the query, of all others a JSON object in the body. Raises `StripeError` 400."""
    if operation.key.startswith("GET "):
        try:
            decoded = decode_form(query)
        except (FormConflict, FormTooDeep) as error:
            raise StripeError(f"Invalid parameter: {str(error)[:NAME_SHOWN_MAX]}.") from error
        form = {name: _listed(value, operation.parameters, name) for name, value in decoded.items()}
        parameters = coerce(form, operation.parameters)
    else:
        try:
            parameters = msgspec.json.decode(body) if body.strip() else {}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StripeError(f"Invalid JSON in the request body: {error}.", code="invalid_json") from error
        if not isinstance(parameters, dict):
            raise StripeError("Invalid JSON in the request body: it is to be an object.", code="invalid_json")
    found = problems(parameters, operation.parameters)
    if found:
        raise parameter_error(found[0])
    read: Parameters = parameters
    return read


def v2_page(things: Sequence[StripeObject], parameters: Parameters, *, path: str) -> StripeObject:
    """One page of `things`, given in the order of the list. `page` names the last object of the page before."""
    limit = parameters.get("limit", LIMIT_DEFAULT)
    if not 1 <= limit <= LIMIT_MAX:
        raise StripeError(f"Invalid limit: must be between 1 and {LIMIT_MAX}.", param="limit")
    start = 0
    if "page" in parameters:
        ids = [thing["id"] for thing in things]
        if parameters["page"] not in ids:
            raise StripeError(f"Invalid page: {parameters['page']}.", param="page")
        start = ids.index(parameters["page"]) + 1
    shown = list(things[start : start + limit])
    more = len(things) > start + limit
    return {
        "data": shown,
        "next_page_url": _page_url(path, parameters, shown[-1]["id"]) if more else None,
        "previous_page_url": None,
    }


def v2_not_found(object_id: str) -> StripeError:
    return StripeError(f"No such object: '{object_id}'.", status=404, code="not_found")


def _page_url(path: str, parameters: Parameters, last: str) -> str:
    pairs: list[tuple[str, Any]] = []
    for name, value in {**parameters, "page": last}.items():
        if isinstance(value, list):
            pairs += [(f"{name}[{place}]", item) for place, item in enumerate(value)]
        elif isinstance(value, dict):
            pairs += [(f"{name}[{key}]", item) for key, item in value.items()]
        else:
            pairs.append((name, value))
    return f"{path}?{urlencode(pairs)}"


def _listed(value: Any, schema: Schema, name: str) -> Any:
    """A single value where a list is wanted is a list of one: `include=webhook_endpoint.url`."""
    wanted = schema.properties.get(name)
    return {"0": value} if wanted is not None and wanted.type == "array" and isinstance(value, str) else value
