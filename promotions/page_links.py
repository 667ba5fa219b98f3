"""
Where the pages are that a grant's page leads to.

Promotions does not know who a customer is or what usage burned a grant. The app above does, and registers its addresses
here in its AppConfig.ready. Without it the pages show plain text.
"""

from collections.abc import Callable
from typing import Any

_registered: dict[str, Callable[[Any], str]] = {}


def register(*, customer: Callable[[str], str], drawdowns: Callable[[int], str]) -> None:
    """`customer` takes a customer key, `drawdowns` a grant id; both return the address of a page."""
    _registered.update(customer=customer, drawdowns=drawdowns)


def customer(customer_key: str) -> str:
    """Address of a customer's page, or ""."""
    return _registered["customer"](customer_key) if "customer" in _registered else ""


def drawdowns(grant_id: int) -> str:
    """Address of what a grant was used for, or ""."""
    return _registered["drawdowns"](grant_id) if "drawdowns" in _registered else ""
