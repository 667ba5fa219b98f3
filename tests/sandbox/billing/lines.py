"""Invoice lines and the sums over them. Every change of a draft's lines ends in `resum`."""

from collections.abc import Sequence
from decimal import Decimal

from tests.sandbox.billing.money import plain_decimal
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

LINES_SHOWN = 10  # an invoice carries its first ten lines; the rest is on its lines' own pages


def line_of_item(world: World, invoice: StripeObject, item: StripeObject) -> StripeObject:
    """The line that an invoice item makes on `invoice`."""
    subscription = None
    if item["parent"] is not None:
        subscription = item["parent"]["subscription_details"]["subscription"]
    parent = {
        "invoice_item_details": {
            "invoice_item": item["id"],
            "proration": item["proration"],
            "proration_details": {"credited_items": None},
            "subscription": subscription,
        },
        "subscription_item_details": None,
        "type": "invoice_item_details",
    }
    return _new_line(world, invoice, parent=parent, source=item, quantity=item["quantity"])


def line_of_subscription_item(
    world: World,
    invoice: StripeObject,
    item: StripeObject,
    *,
    amount: int,
    period: tuple[int, int],
    description: str,
    proration: bool = False,
) -> StripeObject:
    """The line of one licensed price for one period."""
    parent = {
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": None,
            "proration": proration,
            "proration_details": {"credited_items": None},
            "subscription": item["subscription"],
            "subscription_item": item["id"],
        },
        "type": "subscription_item_details",
    }
    price = item["price"]
    source = {
        "amount": amount,
        "description": description,
        "discountable": not proration,
        "metadata": item["metadata"],
        "period": {"start": period[0], "end": period[1]},
        "pricing": pricing_of(price),
    }
    return _new_line(world, invoice, parent=parent, source=source, quantity=item["quantity"])


def pricing_of(price: StripeObject) -> StripeObject:
    product = price["product"]
    return {
        "price_details": {"price": price["id"], "product": product},
        "type": "price_details",
        "unit_amount_decimal": price["unit_amount_decimal"],
    }


def pricing_of_amount(amount: int | Decimal) -> StripeObject:
    """An amount without a price. (Stripe makes a hidden price for it; the sandbox does not.)"""
    return {"type": "price_details", "unit_amount_decimal": plain_decimal(amount)}


def _new_line(
    world: World, invoice: StripeObject, *, parent: StripeObject, source: StripeObject, quantity: int
) -> StripeObject:
    return world.skeletons.new(
        "line_item",
        id=world.ids.new("il"),
        amount=source["amount"],
        currency=invoice["currency"],
        description=source["description"],
        discount_amounts=[],
        discountable=source["discountable"],
        invoice=invoice["id"],
        metadata=dict(source["metadata"] or {}),
        parent=parent,
        period=dict(source["period"]),
        pretax_credit_amounts=[],
        pricing=source["pricing"],
        quantity=quantity,
        quantity_decimal=str(quantity),
        subtotal=source["amount"],
        taxes=[],
    )


def resum(world: World, invoice: StripeObject, *, event: bool) -> None:
    """Redo the sums of a draft after its lines changed; with `event`, tell it."""
    lines = world.lines[invoice["id"]]
    total = sum(line["amount"] for line in lines)
    due = max(0, total + invoice["starting_balance"]) if total > 0 else 0
    world.update(
        invoice,
        "invoice.updated" if event else None,
        lines=shown_lines(invoice["id"], lines),
        subtotal=total,
        subtotal_excluding_tax=total,
        total=total,
        total_excluding_tax=total,
        amount_due=due,
        amount_remaining=due,
    )


def shown_lines(invoice_id: str, lines: Sequence[StripeObject]) -> StripeObject:
    return {
        "object": "list",
        "data": list(lines[:LINES_SHOWN]),
        "has_more": len(lines) > LINES_SHOWN,
        "url": f"/v1/invoices/{invoice_id}/lines",
    }


def item_of_line(line: StripeObject) -> str | None:
    details = line["parent"]["invoice_item_details"]
    return details["invoice_item"] if details else None
