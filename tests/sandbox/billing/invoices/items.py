"""Invoice items: what is waiting for an invoice, or stands on a draft."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.sandbox.billing.invoices.discounts import new_discounts, replaced_discounts
from tests.sandbox.billing.invoices.hidden_prices import hidden_price
from tests.sandbox.billing.invoices.tax_rates import find_tax_rates
from tests.sandbox.billing.money import extended, plain_decimal
from tests.sandbox.billing.prices.catalog import new_price_and_product
from tests.sandbox.billing.prices.pricing import amount_of, offer_in, pricing_of
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

WAYS = ("amount", "pricing", "price_data", "unit_amount_decimal")  # of saying what an item costs; exactly one
QUANTITIES = ("quantity", "quantity_decimal")
FROZEN_BY = {"discounts": ("discounts",), "pricing": WAYS, "quantity": QUANTITIES}


@dataclass(frozen=True, slots=True)
class Valued:
    """What an item costs: minor units, and the price and quantity they come from."""

    amount: int
    quantity: Decimal
    price: StripeObject
    unit_amount_decimal: str

    @property
    def pricing(self) -> StripeObject:
        return pricing_of(self.price, self.unit_amount_decimal)


def new_item(
    world: World,
    parameters: Parameters,
    *,
    customer: StripeObject,
    currency: str,
    invoice: StripeObject | None,
    subscription: str | None,
) -> StripeObject:
    """A stored invoice item from the parameters of `POST /v1/invoiceitems`, or of one line of add_lines."""
    rates = find_tax_rates(world, parameters.get("tax_rates"), param="tax_rates")
    valued = value_of(world, parameters, currency=currency)
    name = world.ids.new("ii")
    discounts = new_discounts(
        world, parameters.get("discounts"), customer=customer["id"], invoice_item=name, currency=currency
    )
    details = {"subscription": subscription}
    item = world.new(
        "invoiceitem",
        "ii",
        id=name,
        amount=valued.amount,
        currency=currency,
        customer=customer["id"],
        date=world.now,
        description=_description(world, parameters, valued),
        discountable=parameters.get("discountable", valued.amount >= 0),
        discounts=discounts,
        frozen_fields=[],
        invoice=invoice["id"] if invoice else None,
        metadata=merged_metadata({}, parameters),
        parent={"subscription_details": details, "type": "subscription_details"} if subscription else None,
        period=dict(parameters.get("period") or {"start": world.now, "end": world.now}),
        pricing=valued.pricing,
        proration=False,
        quantity=int(valued.quantity),
        quantity_decimal=plain_decimal(valued.quantity),
        tax_rates=rates,
    )
    if not item["discountable"]:
        item["net_amount"] = item["amount"]  # by the document, only items without discounts have one
    return item


def value_of(world: World, parameters: Parameters, *, currency: str, name: str | None = None) -> Valued:
    """The amount of an item. Raises `StripeError` unless it is given in exactly one way and in `currency`.

    `name` is that of the product for an amount without a price, where the parameters have no description.
    """
    ways = [way for way in WAYS if way in parameters]
    if len(ways) != 1:
        raise StripeError(
            "You must specify exactly one of `amount`, `pricing`, `price_data` or `unit_amount_decimal`.",
            code="parameters_exclusive" if ways else "parameter_missing",
            param=ways[1] if ways else "amount",
        )
    quantity = _quantity(parameters)
    if "amount" in parameters or "unit_amount_decimal" in parameters:
        unit = Decimal(parameters["amount"] if "amount" in parameters else parameters["unit_amount_decimal"])
        if "amount" in parameters and any(name in parameters for name in QUANTITIES):
            raise StripeError(
                "`quantity` goes with a price, not with `amount`.", code="parameters_exclusive", param="quantity"
            )
        price = hidden_price(
            world,
            unit,
            currency=currency,
            name=parameters.get("description") or name,
            tax_behavior=parameters.get("tax_behavior", "unspecified"),
        )
        return Valued(extended(unit, quantity), quantity, price, plain_decimal(unit))
    price = _price(world, parameters, currency)
    unit_amount_decimal = offer_in(world, price, currency)["unit_amount_decimal"]
    return Valued(amount_of(world, price, quantity, currency=currency), quantity, price, unit_amount_decimal)


def item_changes(world: World, item: StripeObject, parameters: Parameters) -> dict[str, Any]:
    """The fields of an item that an update changes. Raises `StripeError` for those of a proration that are fixed."""
    for field in item.get("frozen_fields", []):
        named = next((name for name in FROZEN_BY[field] if name in parameters), None)
        if named is not None:
            raise StripeError(f"You cannot update `{named}` of a proration.", param=named)
    changes: dict[str, Any] = {"metadata": merged_metadata(item["metadata"] or {}, parameters)}
    if "description" in parameters:
        changes["description"] = unset(parameters["description"])
    for name in ("discountable", "period"):
        if name in parameters:
            changes[name] = parameters[name]
    if "tax_rates" in parameters:
        changes["tax_rates"] = find_tax_rates(world, parameters["tax_rates"], param="tax_rates")
    changes |= _value_changes(world, item, parameters)
    if "discounts" in parameters:
        owner = {"customer": item["customer"], "invoice_item": item["id"], "currency": item["currency"]}
        changes["discounts"] = replaced_discounts(world, item["discounts"], parameters["discounts"], **owner)
    if not changes.get("discountable", item["discountable"]):
        changes["net_amount"] = changes.get("amount", item["amount"])
    return changes


def _value_changes(world: World, item: StripeObject, parameters: Parameters) -> dict[str, Any]:
    if any(way in parameters for way in WAYS):
        valued = value_of(world, parameters, currency=item["currency"], name=item["description"])
    elif any(name in parameters for name in QUANTITIES):
        quantity = _quantity(parameters)
        price = world.store.get("price", item["pricing"]["price_details"]["price"])
        amount = amount_of(world, price, quantity, currency=item["currency"])
        valued = Valued(amount, quantity, price, item["pricing"]["unit_amount_decimal"])
    else:
        return {}
    return {
        "amount": valued.amount,
        "pricing": valued.pricing,
        "quantity": int(valued.quantity),
        "quantity_decimal": plain_decimal(valued.quantity),
    }


def _quantity(parameters: Parameters) -> Decimal:
    if "quantity" in parameters and "quantity_decimal" in parameters:
        raise StripeError(
            "You may only specify one of these parameters: quantity, quantity_decimal.",
            code="parameters_exclusive",
            param="quantity_decimal",
        )
    whole: int = parameters.get("quantity", 1)
    quantity = Decimal(parameters.get("quantity_decimal", whole))
    if quantity < 0:
        raise StripeError("Invalid non-negative integer", code="parameter_invalid_integer", param="quantity")
    return quantity


def _price(world: World, parameters: Parameters, currency: str) -> StripeObject:
    """The price of `pricing`, or a new one of `price_data`. Raises `StripeError` for one that items cannot have."""
    if "price_data" in parameters:
        data = parameters["price_data"]
        if data["currency"].lower() != currency:
            raise StripeError(
                f"The price's currency {data['currency']} is not {currency}.", param="price_data[currency]"
            )
        return new_price_and_product(world, {**data, "active": False})
    price = world.store.get("price", parameters["pricing"].get("price", ""), param="pricing[price]")
    if not price["active"]:
        raise StripeError(
            "The price specified is inactive. This field only accepts active prices.", param="pricing[price]"
        )
    if price["type"] != "one_time":
        raise StripeError(
            "The price specified is set to `type=recurring` but this field only accepts prices with `type=one_time`.",
            param="pricing[price]",
        )
    return price


def _description(world: World, parameters: Parameters, valued: Valued) -> str | None:
    """Its own, or the product's name for a price; an amount without a price has none."""
    if "description" in parameters:
        return unset(parameters["description"])
    if "pricing" in parameters or "price_data" in parameters:
        return str(world.store.get("product", valued.price["product"])["name"])
    return None
