"""Invoice lines and the sums over them. Every change of a draft's lines ends in `resum`."""

from collections.abc import Sequence
from decimal import Decimal

from tests.sandbox.billing.invoices.discounts import live_discounts
from tests.sandbox.billing.invoices.totals import invoice_totals, sum_lines, summed_line, taxability, use_up_discounts
from tests.sandbox.billing.money import plain_decimal
from tests.sandbox.billing.prices.pricing import pricing_of
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

LINES_SHOWN = 10  # an invoice carries its first ten lines; the rest is on its lines' own pages


def line_of_item(world: World, invoice: StripeObject, item: StripeObject) -> StripeObject:
    """The line that an invoice item makes on `invoice`. A proration counts as a line of its subscription item."""
    owner = (item["parent"] or {}).get("subscription_details") or {}
    details = {
        "invoice_item": item["id"],
        "proration": item["proration"],
        "proration_details": {"credited_items": world.credited_items.get(item["id"])},
        "subscription": owner.get("subscription"),
    }
    if item["proration"] and owner.get("subscription_item"):
        parent = {
            "invoice_item_details": None,
            "subscription_item_details": {**details, "subscription_item": owner["subscription_item"]},
            "type": "subscription_item_details",
        }
        source = {**item, "pricing": {**item["pricing"], "unit_amount_decimal": None}}  # as recorded
    else:
        parent = {
            "invoice_item_details": details,
            "subscription_item_details": None,
            "type": "invoice_item_details",
        }
        source = item
    line = _new_line(world, invoice, parent=parent, source=source, quantity=Decimal(item["quantity_decimal"]))
    if item["id"] in world.credited_items and not item["tax_rates"]:
        set_line_tax_rates(world, line["id"], [])  # what was billed without tax is credited without, whatever holds now
    return line


def renewed_line(world: World, invoice: StripeObject, item: StripeObject, line: StripeObject) -> StripeObject:
    """The line of a changed invoice item, under the id of its former `line`."""
    renewed = line_of_item(world, invoice, item)
    set_line_tax_rates(world, line["id"], world.line_tax_rates.pop(renewed["id"], None))
    return {**renewed, "id": line["id"]}


def set_line_tax_rates(world: World, line_id: str, rates: list[str] | None) -> None:
    """A line's own tax rates, perhaps none at all; None: its invoice's apply."""
    if rates is None:
        world.line_tax_rates.pop(line_id, None)
    else:
        world.line_tax_rates[line_id] = rates


def line_of_subscription_item(
    world: World,
    invoice: StripeObject,
    item: StripeObject,
    *,
    amount: int,
    period: tuple[int, int],
    description: str,
    quantity: Decimal,
    unit_amount_decimal: str | None,
) -> StripeObject:
    """A line of a subscription's price for one period, `amount` in minor units."""
    parent = {
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": None,
            "proration": False,
            "proration_details": {"credited_items": None},
            "subscription": item["subscription"],
            "subscription_item": item["id"],
        },
        "type": "subscription_item_details",
    }
    source = {
        "amount": amount,
        "description": description,
        "discountable": True,
        "metadata": item["metadata"],
        "period": {"start": period[0], "end": period[1]},
        "pricing": pricing_of(item["price"], unit_amount_decimal),
        "discounts": item["discounts"],
        "tax_rates": item["tax_rates"],
    }
    return _new_line(world, invoice, parent=parent, source=source, quantity=quantity)


def _new_line(
    world: World, invoice: StripeObject, *, parent: StripeObject, source: StripeObject, quantity: Decimal
) -> StripeObject:
    line = world.skeletons.new(
        "line_item",
        id=world.ids.new("il"),
        amount=source["amount"],
        currency=invoice["currency"],
        description=source["description"],
        discount_amounts=[],
        discountable=source["discountable"],
        discounts=live_discounts(world, source["discounts"] or []),
        invoice=invoice["id"],
        metadata=dict(source["metadata"] or {}),
        parent=parent,
        period=dict(source["period"]),
        pretax_credit_amounts=[],
        pricing=source["pricing"],
        quantity=int(quantity),
        quantity_decimal=plain_decimal(quantity),
        subtotal=source["amount"],
        taxes=[],
    )
    set_line_tax_rates(world, line["id"], [rate["id"] for rate in source["tax_rates"] or []] or None)
    return line


def resum(world: World, invoice: StripeObject, *, event: bool) -> StripeObject:
    """Redo the discounts, taxes and sums of a draft after anything about it changed; with `event`, tell it.

    The answer holds the former values of the fields that became different.
    """
    sums = sum_lines(world, invoice)
    reason = taxability(invoice)
    lines = [
        summed_line(line, line_sum, reason) for line, line_sum in zip(world.lines[invoice["id"]], sums, strict=True)
    ]
    world.lines[invoice["id"]] = lines
    totals = invoice_totals(sums, reason)
    due = max(0, totals["total"] + invoice["starting_balance"]) if totals["total"] > 0 else 0
    previous = world.update(
        invoice,
        "invoice.updated" if event else None,
        lines=shown_lines(invoice["id"], lines),
        amount_due=due,
        amount_remaining=due,
        **totals,
    )
    use_up_discounts(world, sums)
    return previous


def shown_lines(invoice_id: str, lines: Sequence[StripeObject]) -> StripeObject:
    return {
        "object": "list",
        "data": list(lines[:LINES_SHOWN]),
        "has_more": len(lines) > LINES_SHOWN,
        "url": f"/v1/invoices/{invoice_id}/lines",
    }


def item_of_line(line: StripeObject) -> str | None:
    """The invoice item that the line stands for; a subscription's own line has none."""
    parent = line["parent"]
    details = parent["invoice_item_details"] or parent["subscription_item_details"]
    return str(details["invoice_item"]) if details["invoice_item"] else None
