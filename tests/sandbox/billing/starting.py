"""The start of a subscription: its object, its first invoice, and the first payment."""

from dataclasses import dataclass, field
from typing import Any

from tests.sandbox.billing.balance import claim_currency
from tests.sandbox.billing.cards import CARDS
from tests.sandbox.billing.charging import card_error
from tests.sandbox.billing.collecting import collect_automatically
from tests.sandbox.billing.finalizing import finalize
from tests.sandbox.billing.invoicing import attach_pending_items, plan_finalization
from tests.sandbox.billing.lines import line_of_subscription_item, resum
from tests.sandbox.billing.money import prorated
from tests.sandbox.billing.periods import boundary_after, boundary_before
from tests.sandbox.billing.renewing import (
    add_period_lines,
    describe_price,
    expire_when_due,
    interval_of,
    items_of,
    licensed_amount,
    renew_when_due,
    subscription_invoice,
)
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World


@dataclass(frozen=True, slots=True)
class StartRequest:
    """`items` hold price, quantity and metadata. `anchor` in the future makes a stub period that ends there."""

    customer: StripeObject
    items: list[dict[str, Any]]
    anchor: int | None
    prorate: bool
    payment_behavior: str
    default_payment_method: str | None
    collection_method: str
    days_until_due: int | None
    description: str | None
    cancel_at_period_end: bool
    metadata: dict[str, str] = field(default_factory=dict)


def start_subscription(world: World, request: StartRequest) -> StripeObject:
    """Create, invoice and charge. Raises `StripeError` before anything exists when it may not begin unpaid."""
    price = request.items[0]["price"]
    period = _first_period(world, request)
    stub = request.anchor is not None and request.anchor > world.now
    free = stub and not request.prorate
    due = 0 if free else _first_amount(request, period, stub=stub)
    _require_means(world, request, due)
    claim_currency(world, request.customer, price["currency"])
    subscription = _new_subscription(world, request, period, waits_for_money=due > 0)
    invoice = None if free else _first_invoice(world, subscription, period, stub=stub)
    if invoice is not None:
        subscription["latest_invoice"] = invoice["id"]
    world.emit("customer.subscription.created", subscription)
    if invoice is not None:
        world.emit("invoice.created", invoice)
        _first_payment(world, subscription, invoice, request)
    renew_when_due(world, subscription)
    return subscription


def _first_period(world: World, request: StartRequest) -> tuple[int, int]:
    interval = interval_of(request.items[0]["price"])
    natural_end = boundary_after(world.now, interval, world.now)
    if request.anchor is None:
        return world.now, natural_end
    if request.anchor < world.now:
        raise StripeError("billing_cycle_anchor cannot be in the past.", param="billing_cycle_anchor")
    if request.anchor > natural_end:
        raise StripeError(
            f"billing_cycle_anchor cannot be later than next natural billing date ({natural_end}).",
            code="invalid_billing_cycle_anchor",
            param="billing_cycle_anchor",
        )
    return world.now, request.anchor if request.anchor > world.now else natural_end


def _first_amount(request: StartRequest, period: tuple[int, int], *, stub: bool) -> int:
    return sum(_item_amount(item, period, stub=stub) for item in request.items)


def _item_amount(item: StripeObject, period: tuple[int, int], *, stub: bool) -> int:
    amount = licensed_amount(item)
    if not stub:
        return amount
    whole_start = boundary_before(period[1], interval_of(item["price"]), period[1])
    return prorated(amount, remaining_seconds=period[1] - period[0], whole_seconds=period[1] - whole_start)


