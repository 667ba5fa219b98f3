"""The life of a subscription by the clock: the next period and its draft invoice, the end at a period's end, expiry."""

from decimal import Decimal

from tests.sandbox.billing.collecting import end_subscription
from tests.sandbox.billing.invoicing import (
    InvoiceRequest,
    attach_pending_items,
    item_subscription,
    new_invoice,
    pending_items,
    plan_finalization,
)
from tests.sandbox.billing.lines import line_of_subscription_item, resum
from tests.sandbox.billing.money import extended
from tests.sandbox.billing.periods import Interval, boundary_after
from tests.sandbox.billing.voiding import void
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

ALIVE = frozenset({"active", "past_due", "unpaid"})
INCOMPLETE_EXPIRES_AFTER_SECONDS = 23 * 3600


def interval_of(price: StripeObject) -> Interval:
    return Interval(price["recurring"]["interval"], price["recurring"]["interval_count"])


def items_of(subscription: StripeObject) -> list[StripeObject]:
    items: list[StripeObject] = subscription["items"]["data"]
    return items


def period_end(subscription: StripeObject) -> int:
    return int(items_of(subscription)[0]["current_period_end"])


def licensed_amount(item: StripeObject) -> int:
    """Price times quantity for a whole period, in minor units."""
    return extended(Decimal(item["price"]["unit_amount_decimal"]), Decimal(item["quantity"]))


def renew_when_due(world: World, subscription: StripeObject) -> None:
    """At the end of the current period: renew, or end what was to end with it."""
    moment = period_end(subscription)

    def due() -> None:
        if subscription["status"] not in ALIVE | {"incomplete"} or period_end(subscription) != moment:
            return
        ends_at = subscription["cancel_at"]
        if subscription["cancel_at_period_end"] or (ends_at is not None and ends_at <= moment):
            _close(world, subscription)
        elif subscription["status"] != "incomplete":
            _renew(world, subscription)

    world.clock.at(moment, due)


def cancel_when_due(world: World, subscription: StripeObject, moment: int) -> None:
    """`cancel_at`: end at a chosen moment, unless that was changed by then."""

    def due() -> None:
        if subscription["cancel_at"] == moment and subscription["status"] in ALIVE:
            end_subscription(world, subscription, reason="cancellation_requested")

    world.clock.at(moment, due)


def expire_when_due(world: World, subscription: StripeObject) -> None:
    """A first payment that never arrives: after 23 hours the subscription is over and its invoice void."""

    def due() -> None:
        if subscription["status"] != "incomplete":
            return
        invoice = world.store.find("invoice", subscription["latest_invoice"])
        if invoice is not None and invoice["status"] == "open":
            void(world, invoice)
        world.update(subscription, "customer.subscription.updated", status="incomplete_expired", ended_at=world.now)

    world.clock.at(world.now + INCOMPLETE_EXPIRES_AFTER_SECONDS, due)


def add_period_lines(world: World, invoice: StripeObject, subscription: StripeObject) -> None:
    """One line per licensed item for its current period, newest item first."""
    for item in reversed(items_of(subscription)):
        line = line_of_subscription_item(
            world,
            invoice,
            item,
            amount=licensed_amount(item),
            period=(item["current_period_start"], item["current_period_end"]),
            description=f"{item['quantity']} × {describe_price(world, item['price'])}",
        )
        world.lines[invoice["id"]].append(line)


def describe_price(world: World, price: StripeObject) -> str:
    """`Pro (at $20.00 / month)`, the way Stripe names a licensed line."""
    name = world.store.get("product", price["product"])["name"]
    interval = interval_of(price)
    every = interval.unit if interval.count == 1 else f"{interval.count} {interval.unit}s"
    cents = Decimal(price["unit_amount_decimal"])
    amount = (
        f"${cents / 100:,.2f}" if price["currency"] == "usd" else f"{cents} {price['currency'].upper()} minor units"
    )
    return f"{name} (at {amount} / {every})"


def subscription_invoice(
    world: World, subscription: StripeObject, *, reason: str, period: tuple[int, int]
) -> StripeObject:
    """A draft of the subscription, without lines."""
    wanted = InvoiceRequest(
        customer=world.store.get("customer", subscription["customer"]),
        currency=subscription["currency"],
        billing_reason=reason,
        period=period,
        subscription=subscription,
        collection_method=subscription["collection_method"],
        days_until_due=subscription["days_until_due"],
    )
    return new_invoice(world, wanted)


def _renew(world: World, subscription: StripeObject) -> None:
    items = items_of(subscription)
    ended = (items[0]["current_period_start"], items[0]["current_period_end"])
    end = boundary_after(subscription["billing_cycle_anchor"], interval_of(items[0]["price"]), ended[1])
    advanced = [{**item, "current_period_start": ended[1], "current_period_end": end} for item in items]
    invoice = subscription_invoice(world, subscription, reason="subscription_cycle", period=ended)
    world.update(
        subscription,
        "customer.subscription.updated",
        items={**subscription["items"], "data": advanced},
        latest_invoice=invoice["id"],
    )
    _complete_draft(world, invoice, subscription, with_next_period=True)
    renew_when_due(world, subscription)


def _close(world: World, subscription: StripeObject) -> None:
    """End with the period. Items still waiting for an invoice of this subscription get a last one."""
    items = items_of(subscription)
    own = [item for item in pending_items(world, subscription["customer"]) if item_subscription(item) is not None]
    if any(item_subscription(item) == subscription["id"] for item in own):
        period = (items[0]["current_period_start"], items[0]["current_period_end"])
        invoice = subscription_invoice(world, subscription, reason="subscription_cycle", period=period)
        subscription["latest_invoice"] = invoice["id"]
        end_subscription(world, subscription, reason="cancellation_requested")
        _complete_draft(world, invoice, subscription, with_next_period=False)
    else:
        end_subscription(world, subscription, reason="cancellation_requested")


def _complete_draft(world: World, invoice: StripeObject, subscription: StripeObject, *, with_next_period: bool) -> None:
    attach_pending_items(world, invoice, subscription_id=subscription["id"])
    if with_next_period:
        add_period_lines(world, invoice, subscription)
    resum(world, invoice, event=False)
    if subscription["status"] != "unpaid":  # an unpaid subscription's invoices stay drafts
        plan_finalization(world, invoice)
    world.emit("invoice.created", invoice)
