"""Two bodies of one event, field by field. Pure: numbers stay the text they were kept as."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MISSING = ""


class _Number(str):
    """A number as it is written, apart from a text of the same digits."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class FieldPair:
    """One field in both bodies, "" where a body does not have it."""

    path: str
    first: str
    other: str

    @property
    def differs(self) -> bool:
        return self.first != self.other


def compare(first: Mapping[str, str], other: Mapping[str, str]) -> list[FieldPair]:
    """Every field of either, in the order of the first and then of the other."""
    paths = dict.fromkeys((*first, *other))
    return [FieldPair(path, first.get(path, MISSING), other.get(path, MISSING)) for path in paths]


def fields_of(data_json: str, *, below: str = "data") -> dict[str, str]:
    """The values of a JSON text by path, each as JSON writes it. An empty object or list is a value of its own."""
    value = json.loads(data_json, parse_float=_Number, parse_int=_Number)
    return dict(_walk(value, below))


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _walk(inner, f"{path}.{name}")
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _walk(inner, f"{path}[{index}]")
    elif isinstance(value, _Number):
        yield path, str(value)
    else:
        yield path, json.dumps(value, ensure_ascii=False)
