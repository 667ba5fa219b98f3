"""Whether a coupon or promotion code can still be redeemed, and counting that it was.

Each redemption is told by `coupon.updated` and `promotion_code.updated`, so that their counts follow from the events.
"""

from typing import Any

from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def redeemable_coupon(world: World, coupon_id: str, *, param: str) -> StripeObject:
    """The coupon. Raises `StripeError` for one that does not exist, has run out or has been used up."""
    coupon = world.store.get("coupon", coupon_id, param=param)
    if not coupon["valid"]:
        raise StripeError(f"Coupon expired: {coupon_id}", code="coupon_expired", param=param)
    return coupon


def redeemable_promotion_code(
    world: World, code_id: str, *, customer: str, currency: str | None, amount: int | None, param: str
) -> StripeObject:
    """The promotion code, if this customer may use it for `amount` minor units now. Raises `StripeError` if not."""
    code = world.store.get("promotion_code", code_id, noun="promotion code", param=param)
    if not code["active"]:
        raise StripeError("This promotion code is inactive or has expired.", code="promotion_code_expired", param=param)
    if code["customer"] not in (None, customer):
        raise StripeError("This promotion code belongs to another customer.", param=param)
    restrictions = code["restrictions"]
    if restrictions["first_time_transaction"] and _has_paid(world, customer):
        raise StripeError(
            "This promotion code cannot be redeemed because the associated customer has prior transactions.",
            code="promotion_code_customer_not_first_time",
            param=param,
        )
    minimum = _minimum(restrictions, currency, param=param)
    if amount is not None and minimum is not None and amount < minimum:
        raise StripeError(
            f"This promotion code cannot be redeemed because the minimum amount requirement of {minimum} is not met.",
            code="promotion_code_minimum_amount_not_met",
            param=param,
        )
    return code


def count_redemption(world: World, coupon: StripeObject, code: StripeObject | None) -> None:
    redeemed = coupon["times_redeemed"] + 1
    spent = coupon["max_redemptions"] is not None and redeemed >= coupon["max_redemptions"]
    if code is not None:
        times = code["times_redeemed"] + 1
        over = code["max_redemptions"] is not None and times >= code["max_redemptions"]
        world.update(code, "promotion_code.updated", times_redeemed=times, active=code["active"] and not over)
    world.update(coupon, "coupon.updated", times_redeemed=redeemed)
    if spent:
        invalidate(world, coupon)


def invalidate(world: World, coupon: StripeObject) -> None:
    """The coupon cannot be redeemed any more, and so can none of its promotion codes."""
    world.update(coupon, "coupon.updated", valid=False)
    for code in world.store.all("promotion_code"):
        if code["promotion"]["coupon"] == coupon["id"]:
            world.update(code, "promotion_code.updated", active=False)


def _has_paid(world: World, customer: str) -> bool:
    invoices = world.store.where("invoice", "customer", customer)
    charges = world.store.where("charge", "customer", customer)
    return any(invoice["status"] == "paid" and invoice["amount_paid"] for invoice in invoices) or any(
        charge["paid"] for charge in charges
    )


def _minimum(restrictions: dict[str, Any], currency: str | None, *, param: str) -> int | None:
    """Minor units in `currency`. Raises `StripeError` where the code has a minimum, but none in this currency."""
    minimum: int | None = restrictions["minimum_amount"]
    if minimum is None or currency in (None, restrictions["minimum_amount_currency"]):
        return minimum
    option = restrictions.get("currency_options", {}).get(currency)
    if option is None:
        raise StripeError(f"This promotion code has no minimum amount in {currency}.", param=param)
    return int(option["minimum_amount"])
