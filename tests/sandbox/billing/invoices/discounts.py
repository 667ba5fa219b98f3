"""Discounts: a coupon redeemed for a subscription, one of its items, an invoice or an invoice item, and their end.

A coupon deleted later goes on discounting where it was redeemed: each discount keeps the coupon as it was.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tests.sandbox.billing.invoices.coupons import count_redemption, redeemable_coupon, redeemable_promotion_code
from tests.sandbox.billing.invoices.discounting import Reduction
from tests.sandbox.billing.periods import Interval, boundary
from tests.sandbox.billing.prices.pricing import amount_of
from tests.sandbox.core.errors import StripeError, resource_missing
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World


def new_discounts(
    world: World,
    given: list[dict[str, Any]] | str | None,
    *,
    customer: str,
    subscription: str | None = None,
    subscription_item: str | None = None,
    invoice: str | None = None,
    invoice_item: str | None = None,
    checkout_session: str | None = None,
    currency: str | None = None,
    amount: int | None = None,
    param: str = "discounts",
) -> list[str]:
    """Redeem a `discounts` parameter: the ids of the discounts, in order.

    The owner is given by identifiers, `customer` to `checkout_session`. Each entry names a `coupon`, a
    `promotion_code`, or a `discount` that exists already and is kept. An empty text (or None) gives an empty list.
    `currency` is that of the owner where it cannot be looked up. `amount`, in minor units, is what a promotion code's
    `minimum_amount` is held against; without it that is a subscription's items for one period, and for other owners
    there is no minimum. Raises `StripeError` before anything is redeemed. Discounts of subscriptions and their items
    are told by `customer.discount.created`.
    """
    entries = given if isinstance(given, list) else []
    if amount is None and subscription is not None and any("promotion_code" in entry for entry in entries):
        amount = _period_amount(world, world.store.get("subscription", subscription))
    bought_in = currency or _currency(world, subscription=subscription, invoice=invoice, customer=customer)
    found = [
        _source(world, entry, customer=customer, currency=bought_in, amount=amount, param=f"{param}[{place}]")
        for place, entry in enumerate(entries)
    ]
    return [
        source
        if isinstance(source, str)
        else _redeem(
            world,
            *source,
            customer=customer,
            subscription=subscription,
            subscription_item=subscription_item,
            invoice=invoice,
            invoice_item=invoice_item,
            checkout_session=checkout_session,
        )
        for source in found
    ]


def replaced_discounts(
    world: World, current: Sequence[str], given: list[dict[str, Any]] | str | None, *, customer: str, **owner: Any
) -> list[str]:
    """The discounts of an owner after an update: as `new_discounts`, and those no longer named are told as deleted."""
    wanted = new_discounts(world, given, customer=customer, **owner)
    for discount_id in current:
        if discount_id not in wanted:
            tell_deleted(world, discount_id)
    return wanted


def tell_deleted(world: World, discount_id: str) -> None:
    """Tell that a discount of a subscription was taken away. It stays readable for the invoices it was on."""
    discount = world.store.get("discount", discount_id)
    if discount["subscription"] is not None:
        world.emit("customer.discount.deleted", discount)


def live_discounts(world: World, discount_ids: Sequence[str]) -> list[str]:
    """Those that still apply to an invoice made now."""
    found = ((name, world.store.find("discount", name)) for name in discount_ids)
    return [name for name, discount in found if discount and (discount["end"] is None or discount["end"] > world.now)]


def reduction_of(world: World, discount_id: str, currency: str) -> Reduction:
    """What a discount takes off in `currency`; nothing where its coupon has no amount in that currency."""
    kept = world.discount_coupons[discount_id]
    return _reduction(discount_id, kept["coupon"], kept["terms"], currency)


def reduction_by_coupon(world: World, coupon: StripeObject, currency: str) -> Reduction:
    """What a coupon would take off in `currency`, before it is redeemed; it goes by the coupon's id."""
    return _reduction(coupon["id"], coupon, world.coupon_terms[coupon["id"]], currency)


def use_up(world: World, discount_id: str) -> None:
    """A discount that applies once has been applied: it leaves its subscription after the current request."""
    if discount_id in world.used_discounts or world.discount_coupons[discount_id]["coupon"]["duration"] != "once":
        return
    world.used_discounts.add(discount_id)
    world.clock.at(world.now, lambda: _leave(world, discount_id), f"use of discount {discount_id}")


def take_off_subscription(world: World, subscription: StripeObject, removed: Sequence[str]) -> None:
    """Take discounts off a subscription and its items, with the events of both."""
    items = [
        {**item, "discounts": [name for name in item["discounts"] if name not in removed]}
        for item in subscription["items"]["data"]
    ]
    world.update(
        subscription,
        "customer.subscription.updated",
        discounts=[name for name in subscription["discounts"] if name not in removed],
        items={**subscription["items"], "data": items},
    )
    for name in removed:
        tell_deleted(world, name)


