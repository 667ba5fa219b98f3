"""
Where the causes of an entry can be seen.

An entry's `cause` is names and identifiers ({"invoice": "in_1"}). The ledger does not know what they mean; whoever does
registers, in its AppConfig.ready, a function from the identifier to the address of a page (or None if there is none).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

cause_links: dict[str, Callable[[str], str | None]] = {}


@dataclass(frozen=True, slots=True)
class Cause:
    name: str
    value: str
    url: str | None


def causes_of(cause: Mapping[str, str]) -> list[Cause]:
    return [Cause(name, value, _url(name, value)) for name, value in cause.items()]


def _url(name: str, value: str) -> str | None:
    link = cause_links.get(name)
    return link(value) if link is not None and value else None
