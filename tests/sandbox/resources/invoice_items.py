"""Invoice items, waiting or on a draft."""

from tests.sandbox.billing.invoices.balance import claim_currency, require_currency
from tests.sandbox.billing.invoices.items import item_changes, new_item
from tests.sandbox.billing.invoices.lines import item_of_line, line_of_item, renewed_line, resum
from tests.sandbox.core.belonging import without_other_clocks
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

VALUE = frozenset({"amount", "price_data", "pricing", "quantity", "quantity_decimal", "unit_amount_decimal"})
UPDATABLE = VALUE | {"description", "discountable", "discounts", "metadata", "period", "tax_behavior", "tax_rates"}
CREATABLE = UPDATABLE | {"currency", "customer", "invoice", "subscription"}


def require_draft(invoice: StripeObject) -> None:
    """Raises `StripeError` for an invoice whose lines are fixed."""
    if invoice["status"] != "draft":
        raise StripeError(
            "This invoice is no longer editable: it is not a draft any more.",
            code="invoice_not_editable",
            param="invoice",
        )


@handles("POST /v1/invoiceitems")
def create_invoice_item(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/invoiceitems")
    invoice = None
    if "invoice" in parameters:
        invoice = world.store.get("invoice", parameters["invoice"], param="invoice")
        require_draft(invoice)
    customer = _customer(world, parameters, invoice)
    currency = parameters.get("currency", "").lower() or _currency(world, parameters, customer, invoice)
    if invoice is not None and currency != invoice["currency"]:
        raise StripeError(
            f"The currency of the invoice item ({currency}) is not that of the invoice ({invoice['currency']}).",
            param="currency",
        )
    require_currency(customer, currency)
    subscription = parameters.get("subscription")
    if subscription is not None:
        world.store.get("subscription", subscription, param="subscription")
    item = new_item(world, parameters, customer=customer, currency=currency, invoice=invoice, subscription=subscription)
    claim_currency(world, customer, currency)
    world.emit("invoiceitem.created", item)
    if invoice is not None:
        world.lines[invoice["id"]].append(line_of_item(world, invoice, item))
        resum(world, invoice, event=True)
    return item


@handles("GET /v1/invoiceitems")
def list_invoice_items(world: World, parameters: Parameters) -> StripeObject:
    if "customer" in parameters:
        items = world.store.where("invoiceitem", "customer", parameters["customer"])
    else:
        items = without_other_clocks(world.store.all("invoiceitem"), parameters)
    if "pending" in parameters:
        items = [item for item in items if (item["invoice"] is None) is parameters["pending"]]
    return page_of(world.store, matching(items, parameters, "invoice"), parameters, url="/v1/invoiceitems")


@handles("GET /v1/invoiceitems/{invoiceitem}")
def retrieve_invoice_item(world: World, parameters: Parameters, item_id: str) -> StripeObject:
    return world.store.get("invoiceitem", item_id, noun="invoiceitem")


@handles("POST /v1/invoiceitems/{invoiceitem}")
def update_invoice_item(world: World, parameters: Parameters, item_id: str) -> StripeObject:
    refuse_unsupported(parameters, UPDATABLE, "POST /v1/invoiceitems/{invoiceitem}")
    item = world.store.get("invoiceitem", item_id, noun="invoiceitem")
    change_item(world, item, parameters)
    return item


def change_item(world: World, item: StripeObject, parameters: Parameters) -> None:
    """Change an item, and its line where it stands on a draft. (Stripe tells no event about the item.)"""
    invoice = world.store.find("invoice", item["invoice"])
    if invoice is not None:
        require_draft(invoice)
    world.update(item, None, **item_changes(world, item, parameters))
    if invoice is not None:
        lines = world.lines[invoice["id"]]
        place = next(place for place, line in enumerate(lines) if item_of_line(line) == item["id"])
        lines[place] = renewed_line(world, invoice, item, lines[place])
        resum(world, invoice, event=True)


@handles("DELETE /v1/invoiceitems/{invoiceitem}")
def delete_invoice_item(world: World, parameters: Parameters, item_id: str) -> StripeObject:
    item = world.store.get("invoiceitem", item_id, noun="invoiceitem")
    invoice = world.store.find("invoice", item["invoice"])
    if invoice is not None:
        require_draft(invoice)
    remove_item(world, item)
    if invoice is not None:
        lines = world.lines[invoice["id"]]
        world.lines[invoice["id"]] = [line for line in lines if item_of_line(line) != item_id]
        resum(world, invoice, event=True)
    return {"id": item_id, "object": "invoiceitem", "deleted": True}


def remove_item(world: World, item: StripeObject) -> None:
    world.store.remove(item)
    world.emit("invoiceitem.deleted", item)


def _customer(world: World, parameters: Parameters, invoice: StripeObject | None) -> StripeObject:
    if not parameters.get("customer") and invoice is None:
        raise StripeError("Missing required param: customer.", code="parameter_missing", param="customer")
    customer = world.store.get("customer", parameters.get("customer") or (invoice or {})["customer"], param="customer")
    if invoice is not None and invoice["customer"] != customer["id"]:
        raise StripeError("The invoice belongs to another customer.", param="invoice")
    return customer


def _currency(world: World, parameters: Parameters, customer: StripeObject, invoice: StripeObject | None) -> str:
    if invoice is not None:
        return str(invoice["currency"])
    if "pricing" in parameters:
        price = world.store.get("price", parameters["pricing"].get("price", ""), param="pricing[price]")
        return str(price["currency"])
    if "price_data" in parameters:
        return str(parameters["price_data"]["currency"]).lower()
    return str(customer["currency"] or "usd")
