"""The small JSON-schema vocabulary of Stripe's OpenAPI document, compiled once and walked quickly.

Stripe uses type, properties, required, enum, anyOf, $ref, nullable, items, maxLength, additionalProperties, pattern and
format. General validators misread `nullable` beside `anyOf`, and check nothing inside a form body, hence this one.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

Path = tuple[str, ...]
ProblemKind = Literal["unknown", "missing", "null", "type", "range", "enum", "length", "pattern", "alternatives"]

# Digits are those of ASCII, and not without end: Python itself reads others, and stops at some thousands.
DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,40})?")
INTEGER = re.compile(r"-?[0-9]{1,20}")
INDEX = re.compile(r"[0-9]{1,9}")
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1  # what a JSON answer can carry; that Stripe's are these: assumption
UNIX_TIME_MAX = 99_999_999_999  # eleven digits reach to the year 5138; thirteen are milliseconds, which are a mistake
PYTHON_TYPES: dict[str, type] = {"string": str, "object": dict, "array": list, "boolean": bool}


@dataclass(frozen=True, slots=True)
class Problem:
    """One difference between a value and its schema. `expected` is the schema's type, or the allowed values."""

    path: Path
    kind: ProblemKind
    expected: str
    got: str = ""

    @property
    def parameter(self) -> str:
        """The path the way Stripe writes parameters: `items[0][price]`."""
        head, *rest = self.path or ("",)
        return head + "".join(f"[{part}]" for part in rest)

    def __str__(self) -> str:
        return f"{self.parameter or '(whole)'}: {self.kind}, expected {self.expected}, got {self.got or 'nothing'}"


@dataclass(slots=True, eq=False)
class Schema:
    """One compiled node. `type` is "union" for anyOf and "any" where the document says nothing."""

    type: str = "any"
    nullable: bool = False
    enum: frozenset[Any] | None = None
    enum_is_open: bool = False
    max_length: int | None = None
    pattern: re.Pattern[str] | None = None
    decimal: bool = False
    unix_time: bool = False
    items: "Schema | None" = None
    properties: "dict[str, Schema]" = field(default_factory=dict)
    required: tuple[str, ...] = ()
    additional: "Schema | None" = None
    closed: bool = False
    branches: "tuple[Schema, ...]" = ()
    expands_to: frozenset[str] = frozenset()
    tag: str | None = None
    name: str | None = None

    def open_to_any_key(self) -> bool:
        return not self.properties and self.additional is None and not self.closed