def first_discount(world: World, subscription: StripeObject) -> StripeObject:
    """Raises `StripeError` 404 for a subscription without any."""
    if not subscription["discounts"]:
        raise StripeError(
            f"No active discount for subscription: {subscription['id']}", status=404, code="resource_missing"
        )
    return world.store.get("discount", subscription["discounts"][0])


def delete_discounts(world: World, subscription: StripeObject) -> StripeObject:
    """Take every discount of the subscription itself away; the answer is the first, as deleted.

    Raises `StripeError` 404 where there is none.
    """
    discount = first_discount(world, subscription)
    take_off_subscription(world, subscription, list(subscription["discounts"]))
    return {**{name: value for name, value in discount.items() if name != "end"}, "deleted": True}


def _source(
    world: World, entry: dict[str, Any], *, customer: str, currency: str | None, amount: int | None, param: str
) -> str | tuple[StripeObject, StripeObject | None]:
    """The id of a discount to keep, or the coupon to redeem with the promotion code that names it."""
    named = [name for name in ("coupon", "discount", "promotion_code") if entry.get(name)]
    if len(named) != 1:
        raise StripeError(
            "You must specify exactly one of `coupon`, `discount` or `promotion_code`.",
            code="parameters_exclusive" if named else "parameter_missing",
            param=param,
        )
    [name] = named
    param = f"{param}[{name}]"
    if name == "discount":
        if entry["discount"] not in world.discount_coupons:
            raise resource_missing("discount", entry["discount"], param=param, status=400)
        return str(entry["discount"])
    code = None
    if name == "promotion_code":
        code = redeemable_promotion_code(
            world, entry["promotion_code"], customer=customer, currency=currency, amount=amount, param=param
        )
    coupon = redeemable_coupon(world, code["promotion"]["coupon"] if code else entry["coupon"], param=param)
    terms = world.coupon_terms[coupon["id"]]
    if currency is not None and coupon["percent_off"] is None and _amount_off(coupon, terms, currency) is None:
        raise StripeError(
            f"The coupon {coupon['id']} takes an amount off in {coupon['currency']}, which is not the currency used "
            f"here, {currency}.",
            param=param,
        )
    return coupon, code


def _reduction(name: str, coupon: StripeObject, terms: StripeObject, currency: str) -> Reduction:
    products = None if terms["products"] is None else frozenset(terms["products"])
    if coupon["percent_off"] is not None:
        return Reduction(name, Decimal(str(coupon["percent_off"])), 0, products)
    return Reduction(name, None, _amount_off(coupon, terms, currency) or 0, products)


def _amount_off(coupon: StripeObject, terms: StripeObject, currency: str) -> int | None:
    """Minor units that the coupon takes off in `currency`; None where it has no amount in it."""
    if coupon["currency"] == currency:
        return int(coupon["amount_off"])
    option = terms["currency_options"].get(currency)
    return int(option["amount_off"]) if option else None


def _currency(world: World, *, subscription: str | None, invoice: str | None, customer: str) -> str | None:
    for kind, name in (("subscription", subscription), ("invoice", invoice), ("customer", customer)):
        owner = world.store.find(kind, name)
        if owner is not None and owner["currency"]:
            return str(owner["currency"])
    return None


def _period_amount(world: World, subscription: StripeObject) -> int:
    """Minor units of one period of the subscription's licensed items, before any discount."""
    items = subscription["items"]["data"]
    quantities = ((item["price"], item.get("quantity")) for item in items)
    return sum(
        amount_of(world, price, Decimal(quantity), currency=subscription["currency"])
        for price, quantity in quantities
        if quantity is not None
    )


def _redeem(
    world: World, coupon: StripeObject, code: StripeObject | None, *, subscription: str | None, **owner: str | None
) -> str:
    end = None
    if coupon["duration"] == "repeating":
        end = boundary(world.now, Interval("month", coupon["duration_in_months"]), 1)
    discount = world.new(
        "discount",
        "di",
        checkout_session=owner["checkout_session"],
        customer=owner["customer"],
        end=end,
        invoice=owner["invoice"],
        invoice_item=owner["invoice_item"],
        promotion_code=code["id"] if code else None,
        source={"coupon": coupon["id"], "type": "coupon"},
        start=world.now,
        subscription=subscription,
        subscription_item=owner["subscription_item"],
    )
    count_redemption(world, coupon, code)
    name = str(discount["id"])
    world.discount_coupons[name] = copied({"coupon": coupon, "terms": world.coupon_terms[coupon["id"]]})
    if subscription is not None:
        world.emit("customer.discount.created", discount)
        if end is not None:
            world.clock.at(end, lambda: _leave(world, name), f"end of discount {name}")
    return name


def _leave(world: World, discount_id: str) -> None:
    """What is due at a discount's end: it leaves the subscription that still has it."""
    discount = world.store.get("discount", discount_id)
    subscription = world.store.find("subscription", discount["subscription"])
    if subscription is None:
        return
    held = [*subscription["discounts"], *(name for item in subscription["items"]["data"] for name in item["discounts"])]
    if discount_id in held:
        take_off_subscription(world, subscription, [discount_id])
