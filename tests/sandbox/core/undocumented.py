"""Operations that Stripe serves and its document does not list: what Stripe's own pages and its CLI call.

They are written as the document writes its own, and are served beside it. The conformance checker knows the document
alone, so a client that means to keep to it is still refused.
"""

import re
from functools import cache
from typing import Any

from tests.sandbox.core.document import Document, Match, Operation
from tests.sandbox.core.schema import SchemaCompiler

_TEXT = {"type": "string", "maxLength": 5000}

# Operation to (schema of its parameters, name of its answer's schema in the document).
OPERATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "GET /v1/payment_pages/{session}": ({}, "checkout.session"),
    "POST /v1/payment_pages/{session}/confirm": (
        {
            "expected_amount": {"type": "integer"},
            "expand": {"type": "array", "items": _TEXT},
            "payment_method": _TEXT,
        },
        "checkout.session",
    ),
}


def match_undocumented(document: Document, method: str, path: str) -> Match | None:
    """The operation for a request that the document does not know, or None."""
    for operation in _operations(document):
        found = operation.pattern.fullmatch(path)
        if found and operation.key.startswith(f"{method} "):
            return Match(operation, found.groups())
    return None


@cache
def _operations(document: Document) -> tuple[Operation, ...]:
    compiler = SchemaCompiler({})
    operations: list[Operation] = []
    for key, (parameters, answer) in OPERATIONS.items():
        method, _, template = key.partition(" ")
        form = {"type": "object", "properties": parameters, "additionalProperties": False}
        operations.append(
            Operation(
                key=key,
                pattern=re.compile(re.sub(r"\{[^}]+\}", "([^/]+)", template)),
                parameters=compiler.compile(form),
                answer=document.schema(answer),
                takes_body=method == "POST",
            )
        )
    return tuple(operations)