class SchemaCompiler:
    """Turns the document's `components.schemas` into linked `Schema` nodes, each reference compiled once."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self._definitions = definitions
        self._named: dict[str, Schema] = {}

    def named(self, name: str) -> Schema:
        if name not in self._named:
            schema = Schema()
            self._named[name] = schema  # before filling it: Stripe's schemas refer to each other in circles
            self._fill(schema, self._definitions[name])
            schema.name = name
        return self._named[name]

    def compile(self, source: dict[str, Any]) -> Schema:
        if "$ref" in source:
            return self.named(source["$ref"].rsplit("/", 1)[1])
        schema = Schema()
        self._fill(schema, source)
        return schema

    def _fill(self, schema: Schema, source: dict[str, Any]) -> None:
        schema.nullable = bool(source.get("nullable"))
        if "anyOf" in source:
            schema.type = "union"
            schema.branches = tuple(self.compile(branch) for branch in source["anyOf"])
            schema.nullable = schema.nullable or any(branch.nullable for branch in schema.branches)
            expansions = source.get("x-expansionResources", {}).get("oneOf", ())
            schema.expands_to = frozenset(item["$ref"].rsplit("/", 1)[1] for item in expansions)
            return
        schema.type = source.get("type", "object" if "properties" in source else "any")
        if "enum" in source:
            schema.enum = frozenset(source["enum"])
            schema.enum_is_open = bool(source.get("x-stripeBypassValidation"))
        schema.max_length = source.get("maxLength")
        schema.pattern = re.compile(source["pattern"]) if "pattern" in source else None
        schema.decimal = source.get("format") == "decimal"
        schema.unix_time = source.get("format") == "unix-time"
        schema.items = self.compile(source["items"]) if "items" in source else None
        schema.properties = {key: self.compile(value) for key, value in source.get("properties", {}).items()}
        schema.required = tuple(source.get("required", ()))
        additional = source.get("additionalProperties")
        schema.closed = additional is False
        schema.additional = self.compile(additional) if isinstance(additional, dict) else None
        if additional is True:
            schema.additional = Schema(nullable=True)
        object_name = source.get("properties", {}).get("object", {}).get("enum")
        schema.tag = object_name[0] if object_name else None


def problems(value: Any, schema: Schema, *, strict: bool = True, path: Path = ()) -> list[Problem]:
    """Every difference between `value` and `schema`.

    Strict: a field that the schema does not name is one, and so is a value missing from a list of values that the
    document itself calls incomplete.
    """
    if value is None:
        return [] if schema.nullable or schema.type == "any" else [Problem(path, "null", schema.type, "null")]
    if schema.type == "union":
        return _union_problems(value, schema, strict, path)
    if schema.type == "any":
        return []
    if not _has_type(value, schema.type):
        return [Problem(path, "type", schema.type, f"{type(value).__name__} {value!r:.60}")]
    found: list[Problem] = []
    if schema.enum is not None and value not in schema.enum and (strict or not schema.enum_is_open):
        found.append(Problem(path, "enum", _listed(schema.enum), repr(value)))
    if schema.type == "string":
        _check_text(value, schema, path, found)
    elif schema.type == "integer":
        _check_integer(value, schema, path, found)
    elif schema.type == "array" and schema.items is not None:
        for index, item in enumerate(value):
            found += problems(item, schema.items, strict=strict, path=(*path, str(index)))
    elif schema.type == "object":
        _check_object(value, schema, strict, path, found)
    return found


def coerce(value: Any, schema: Schema) -> Any:
    """Give the texts of a decoded form the JSON types of their schema; what does not fit is left for `problems`."""
    if schema.type == "union":
        for branch in schema.branches:
            typed = coerce(value, branch)
            if not problems(typed, branch):
                return typed
        return value if isinstance(value, str) else coerce(value, _closest(value, schema.branches))
    if isinstance(value, str):
        return _coerce_text(value, schema)
    if isinstance(value, dict):
        if schema.type == "array" and schema.items is not None:
            if all(INDEX.fullmatch(key) for key in value):
                return [coerce(value[key], schema.items) for key in sorted(value, key=int)]
            return value
        anything = schema.additional or Schema()
        return {key: coerce(item, schema.properties.get(key, anything)) for key, item in value.items()}
    return value


def _coerce_text(text: str, schema: Schema) -> Any:
    if schema.type == "integer" and INTEGER.fullmatch(text):
        return int(text)
    if schema.type == "boolean" and text in ("true", "false"):
        return text == "true"
    if schema.type == "number" and DECIMAL.fullmatch(text):
        return int(text) if INTEGER.fullmatch(text) else float(text)  # percentages only; Stripe's money is integers
    return text


def _has_type(value: Any, name: str) -> bool:
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, PYTHON_TYPES[name])


def _check_text(value: str, schema: Schema, path: Path, found: list[Problem]) -> None:
    if schema.max_length is not None and len(value) > schema.max_length:
        found.append(Problem(path, "length", f"at most {schema.max_length} characters", str(len(value))))
    if schema.pattern is not None and not schema.pattern.search(value):
        found.append(Problem(path, "pattern", schema.pattern.pattern, repr(value)))
    if schema.decimal and not DECIMAL.fullmatch(value):
        found.append(Problem(path, "pattern", "a decimal number", repr(value)))


def _check_integer(value: int, schema: Schema, path: Path, found: list[Problem]) -> None:
    least, most = (0, UNIX_TIME_MAX) if schema.unix_time else (INTEGER_MIN, INTEGER_MAX)
    if not least <= value <= most:
        noun = "a Unix timestamp in seconds" if schema.unix_time else "an integer of at most 64 bits"
        found.append(Problem(path, "range", noun, str(value)))


def _check_object(value: dict[str, Any], schema: Schema, strict: bool, path: Path, found: list[Problem]) -> None:
    found.extend(Problem((*path, key), "missing", "a value") for key in schema.required if key not in value)
    for key, item in value.items():
        known = schema.properties.get(key) or schema.additional
        if known is not None:
            found += problems(item, known, strict=strict, path=(*path, key))
        elif schema.closed or (strict and not schema.open_to_any_key()):
            found.append(Problem((*path, key), "unknown", "no such field", f"{item!r:.60}"))


def _union_problems(value: Any, schema: Schema, strict: bool, path: Path) -> list[Problem]:
    branches = schema.branches
    if isinstance(value, dict) and "object" in value:
        branches = tuple(branch for branch in branches if branch.tag == value["object"]) or branches
    attempts: list[list[Problem]] = []
    for branch in branches:
        attempt = problems(value, branch, strict=strict, path=path)
        if not attempt:
            return []
        attempts.append(attempt)
    if len(attempts) == 1 or isinstance(value, dict | list):
        return min(attempts, key=len)
    return [Problem(path, "alternatives", f"one of {len(attempts)} alternatives", f"{value!r:.60}")]


def _closest(value: Any, branches: tuple[Schema, ...]) -> Schema:
    """The branch that a nested value was most likely meant for: the one with the fewest problems."""
    return min(branches, key=lambda branch: len(problems(coerce(value, branch), branch)))


def _listed(allowed: frozenset[Any]) -> str:
    names = sorted(str(item) for item in allowed)
    if len(names) == 1:
        return names[0]
    shown = names if len(names) <= 12 else [*names[:12], "…"]
    return ", ".join(shown[:-1]) + " or " + shown[-1]
