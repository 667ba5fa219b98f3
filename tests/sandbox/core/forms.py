"""Stripe's form encoding: `items[0][price]=p&expand[]=x` to nested dictionaries of text.

Lists stay dictionaries of index to value here; only a schema knows whether `metadata[0]` is a list or a key named 0.
"""

from typing import Any
from urllib.parse import parse_qsl

Form = dict[str, Any]


DEPTH_MAX = 32  # Stripe's own parameters are nested no deeper than eight; its limit is an assumption


class FormTooDeep(ValueError):
    """A parameter is nested deeper than any that there is."""


class FormConflict(ValueError):
    """The same parameter was given both as a value and as a container of others."""


def decode_form(encoded: str) -> Form:
    """Decode a query string or form body. Raises `FormConflict` for `a=1&a[b]=2`, and `FormTooDeep`."""
    root: Form = {}
    for name, text in parse_qsl(encoded, keep_blank_values=True):
        _place(root, _split(name), text, name)
    return root


def _split(name: str) -> list[str]:
    if "[" not in name:
        return [name]
    if name.count("[") > DEPTH_MAX:
        raise FormTooDeep(name)
    head, _, rest = name.partition("[")
    return [head, *rest.removesuffix("]").split("][")]


def _place(root: Form, parts: list[str], text: str, name: str) -> None:
    node = root
    for part in parts[:-1]:
        key = part or str(len(node))
        child = node.setdefault(key, {})
        if not isinstance(child, dict):
            raise FormConflict(name)
        node = child
    last = parts[-1] or (str(len(node)) if len(parts) > 1 else "")
    if isinstance(node.get(last), dict):
        raise FormConflict(name)
    node[last] = text
