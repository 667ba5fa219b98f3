"""`add_invoice_items`: things billed once, with the next invoice of a subscription."""

from collections.abc import Sequence
from typing import Any

from tests.sandbox.billing.invoices.items import new_item
from tests.sandbox.billing.subscriptions.item_terms import items_of
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

ADDED_MAX = 20


def add_invoice_items(world: World, subscription: StripeObject, given: Sequence[Parameters]) -> None:
    """Store what is to be billed once, waiting for an invoice of the subscription. Raises `StripeError`."""
    if len(given) > ADDED_MAX:
        raise StripeError(f"You may pass at most {ADDED_MAX} `add_invoice_items`.", param="add_invoice_items")
    customer = world.store.get("customer", subscription["customer"])
    for entry in given:
        item = new_item(
            world,
            _as_invoice_item(world, subscription, entry),
            customer=customer,
            currency=subscription["currency"],
            invoice=None,
            subscription=subscription["id"],
        )
        world.emit("invoiceitem.created", item)


def _as_invoice_item(world: World, subscription: StripeObject, entry: Parameters) -> Parameters:
    """The entry in the parameters of `POST /v1/invoiceitems`."""
    parameters: dict[str, Any] = {
        name: entry[name]
        for name in ("discountable", "discounts", "metadata", "quantity", "tax_rates")
        if name in entry
    }
    if "price_data" in entry:
        parameters["price_data"] = entry["price_data"]
    if "price" in entry:
        parameters["pricing"] = {"price": entry["price"]}
    if "period" in entry:
        parameters["period"] = {
            "start": _moment(world, subscription, entry["period"]["start"], "start"),
            "end": _moment(world, subscription, entry["period"]["end"], "end"),
        }
    return parameters


def _moment(world: World, subscription: StripeObject, wanted: Parameters, side: str) -> int:
    match wanted["type"]:
        case "now":
            return world.now
        case "max_item_period_start":
            return max(int(item["current_period_start"]) for item in items_of(subscription))
        case "min_item_period_end":
            return min(int(item["current_period_end"]) for item in items_of(subscription))
    if "timestamp" not in wanted:
        raise StripeError(
            f"Missing required param: add_invoice_items[period][{side}][timestamp].",
            code="parameter_missing",
            param=f"add_invoice_items[period][{side}][timestamp]",
        )
    return int(wanted["timestamp"])
