"""Which function answers which operation."""

from collections.abc import Callable
from typing import TypeVar

from tests.sandbox.core.store import StripeObject

Handler = Callable[..., StripeObject]  # (world, parameters, *path values)
HANDLERS: dict[str, Handler] = {}

SomeHandler = TypeVar("SomeHandler", bound=Handler)


def handles(operation: str) -> Callable[[SomeHandler], SomeHandler]:
    """Register a function for an operation of the document: `@handles("POST /v1/customers")`."""

    def register(handler: SomeHandler) -> SomeHandler:
        assert operation not in HANDLERS, f"two functions answer {operation}"
        HANDLERS[operation] = handler
        return handler

    return register
