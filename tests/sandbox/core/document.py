"""Stripe's OpenAPI document: which operations exist, what they take, what they answer."""

import gzip
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.sandbox.core.schema import Schema, SchemaCompiler

# Required by the document, yet sent only where a request asks for it, and in no event
# (https://docs.stripe.com/changelog/dahlia/2026-05-27/invoice-object-amount-paid-off-stripe-property).
SENT_WHEN_ASKED_FOR = {"invoice": "amount_paid_off_stripe"}

DOCUMENT_PATH = Path(__file__).parent.parent / "openapi" / "stripe-openapi-2026-08-26.dahlia.spec3.json.gz"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `key` names it: "POST /v1/invoices/{invoice}/pay"."""

    key: str
    pattern: re.Pattern[str]
    parameters: Schema
    answer: Schema
    takes_body: bool


@dataclass(frozen=True, slots=True)
class Match:
    operation: Operation
    path_values: tuple[str, ...]


class Document:
    """The document, compiled on demand: a request pays only for the schemas it touches."""

    def __init__(self, path: Path = DOCUMENT_PATH) -> None:
        with gzip.open(path, "rt", encoding="utf-8") as source:
            self._source: dict[str, Any] = json.load(source)
        for name, field in SENT_WHEN_ASKED_FOR.items():
            self._source["components"]["schemas"][name]["required"].remove(field)
        self.version: str = self._source["info"]["version"]
        self._schemas = SchemaCompiler(self._source["components"]["schemas"])
        self._operations: dict[str, Operation] = {}
        self._by_object = self._object_schemas()
        self._exact: dict[str, str] = {}
        self._templates: dict[tuple[str, int], list[tuple[re.Pattern[str], str]]] = defaultdict(list)
        for template in sorted(self._source["paths"], key=lambda text: text.count("{")):
            if "{" in template:
                self._templates[_shape(template)].append((_template_pattern(template), template))
            else:
                self._exact[template] = template

    def match(self, method: str, path: str) -> Match | None:
        """The operation for a request, or None. A path without placeholders wins over one with them."""
        method = method.lower()
        template = self._exact.get(path)
        if template is not None and method in self._source["paths"][template]:
            return Match(self.operation(method, template), ())
        for pattern, candidate in self._templates.get(_shape(path), ()):
            found = pattern.fullmatch(path)
            if found and method in self._source["paths"][candidate]:
                return Match(self.operation(method, candidate), found.groups())
        return None

    def knows_path(self, path: str) -> bool:
        return path in self._exact or any(
            pattern.fullmatch(path) for pattern, _ in self._templates.get(_shape(path), ())
        )

    def operation_keys(self) -> list[str]:
        return [f"{method.upper()} {path}" for path, item in self._source["paths"].items() for method in item]

    def operation(self, method: str, template: str) -> Operation:
        key = f"{method.upper()} {template}"
        if key not in self._operations:
            source = self._source["paths"][template][method]
            self._operations[key] = Operation(
                key=key,
                pattern=_template_pattern(template),
                parameters=self._parameters(method, source),
                answer=self._answer(source["responses"]["200"]["content"]),
                takes_body=method == "post",
            )
        return self._operations[key]

    def schema(self, name: str) -> Schema:
        return self._schemas.named(name)

    def object_schema(self, object_name: str, *, deleted: bool = False) -> Schema | None:
        """The schema of objects whose `object` field is `object_name`; or of what is left of a deleted one."""
        name = self._by_object.get(object_name)
        if name is not None and deleted and f"deleted_{name}" in self._source["components"]["schemas"]:
            name = f"deleted_{name}"
        return self._schemas.named(name) if name else None

    @property
    def error(self) -> Schema:
        return self._schemas.named("error")

    def _answer(self, content: dict[str, Any]) -> Schema:
        """The schema of an answer in JSON; of a file (a quote as PDF) nothing is said."""
        media = content.get("application/json")
        return self._schemas.compile(media["schema"]) if media else Schema()

    def _parameters(self, method: str, source: dict[str, Any]) -> Schema:
        if method in ("post", "delete"):
            content = source.get("requestBody", {}).get("content", {})
            media = content.get("application/x-www-form-urlencoded")
            return self._schemas.compile(media["schema"]) if media else Schema(type="object", closed=True)
        query = [item for item in source.get("parameters", ()) if item["in"] == "query"]
        return Schema(
            type="object",
            properties={item["name"]: self._schemas.compile(item["schema"]) for item in query},
            required=tuple(item["name"] for item in query if item.get("required")),
            closed=True,
        )

    def _object_schemas(self) -> dict[str, str]:
        by_object: dict[str, str] = {}
        for name, schema in self._source["components"]["schemas"].items():
            values = schema.get("properties", {}).get("object", {}).get("enum")
            if values and not name.startswith("deleted_") and ("x-resourceId" in schema or name == values[0]):
                by_object.setdefault(values[0], name)
        return by_object


@cache
def load_document() -> Document:
    """The committed document, read once in a process."""
    return Document()


def _shape(path: str) -> tuple[str, int]:
    """The noun, which no template leaves open, and the number of parts: few templates share both."""
    parts = path.split("/", 3)
    return (parts[2] if len(parts) > 2 else "", path.count("/"))


def _template_pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{[^}]+\\\}", "([^/]+)", re.escape(template)))
