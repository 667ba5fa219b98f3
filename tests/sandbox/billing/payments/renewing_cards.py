"""Cards whose bank sends a new one: Stripe learns the new expiry from the network and changes it by itself."""

from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def renew_card(world: World, payment_method: StripeObject, *, month: int, year: int) -> StripeObject:
    """Raises ValueError for what is no month."""
    if not 1 <= month <= 12:
        raise ValueError(f"{month} is no month")
    previous = world.update(payment_method, None, card={**payment_method["card"], "exp_month": month, "exp_year": year})
    if previous:
        world.emit("payment_method.automatically_updated", payment_method, previous=previous)
    return payment_method
