"""Where the page of a customer is. Metering knows a key only; the app above registers its address in
AppConfig.ready."""

from collections.abc import Callable

_registered: dict[str, Callable[[str], str]] = {}


def register(*, customer: Callable[[str], str]) -> None:
    """`customer` takes a customer key and returns the address of the customer's page."""
    _registered["customer"] = customer


def customer(customer_key: str) -> str:
    """Address of a customer's page, or "" when nobody registered one."""
    return _registered["customer"](customer_key) if "customer" in _registered else ""
