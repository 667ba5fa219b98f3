"""The prices that Stripe makes itself for amounts asked for without one: inactive, paid once, with a product."""

from decimal import Decimal

from tests.sandbox.billing.money import plain_decimal
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

NAME_WITHOUT_DESCRIPTION = "Invoice item"


def hidden_price(
    world: World, unit_amount: Decimal, *, currency: str, name: str | None, tax_behavior: str = "unspecified"
) -> StripeObject:
    """The inactive price of `unit_amount` minor units (also negative) with a product named `name`.

    Made once and used again for the same terms: the price in a recorded invoice item is older than the item. That the
    product takes the item's description as its name is an assumption.
    """
    name = name or NAME_WITHOUT_DESCRIPTION
    terms = (name, currency, plain_decimal(unit_amount), tax_behavior)
    known = world.store.find("price", world.hidden_prices.get(terms))
    if known is not None:
        return known
    product = _product(world, name)
    price = world.new(
        "price",
        "price",
        active=False,
        billing_scheme="per_unit",
        currency=currency,
        metadata={},
        product=product["id"],
        tax_behavior=tax_behavior,
        type="one_time",
        unit_amount=int(unit_amount) if unit_amount == int(unit_amount) else None,
        unit_amount_decimal=plain_decimal(unit_amount),
    )
    world.hidden_prices[terms] = price["id"]
    world.emit("price.created", price)
    return price


def _product(world: World, name: str) -> StripeObject:
    known = world.store.find("product", world.hidden_products.get(name))
    if known is not None:
        return known
    product = world.new(
        "product", "prod", active=False, images=[], marketing_features=[], metadata={}, name=name, updated=world.now
    )
    world.hidden_products[name] = product["id"]
    world.emit("product.created", product)
    return product
