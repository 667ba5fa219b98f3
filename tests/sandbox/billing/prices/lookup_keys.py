"""A price's lookup key names one price at a time, archived ones included."""

from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def holder_of_key(world: World, parameters: Parameters, *, own: str | None = None) -> StripeObject | None:
    """Another price that has to give its lookup key up. Raises `StripeError` if the request does not transfer it."""
    key = parameters.get("lookup_key")
    if not key:
        return None
    holder = next((price for price in world.store.all("price") if price["lookup_key"] == key), None)
    if holder is None or holder["id"] == own:
        return None
    if not parameters.get("transfer_lookup_key"):
        raise StripeError(
            f"A price (`{holder['id']}`) already uses that lookup key.",
            code="resource_already_exists",
            param="lookup_key",
        )
    return holder
