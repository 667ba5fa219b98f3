"""Proration items: what a change of a subscription credits and debits, first planned and then made.

Planning touches nothing, so that a change which would have to be paid can still be refused.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tests.sandbox.billing.invoices.discounting import DiscountableLine, invoice_shares, own_shares
from tests.sandbox.billing.invoices.discounts import live_discounts, reduction_of
from tests.sandbox.billing.invoices.totals import tax_rates_of
from tests.sandbox.billing.prices.pricing import amount_of, pricing_of, product_name
from tests.sandbox.billing.subscriptions.anchoring import interval_of, period_around
from tests.sandbox.billing.subscriptions.debits import open_debits
from tests.sandbox.billing.subscriptions.item_terms import items_of
from tests.sandbox.billing.subscriptions.period_lines import metered, usage_parts
from tests.sandbox.billing.subscriptions.prorating import (
    Debit,
    remaining_description,
    share,
    unused,
    unused_description,
)
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World


@dataclass(frozen=True, slots=True)
class Adjustment:
    """An invoice item to be made for a subscription item. A credit names the debit that it takes back."""

    item: StripeObject
    price: StripeObject
    amount: int
    quantity: Decimal
    description: str
    period: tuple[int, int]
    proration: bool = True
    credits: Debit | None = None


def credits_for(
    world: World, subscription: StripeObject, items: Iterable[StripeObject], moment: int
) -> list[Adjustment]:
    """What the items were billed for the time after `moment`, one credit a debit.

    An item is prorated within its own current period: of items with different intervals, a `proration_date` may lie in
    a former period of the shorter one (an assumption).
    """
    return [
        _credit(world, item, debit, max(moment, item["current_period_start"]))
        for item in items
        for debit in open_debits(world, subscription, item["id"], max(moment, item["current_period_start"]))
    ]


def debits_for(world: World, after: StripeObject, changed: Iterable[StripeObject], moment: int) -> list[Adjustment]:
    """What each of `changed` costs from `moment` on, on the subscription as it will be `after`."""
    net = net_amounts(world, after, items_of(after))
    return [
        _debit(world, item, net[item["id"]], after["billing_cycle_anchor"], max(moment, item["current_period_start"]))
        for item in changed
        if not metered(item) and item["current_period_end"] > moment
    ]


def usage_for(
    world: World, subscription: StripeObject, items: Iterable[StripeObject], after: Iterable[StripeObject]
) -> list[Adjustment]:
    """What was used of metered items so far, which leave or change their price: nothing for a usage of nothing.

    Usage of this very second goes to the item that bills the same meter `after` the change, if there is one.
    """
    going_on = {item["price"]["recurring"]["meter"] for item in after if metered(item)}
    return [
        Adjustment(
            item=item,
            price=item["price"],
            amount=part.amount,
            quantity=part.quantity,
            description=part.description,
            period=(item["current_period_start"], world.now),
            proration=False,
        )
        for item in items
        if metered(item)
        for part in usage_parts(
            world,
            subscription["customer"],
            subscription["currency"],
            item,
            (item["current_period_start"], world.now),
            last=item["price"]["recurring"]["meter"] not in going_on,
        )
        if part.amount
    ]


def net_amounts(world: World, subscription: StripeObject, items: Sequence[StripeObject]) -> dict[str, int]:
    """By item: the amount of a whole period, net of its own discounts and of its share of the subscription's."""
    currency = subscription["currency"]
    lines = []
    for item in items:
        own = [reduction_of(world, name, currency) for name in live_discounts(world, item["discounts"])]
        amount = 0 if metered(item) else amount_of(world, item["price"], Decimal(item["quantity"]), currency=currency)
        lines.append(DiscountableLine(amount, not metered(item), item["price"]["product"], tuple(own)))
    lefts = [line.amount - sum(own_shares(line).values()) for line in lines]
    reductions = [reduction_of(world, name, currency) for name in live_discounts(world, subscription["discounts"])]
    shares = invoice_shares(lines, lefts, reductions)
    return {item["id"]: left - sum(taken.values()) for item, left, taken in zip(items, lefts, shares, strict=True)}


