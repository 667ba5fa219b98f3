"""Invoice items: what is waiting for an invoice, or stands on a draft."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.sandbox.billing.catalog import new_price, new_product
from tests.sandbox.billing.lines import pricing_of, pricing_of_amount
from tests.sandbox.billing.money import extended
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


@dataclass(frozen=True, slots=True)
class Valued:
    """What an item costs: minor units, and how they come about."""

    amount: int
    quantity: int
    pricing: StripeObject
    price: StripeObject | None


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
    valued = value_of(world, parameters, currency=currency)
    details = {"subscription": subscription}
    return world.new(
        "invoiceitem",
        "ii",
        amount=valued.amount,
        currency=currency,
        customer=customer["id"],
        date=world.now,
        description=_description(world, parameters, valued),
        discountable=parameters.get("discountable", valued.amount >= 0),
        discounts=[],
        invoice=invoice["id"] if invoice else None,
        metadata=merged_metadata({}, parameters),
        net_amount=valued.amount,
        parent={"subscription_details": details, "type": "subscription_details"} if subscription else None,
        period=dict(parameters.get("period") or {"start": world.now, "end": world.now}),
        pricing=valued.pricing,
        proration=False,
        quantity=valued.quantity,
        quantity_decimal=str(valued.quantity),
        tax_rates=[],
    )


def value_of(world: World, parameters: Parameters, *, currency: str) -> Valued:
    """The amount of an item. Raises `StripeError` unless it is given in exactly one way and in `currency`."""
    ways = [name for name in ("amount", "pricing", "price_data", "unit_amount_decimal") if name in parameters]
    if len(ways) != 1:
        raise StripeError(
            "You must specify exactly one of `amount`, `pricing`, `price_data` or `unit_amount_decimal`.",
            code="parameters_exclusive" if ways else "parameter_missing",
            param=ways[1] if ways else "amount",
        )
    quantity = _quantity(parameters)
    if "amount" in parameters:
        if "quantity" in parameters or "quantity_decimal" in parameters:
            raise StripeError(
                "`quantity` goes with a price, not with `amount`.", code="parameters_exclusive", param="quantity"
            )
        return Valued(parameters["amount"], 1, pricing_of_amount(parameters["amount"]), None)
    if "unit_amount_decimal" in parameters:
        unit = Decimal(parameters["unit_amount_decimal"])
        return Valued(extended(unit, Decimal(quantity)), quantity, pricing_of_amount(unit), None)
    price = _price(world, parameters)
    if price["currency"] != currency:
        raise StripeError(f"The price's currency {price['currency']} is not {currency}.", param="currency")
    if price["type"] != "one_time":
        raise StripeError(
            "The price specified is set to `type=recurring` but this field only accepts prices with `type=one_time`."
        )
    amount = extended(Decimal(price["unit_amount_decimal"]), Decimal(quantity))
    return Valued(amount, quantity, pricing_of(price), price)


def item_changes(world: World, item: StripeObject, parameters: Parameters) -> dict[str, Any]:
    """The fields of an item that an update changes."""
    changes: dict[str, Any] = {"metadata": merged_metadata(item["metadata"] or {}, parameters)}
    if "description" in parameters:
        changes["description"] = unset(parameters["description"])
    for name in ("discountable", "period"):
        if name in parameters:
            changes[name] = parameters[name]
    if any(name in parameters for name in ("amount", "pricing", "price_data", "unit_amount_decimal")):
        valued = value_of(world, parameters, currency=item["currency"])
        changes |= {
            "amount": valued.amount,
            "net_amount": valued.amount,
            "pricing": valued.pricing,
            "quantity": valued.quantity,
            "quantity_decimal": str(valued.quantity),
        }
    elif "quantity" in parameters:
        quantity = parameters["quantity"]
        amount = extended(Decimal(item["pricing"]["unit_amount_decimal"]), Decimal(quantity))
        changes |= {"amount": amount, "net_amount": amount, "quantity": quantity, "quantity_decimal": str(quantity)}
    return changes


def _quantity(parameters: Parameters) -> int:
    if "quantity_decimal" in parameters:
        quantity = Decimal(parameters["quantity_decimal"])
        if quantity != int(quantity):
            raise StripeError("The sandbox takes whole quantities only.", param="quantity_decimal")
        return int(quantity)
    quantity_given: int = parameters.get("quantity", 1)
    return quantity_given


def _price(world: World, parameters: Parameters) -> StripeObject:
    if "pricing" in parameters:
        return world.store.get("price", parameters["pricing"].get("price", ""), param="pricing[price]")
    data = parameters["price_data"]
    if "product_data" in data:
        product = new_product(world, data["product_data"])
    elif "product" in data:
        product = world.store.get("product", data["product"], param="price_data[product]")
    else:
        raise StripeError(
            "Missing required param: price_data[product].", code="parameter_missing", param="price_data[product]"
        )
    return new_price(world, product, {**data, "active": False})


def _description(world: World, parameters: Parameters, valued: Valued) -> str | None:
    if "description" in parameters:
        return unset(parameters["description"])
    return world.store.get("product", valued.price["product"])["name"] if valued.price else None
