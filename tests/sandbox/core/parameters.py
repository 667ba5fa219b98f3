"""Reading a request's parameters by the document, and saying what is wrong with them in Stripe's words."""

from collections.abc import Iterator
from typing import Any

from tests.sandbox.core.document import Operation
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.forms import FormConflict, FormTooDeep, decode_form
from tests.sandbox.core.schema import Problem, Schema, coerce, problems

NAME_SHOWN_MAX = 80
Parameters = dict[str, Any]


def parameter_problems(operation: Operation, query: str, body: str) -> tuple[Parameters, list[Problem]]:
    """Typed parameters of a request, and everything in them that the document does not allow."""
    try:
        form = decode_form(_encoded(operation, query, body))
    except FormConflict as conflict:
        return {}, [Problem((str(conflict),), "type", "object", "both a value and an object")]
    except FormTooDeep as error:
        return {}, [Problem((f"{str(error)[:NAME_SHOWN_MAX]}…",), "unknown", "no parameter nested as deep")]
    typed = coerce(form, operation.parameters)
    return typed, problems(typed, operation.parameters)


def read_parameters(operation: Operation, query: str, body: str) -> Parameters:
    """Typed parameters of a request. Raises `StripeError` 400 for the first one the document does not allow."""
    parameters, found = parameter_problems(operation, query, body)
    if found:
        # Stripe names what it does not know before what it misses.
        raise parameter_error(next((problem for problem in found if problem.kind == "unknown"), found[0]))
    return parameters


def parameter_error(problem: Problem) -> StripeError:
    name = problem.parameter
    match problem.kind:
        case "unknown":
            return StripeError(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
        case "missing":
            return StripeError(f"Missing required param: {name}.", code="parameter_missing", param=name)
        case "enum":
            message = f"Invalid {name}: must be one of {problem.expected}"
            return StripeError(message, code="parameter_invalid_enum", param=name)
        case "length":
            message = f"Invalid string: must be {problem.expected}"
            return StripeError(message, code="parameter_invalid_string_too_long", param=name)
        case "range":
            message = f"Invalid integer: {problem.got} is not {problem.expected}"
            return StripeError(message, code="parameter_invalid_integer", param=name)
        case "type" if problem.got == "str ''":
            message = f"You passed an empty string for '{name}', which cannot be unset."
            return StripeError(message, code="parameter_invalid_empty", param=name)
        case _:
            kind = problem.expected if problem.kind == "type" else "value"
            message = f"Invalid {kind}: {problem.got}"
            return StripeError(message, code=f"parameter_invalid_{kind}", param=name)


def full_name(name: str, operation: Operation, given: Parameters) -> str | None:
    """The name, as Stripe writes it, of the parameter that a refusal of a request is about; None: about none of them.

    Whoever refuses a price knows `unit_amount`, not that it came as `items[0][price_data][unit_amount]`.
    """
    parts = name.replace("]", "").split("[")
    if name == "id" or f"{{{name}}}" in operation.key or _leads(operation.parameters, parts):
        return name
    for start in range(len(parts)):
        inner = parts[start:]
        found = next((path for path in _paths(given) if path[-len(inner) :] == inner), None)
        if found is None and _leads(operation.parameters, inner):
            found = inner
        if found is not None:
            return found[0] + "".join(f"[{part}]" for part in found[1:])
    return None


def _paths(value: Any, path: list[str] | None = None) -> Iterator[list[str]]:
    """The paths of all parts of nested parameters, a whole before its parts."""
    path = path or []
    if path:
        yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield from _paths(item, [*path, str(key)])


def _leads(schema: Schema, parts: list[str]) -> bool:
    """Whether the schema has a parameter at a path."""
    if not parts:
        return True
    if schema.type == "union":
        return any(_leads(branch, parts) for branch in schema.branches)
    if schema.type == "array" and schema.items is not None:
        return (parts[0] == "" or parts[0].isdigit()) and _leads(schema.items, parts[1:])
    inner = schema.properties.get(parts[0]) or schema.additional
    return inner is not None and _leads(inner, parts[1:])


def refuse_unsupported(parameters: Parameters, supported: frozenset[str], operation: str) -> None:
    """Raise for a parameter that Stripe knows and the sandbox would otherwise silently ignore."""
    for name in parameters:
        if name not in supported and name != "expand":
            raise not_implemented(f"the parameter {name!r} of {operation}", param=name)


def _encoded(operation: Operation, query: str, body: str) -> str:
    # stripe-python sends the parameters of a DELETE in the query string, the document lists them in the body.
    if operation.takes_body:
        return body if not query else f"{query}&{body}"
    return "&".join(part for part in (query, body) if part)
