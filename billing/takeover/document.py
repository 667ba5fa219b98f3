"""
The map of a takeover: the decisions that only people can take, as a small YAML document that can be reviewed.

    customer_key: account_id      # the metadata of Stripe's customer that is our key; without it Stripe's own id is
    currency: USD                 # of customers who were never billed
    prices:                       # Stripe's prices that no published plan version was synced to
      price_123: {plan: pro, version: 2}
    leave_out:                    # customers who are not brought in, each with the reason
      cus_9: our own tests

Everything may be left away. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from billing.catalog.document import CatalogInvalid, read_yaml

KEY_OF_METADATA = "customer_key"
_CURRENCY = re.compile(r"[A-Z]{3}")
_FIELDS = ("customer_key", "currency", "prices", "leave_out")


class MapInvalid(ValueError):
    """The map cannot be used; the message names the field and what it must be."""


@dataclass(frozen=True, slots=True)
class NamedVersion:
    """A plan version of ours, by the names that people use."""

    plan: str
    version: int


@dataclass(frozen=True, slots=True)
class Map:
    """What people decided. Each of `leave_out` is a reason by Stripe's id of a customer."""

    customer_key: str = KEY_OF_METADATA
    currency: str = ""
    prices: Mapping[str, NamedVersion] = field(default_factory=dict)
    leave_out: Mapping[str, str] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """The map as it is kept with a run."""
        return asdict(self)


def read_map(text: str) -> Map:
    """Return what a document says. Raises MapInvalid."""
    if not text.strip():
        return Map()
    try:
        document = read_yaml(text)
    except CatalogInvalid as error:
        raise MapInvalid(str(error)) from error
    unknown = sorted(set(document) - set(_FIELDS))
    if unknown:
        raise MapInvalid(f"{unknown[0]} is not known here; the map has {', '.join(_FIELDS)}")
    currency = document.get("currency", "")
    if currency and not (isinstance(currency, str) and _CURRENCY.fullmatch(currency)):
        raise MapInvalid(f"currency is {currency!r}; it must be an ISO 4217 code in upper case")
    key = document.get("customer_key", KEY_OF_METADATA)
    if not isinstance(key, str) or not key:
        raise MapInvalid("customer_key must be the name of a metadata field of Stripe's customers")
    prices = {price: _version(price, said) for price, said in _mapping(document, "prices").items()}
    left_out = {customer: _reason(customer, said) for customer, said in _mapping(document, "leave_out").items()}
    return Map(customer_key=key, currency=currency, prices=prices, leave_out=left_out)


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    said = document.get(name) or {}
    if not isinstance(said, dict) or not all(isinstance(key, str) for key in said):
        raise MapInvalid(f"{name} must be a mapping by Stripe's ids")
    return said


def _version(price: str, said: Any) -> NamedVersion:
    is_whole = isinstance(said, dict) and set(said) == {"plan", "version"}
    if not is_whole or not isinstance(said["plan"], str) or type(said["version"]) is not int:
        raise MapInvalid(f"prices.{price} must name a version of ours, such as {{plan: pro, version: 2}}")
    return NamedVersion(said["plan"], said["version"])


def _reason(customer: str, said: Any) -> str:
    if not isinstance(said, str) or not said.strip():
        raise MapInvalid(f"leave_out.{customer} must say why")
    return said.strip()[:500]