def make_items(world: World, subscription: StripeObject, adjustments: Sequence[Adjustment]) -> None:
    """Store the planned items, so that their invoice shows them in the order given (it takes the newest first).

    `subscription` is as it will be after the change.
    """
    made = [_made(world, subscription, adjustment) for adjustment in reversed(adjustments)]
    for item in reversed(made):
        world.emit("invoiceitem.created", item)


def _credit(world: World, item: StripeObject, debit: Debit, moment: int) -> Adjustment:
    price = world.store.get("price", debit.price)
    start = max(moment, debit.start)
    return Adjustment(
        item=item,
        price=price,
        amount=unused(debit, moment),
        quantity=Decimal(debit.quantity),
        description=unused_description(product_name(world, price), debit.quantity, start),
        period=(start, debit.until),
        credits=debit,
    )


def _debit(world: World, item: StripeObject, net_amount: int, anchor: int, moment: int) -> Adjustment:
    """The whole is the period of the anchor's grid, of which a first or last period may be a part."""
    end = item["current_period_end"]
    whole_start, whole_end = period_around(anchor, interval_of(item["price"]), end - 1)
    return Adjustment(
        item=item,
        price=item["price"],
        amount=share(net_amount, start=moment, end=end, whole_start=whole_start, whole_end=whole_end),
        quantity=Decimal(item["quantity"]),
        description=remaining_description(product_name(world, item["price"]), item["quantity"], moment),
        period=(moment, end),
    )


def _made(world: World, subscription: StripeObject, planned: Adjustment) -> StripeObject:
    price, debit = planned.price, planned.credits
    item = world.new(
        "invoiceitem",
        "ii",
        amount=planned.amount,
        currency=subscription["currency"],
        customer=subscription["customer"],
        date=world.now,
        description=planned.description,
        discountable=not planned.proration,
        discounts=[] if planned.proration else list(planned.item["discounts"]),
        frozen_fields=["pricing", "quantity", "discounts"] if planned.proration else [],  # as recorded
        metadata={},
        parent={
            "subscription_details": {"subscription": subscription["id"], "subscription_item": planned.item["id"]},
            "type": "subscription_details",
        },
        period={"start": planned.period[0], "end": planned.period[1]},
        pricing=pricing_of(price, price["unit_amount_decimal"]),
        proration=planned.proration,
        quantity=int(planned.quantity),
        quantity_decimal=str(planned.quantity),
        tax_rates=_tax_rates(world, subscription, planned),
    )
    if planned.proration:
        item["net_amount"] = planned.amount  # by the document, only items without discounts have one
        item["proration_details"] = {"credited_items": _credited_items(debit), "discount_amounts": []}
    if debit is not None:
        world.credits[planned.item["id"]][item["id"]] = (debit.id, planned.period[0])
        if debit.invoice is not None:
            world.credited_items[item["id"]] = {"invoice": debit.invoice, "invoice_line_items": [debit.line]}
    return item


def _credited_items(debit: Debit | None) -> StripeObject | None:
    if debit is None:
        return None
    if debit.invoice is None:
        return {"invoice_item": debit.id, "type": "invoice_item"}
    details = {"invoice": debit.invoice, "invoice_line_items": [debit.line]}
    return {"invoice_line_item_details": details, "type": "invoice_line_items"}


def _tax_rates(world: World, subscription: StripeObject, planned: Adjustment) -> list[StripeObject]:
    """Of a credit the rates that what is taken back was taxed with, which may have changed since.

    All others have those in force, by name, since they may come to stand on an invoice without a subscription.
    """
    debit = planned.credits
    if debit is None:
        rates = planned.item["tax_rates"] or subscription["default_tax_rates"] or []
    elif debit.invoice is None or debit.line is None:
        rates = world.store.get("invoiceitem", debit.id)["tax_rates"]
    else:
        rates = tax_rates_of(world, world.store.get("invoice", debit.invoice), debit.line)
    return [copied(rate) for rate in rates]
