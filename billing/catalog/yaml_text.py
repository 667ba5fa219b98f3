"""
YAML as plain values, without what YAML changes on its own: no number becomes a float or another number, no key hides
another one, nothing is repeated by reference. Pure.
"""

import re
from collections.abc import Hashable, Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

# Far beyond any catalogue a person reads; a larger text would only keep the reader busy.
TEXT_LENGTH_MAX = 2_000_000
DEPTH_MAX = 30
_WHOLE_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]{0,29})")
# What no text of a catalogue has: what the database refuses (NUL, halves of a character), and what nobody sees.
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class NotYaml(Exception):
    """The text cannot be read as YAML that means one thing. The message says where, and what to write instead."""


def read_mapping(text: str) -> Mapping[str, Any]:
    """Return what a text says, numbers with a point as the text that was written. Raises NotYaml."""
    if len(text) > TEXT_LENGTH_MAX:
        raise NotYaml(f"the text is longer than {TEXT_LENGTH_MAX:,} characters; split it into several documents")
    try:
        document = yaml.load(text, Loader=_Plain)
    except yaml.YAMLError as error:
        raise NotYaml(f"this is no YAML: {error}") from error
    except (RecursionError, ValueError, OverflowError) as error:
        raise NotYaml("this is no YAML: it is nested too deeply, or a date in it does not exist") from error
    if not isinstance(document, dict):
        raise NotYaml("the document has to name products, meters, rate_cards or plans")
    require_plain(document)
    return document


def require_plain(value: Any, place: str = "$", *, depth: int = 0) -> None:
    """Refuse what no document may hold, whoever made it: floats, texts that cannot be stored. Raises NotYaml."""
    if isinstance(value, float):
        raise NotYaml(f"{value!r} is a float; write the amount as text - at `{place}`")  # refuses floats
    if depth > DEPTH_MAX:
        raise NotYaml(f"the document is nested too deeply - at `{place}`")
    if isinstance(value, str) and (found := _UNWANTED.search(value)):
        raise NotYaml(f"the text holds the character {found.group()!r}; leave it away - at `{place}`")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise NotYaml(f"the name {key!r} is no text; put it in quotes - at `{place}`")
            require_plain(key, place, depth=depth + 1)
            require_plain(inner, f"{place}.{key}", depth=depth + 1)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            require_plain(inner, f"{place}[{number}]", depth=depth + 1)


def write_mapping(document: Mapping[str, Any]) -> str:
    """Return the document as YAML that `read_mapping` reads as the same values, in the order of its keys."""
    return yaml.dump(dict(document), Dumper=_Readable, sort_keys=False, allow_unicode=True, width=118)


class _Plain(yaml.SafeLoader):
    """Reads 6.25 as the text '6.25', and 012 or 1:30, which YAML takes for other numbers, as they were written too."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, "references (*name) are not read; write the values out", event.start_mark
            )
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, "tags (!!name) are not read; write the value alone, as text in quotes", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, "mappings are not merged (<<); write the keys out", key.start_mark
                )
            if key.value in seen if isinstance(key, yaml.ScalarNode) else False:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is said twice; one of them would be lost", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)


class _Readable(yaml.SafeDumper):
    """Lists indented below their name, short mappings of plain values on one line, as a person writes them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _as_written(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | str:
    text = str(loader.construct_scalar(node))
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else text


def _instant(dumper: yaml.SafeDumper, at: datetime) -> yaml.Node:
    at = at.astimezone(UTC)
    text = at.isoformat(timespec="microseconds" if at.microsecond else "seconds").replace("+00:00", "Z")
    return dumper.represent_scalar("tag:yaml.org,2002:timestamp", text)


def _mapping(dumper: yaml.SafeDumper, values: Mapping[str, Any]) -> yaml.Node:
    """On one line where it is short and holds nothing that is itself a list of mappings."""
    plain = all(not isinstance(value, Mapping | list) or _is_short(value) for value in values.values())
    return dumper.represent_mapping("tag:yaml.org,2002:map", values, flow_style=plain and 0 < len(repr(values)) <= 100)


def _is_short(value: Any) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value
    return all(not isinstance(one, Mapping) for one in inner)


_Plain.add_constructor("tag:yaml.org,2002:float", _as_written)
_Plain.add_constructor("tag:yaml.org,2002:int", _whole_number)
_Readable.add_representer(datetime, _instant)
_Readable.add_representer(dict, _mapping)
