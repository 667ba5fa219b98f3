"""Single changes of a valid value that its schema does not allow, each by construction and not by trial.

What could stay valid is left out: values of which the document says nothing, keys of metadata, fields of objects in a
union whose other members might take them, and whether such a value is one member or another.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from tests.sandbox.core.schema import Schema

REMOVED = object()
Kind = Literal["unknown field", "typo", "missing field", "wrong enum", "wrong type", "null", "too long"]
Path = tuple[str | int, ...]

WRONG_IN_JSON: dict[str, Any] = {
    "string": 5,
    "integer": "5",
    "number": "0.5",
    "boolean": "true",
    "array": {"data": "x"},
    "object": "text",
}
# A form knows texts and containers alone.
WRONG_IN_FORM: dict[str, Any] = {
    "string": {"a": "b"},
    "integer": "5.5",
    "number": "half",
    "boolean": "maybe",
    "array": "text",
    "object": "text",
}


@dataclass(frozen=True)
class Mutation:
    """Put `value` at `path`, or remove what is there; `typo` also puts the former value under a misspelt key."""

    kind: Kind
    path: Path
    value: Any = REMOVED

    def __str__(self) -> str:
        return f"{self.kind} at {'.'.join(str(part) for part in self.path)}"

    def applied(self, thing: Any) -> Any:
        changed = copy.deepcopy(thing)
        node = changed
        for part in self.path[:-1]:
            node = node[part]
        last = self.path[-1]
        if self.kind == "typo":
            node[misspelt(str(last))] = node.pop(last)
        elif self.value is REMOVED:
            del node[last]
        else:
            node[last] = copy.deepcopy(self.value)
        return changed


def misspelt(name: str) -> str:
    return f"{name}{name[-1]}z"


def mutations(value: Any, schema: Schema, *, in_form: bool = False, path: Path = ()) -> Iterator[Mutation]:
    """Every mutation of `value`, which is valid by `schema`, at every depth."""
    member = _member(value, schema)
    if member is None or value is None:
        return
    if path and schema.type != "union":
        yield from _at(value, member, in_form, path)
    if isinstance(value, list) and member.items is not None:
        for index, item in enumerate(value):
            yield from mutations(item, member.items, in_form=in_form, path=(*path, index))
    if isinstance(value, dict):
        yield from _of_fields(value, member, in_form, path)


def _member(value: Any, schema: Schema) -> Schema | None:
    """The schema itself, or the one member of a union that an object can be meant for."""
    if schema.type == "any":
        return None
    if schema.type != "union":
        return schema
    objects = [branch for branch in schema.branches if branch.type in ("object", "array", "any", "union")]
    if not isinstance(value, dict | list) or len(objects) != 1 or objects[0].type in ("any", "union"):
        return None
    return objects[0]


def _at(value: Any, schema: Schema, in_form: bool, path: Path) -> Iterator[Mutation]:
    wrong = (WRONG_IN_FORM if in_form else WRONG_IN_JSON)[schema.type]
    yield Mutation("wrong type", path, wrong)
    if not in_form and not schema.nullable:
        yield Mutation("null", path, None)
    if schema.enum is not None and schema.type == "string":
        yield Mutation("wrong enum", path, "no_such_value")
    if schema.max_length is not None:
        yield Mutation("too long", path, "x" * (schema.max_length + 1))


def _of_fields(value: dict[str, Any], schema: Schema, in_form: bool, path: Path) -> Iterator[Mutation]:
    takes_any_key = schema.additional is not None or schema.open_to_any_key()
    if not takes_any_key:
        yield Mutation("unknown field", (*path, "no_such_field"), "x")
    for name, item in value.items():
        known = schema.properties.get(name)
        if known is None:
            known = schema.additional or Schema()
        elif not takes_any_key:
            yield Mutation("typo", (*path, name))
        if name in schema.required:
            yield Mutation("missing field", (*path, name))
        if name != "object":  # a union goes by it
            yield from mutations(item, known, in_form=in_form, path=(*path, name))


def encoded(parameters: dict[str, Any]) -> str:
    """The form of typed parameters."""
    return urlencode(list(_pairs("", parameters)))


def _pairs(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _pairs(f"{name}[{key}]" if name else str(key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _pairs(f"{name}[{index}]", item)
    else:
        yield name, {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
