"""Making products and prices, for requests about them and for invoice items that bring their own."""

from decimal import Decimal
from typing import Any

from tests.sandbox.billing.money import plain_decimal
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

PRODUCT_FIELDS = ("active", "images", "marketing_features", "name", "shippable")
PRODUCT_TEXTS = ("description", "statement_descriptor", "tax_code", "unit_label", "url")


def new_product(world: World, parameters: Parameters) -> StripeObject:
    fields: dict[str, Any] = {"active": True, "images": [], "marketing_features": [], "updated": world.now}
    if "id" in parameters:
        fields["id"] = parameters["id"]
    product = world.new("product", "prod", metadata={}, **fields)
    product.update(product_changes(world, product, parameters))
    world.emit("product.created", product)
    return product


def product_changes(world: World, product: StripeObject, parameters: Parameters) -> dict[str, Any]:
    """The fields of a product that a request sets."""
    changes: dict[str, Any] = {name: parameters[name] for name in PRODUCT_FIELDS if name in parameters}
    changes |= {name: unset(parameters[name]) for name in PRODUCT_TEXTS if name in parameters}
    if "default_price" in parameters:
        changes["default_price"] = world.store.get("price", parameters["default_price"], param="default_price")["id"]
    changes["metadata"] = merged_metadata(product["metadata"], parameters)
    return changes


def new_price(world: World, product: StripeObject, parameters: Parameters) -> StripeObject:
    """A stored price. Raises `StripeError` unless exactly one of the two amounts is given."""
    amount = _unit_amount(parameters)
    recurring = parameters.get("recurring")
    return world.new(
        "price",
        "price",
        active=parameters.get("active", True),
        billing_scheme="per_unit",
        currency=parameters["currency"].lower(),
        lookup_key=parameters.get("lookup_key"),
        metadata=merged_metadata({}, parameters),
        nickname=parameters.get("nickname"),
        product=product["id"],
        recurring=_recurring(recurring) if recurring else None,
        tax_behavior=parameters.get("tax_behavior", "unspecified"),
        type="recurring" if recurring else "one_time",
        unit_amount=int(amount) if amount == int(amount) else None,
        unit_amount_decimal=plain_decimal(amount),
    )


def _unit_amount(parameters: Parameters) -> Decimal:
    if ("unit_amount" in parameters) == ("unit_amount_decimal" in parameters):
        raise StripeError(
            "You must specify exactly one of `unit_amount` and `unit_amount_decimal`.",
            code="parameter_missing",
            param="unit_amount",
        )
    amount = Decimal(parameters.get("unit_amount_decimal") or parameters.get("unit_amount", 0))
    if amount < 0:
        raise StripeError("Invalid non-negative integer", code="parameter_invalid_integer", param="unit_amount")
    return amount


def _recurring(given: dict[str, Any]) -> dict[str, Any]:
    count = given.get("interval_count", 1)
    if count < 1:
        raise StripeError(
            "Invalid interval_count: at least 1.", code="parameter_invalid_integer", param="recurring[interval_count]"
        )
    return {"interval": given["interval"], "interval_count": count, "meter": None, "usage_type": "licensed"}