def _require_means(world: World, request: StartRequest, due: int) -> None:
    """A first charge needs a card; with error_if_incomplete, one that will not decline."""
    if due <= 0 or request.collection_method != "charge_automatically":
        return
    default = request.customer["invoice_settings"]["default_payment_method"]
    payment_method = world.store.find("payment_method", request.default_payment_method or default)
    if payment_method is None:
        if request.payment_behavior == "default_incomplete":
            return
        raise StripeError(
            "This customer has no attached payment source or default payment method. Please consider adding a default "
            "payment method. For more information, visit https://stripe.com/docs/billing/subscriptions/payment.",
            code="resource_missing",
        )
    decline = CARDS[world.cards[payment_method["id"]]].decline
    if decline is not None and request.payment_behavior == "error_if_incomplete":
        raise card_error(decline)


def _new_subscription(
    world: World, request: StartRequest, period: tuple[int, int], *, waits_for_money: bool
) -> StripeObject:
    sends = request.collection_method == "send_invoice"
    ends = request.cancel_at_period_end
    subscription = world.new(
        "subscription",
        "sub",
        billing_cycle_anchor=period[0] if request.anchor is None else request.anchor,
        billing_mode={"flexible": {"proration_discounts": "included"}, "type": "flexible", "updated_at": world.now},
        cancel_at=period[1] if ends else None,
        cancel_at_period_end=ends,
        canceled_at=world.now if ends else None,
        cancellation_details=world.skeletons.new("cancellation_details"),
        collection_method=request.collection_method,
        currency=request.items[0]["price"]["currency"],
        customer=request.customer["id"],
        days_until_due=request.days_until_due,
        default_payment_method=request.default_payment_method,
        description=request.description,
        invoice_settings={
            **world.skeletons.new("subscriptions_resource_subscription_invoice_settings"),
            "issuer": {"type": "self"},
        },
        managed_payments={"enabled": False},
        metadata=request.metadata,
        payment_settings={
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        start_date=world.now,
        status="incomplete" if waits_for_money and not sends else "active",
        trial_settings={"end_behavior": {"missing_payment_method": "create_invoice"}},
    )
    items = [_new_item(world, subscription, item, period) for item in request.items]
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    subscription["items"] = {"object": "list", "data": items, "has_more": False, "url": url}
    return subscription


def _new_item(world: World, subscription: StripeObject, wanted: StripeObject, period: tuple[int, int]) -> StripeObject:
    return world.skeletons.new(
        "subscription_item",
        id=world.ids.new("si"),
        created=world.now,
        current_period_start=period[0],
        current_period_end=period[1],
        metadata=dict(wanted["metadata"]),
        price=copied(wanted["price"]),
        quantity=wanted["quantity"],
        subscription=subscription["id"],
        tax_rates=[],
    )


def _first_invoice(world: World, subscription: StripeObject, period: tuple[int, int], *, stub: bool) -> StripeObject:
    invoice = subscription_invoice(world, subscription, reason="subscription_create", period=(world.now, world.now))
    attach_pending_items(world, invoice, subscription_id=subscription["id"])
    if stub:
        for item in reversed(items_of(subscription)):
            line = line_of_subscription_item(
                world,
                invoice,
                item,
                amount=_item_amount(item, period, stub=True),
                period=period,
                description=f"{item['quantity']} × {describe_price(world, item['price'])}",
            )
            world.lines[invoice["id"]].append(line)
    else:
        add_period_lines(world, invoice, subscription)
    resum(world, invoice, event=False)
    return invoice


def _first_payment(world: World, subscription: StripeObject, invoice: StripeObject, request: StartRequest) -> None:
    """Finalised and charged at once; an invoice to be sent stays a draft for an hour as any other."""
    if request.collection_method == "send_invoice":
        plan_finalization(world, invoice)
        return
    invoice["auto_advance"] = True
    finalize(world, invoice)
    if invoice["status"] == "paid":
        if subscription["status"] == "incomplete":
            world.update(subscription, "customer.subscription.updated", status="active")
        return
    if request.payment_behavior != "default_incomplete":
        collect_automatically(world, invoice)
    if subscription["status"] == "incomplete":
        invoice["auto_advance"] = False  # Stripe does not retry a first payment by itself
        invoice["next_payment_attempt"] = None
        expire_when_due(world, subscription)
