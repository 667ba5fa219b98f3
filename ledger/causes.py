"""
Where the causes of an entry can be seen.

An entry's `cause` is names and identifiers ({"invoice": "in_1"}). The ledger does not know what they mean; whoever does
registers, in its AppConfig.ready, a function from the identifier to the address of a page (or None if there is none),
and the permission with which that page opens, if it needs one: for others the cause is text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

# Whether the reader holds a permission, such as may("billing.view_invoice").
May = Callable[[str], bool]

cause_links: dict[str, Callable[[str], str | None]] = {}
cause_permissions: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Cause:
    name: str
    value: str
    url: str | None


def everything(permission: str) -> bool:
    """The rights of who is not asked for any."""
    return True


def causes_of(cause: Mapping[str, str], *, may: May = everything) -> list[Cause]:
    return [Cause(name, value, _url(name, value, may)) for name, value in cause.items()]


def _url(name: str, value: str, may: May) -> str | None:
    link = cause_links.get(name)
    if link is None or not value:
        return None
    permission = cause_permissions.get(name)
    return link(value) if permission is None or may(permission) else None
