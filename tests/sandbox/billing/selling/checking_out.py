"""A checkout session from its request to its end without a sale: what it offers, to whom, until when.

How a session is confirmed is in `confirming.py`.
"""

from typing import Any

from tests.sandbox.billing.invoices.coupons import redeemable_coupon, redeemable_promotion_code
from tests.sandbox.billing.invoices.discounts import reduction_by_coupon
from tests.sandbox.billing.payments.calling_off import cancel_payment_intent, cancel_setup_intent
from tests.sandbox.billing.selling.checkout_rules import expiry_of, require_coherence
from tests.sandbox.billing.selling.hosting import page_address
from tests.sandbox.billing.selling.line_items import (
    adjust_quantity,
    is_recurring,
    new_line_items,
    reduce_and_tax,
    require_sellable,
    sums_of,
)
from tests.sandbox.billing.selling.session_fields import given_discounts, session_fields
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

OPERATION = "POST /v1/checkout/sessions"


def new_session(world: World, parameters: Parameters, *, payment_link: str | None = None) -> StripeObject:
    """An open session. Stripe tells no event of it. Raises `StripeError` for what cannot be sold this way."""
    require_coherence(parameters)
    customer = None
    if "customer" in parameters:
        customer = world.store.get("customer", parameters["customer"], param="customer")
    expires_at = expiry_of(world, parameters)
    items = _offered(world, parameters)
    session = world.skeletons.new("checkout.session", id=world.ids.new("cs_test", 58), created=world.now)
    session.update(session_fields(world, parameters, customer))
    session.update(
        expires_at=expires_at,
        currency=items[0]["currency"] if items else parameters.get("currency", "").lower() or None,
        payment_link=payment_link,
    )
    world.line_items[session["id"]] = items
    world.asked_for[session["id"]] = parameters
    session.update(_discounted(world, session, parameters.get("discounts") or []))
    if session["ui_mode"] == "hosted_page":
        session["url"] = page_address(world, "checkout", session["id"])
    else:
        session["client_secret"] = f"{session['id']}_secret_{world.ids.capitals(24)}"
    world.store.add(session)
    _expire_when_due(world, session)
    return session


def apply_promotion_code(world: World, session: StripeObject, text: str) -> None:
    """What a person enters on the page. Raises `StripeError` for a code that is not to be used here."""
    if not session["allow_promotion_codes"]:
        raise StripeError("This session takes no promotion codes.", param="promotion_code")
    code = next(
        (code for code in world.store.all("promotion_code") if code["code"].lower() == text.strip().lower()), None
    )
    if code is None:
        raise StripeError("This code is invalid.", code="resource_missing", param="promotion_code")
    world.update(session, None, **_discounted(world, session, [{"promotion_code": code["id"]}]))


def adjust_quantities(world: World, session: StripeObject, wanted: dict[str, int]) -> None:
    """Quantities by item, as the buyer wants them. Raises `StripeError` for what may not be changed that way."""
    items = {item["id"]: item for item in world.line_items[session["id"]]}
    former = {name: dict(item) for name, item in items.items()}
    try:
        for name, quantity in wanted.items():
            adjust_quantity(world, items[name], quantity)
        if all(item["quantity"] == 0 for item in items.values()):
            raise StripeError("At least one item is to be bought.", param="line_items")
    except StripeError:
        for name, item in items.items():
            item.update(former[name])
        raise
    _give_trial(world.asked_for[session["id"]], list(items.values()))
    world.update(session, None, **_discounted(world, session, given_discounts(session)))


def _discounted(world: World, session: StripeObject, given: list[dict[str, Any]]) -> dict[str, Any]:
    """The session's discounts and sums after a `discounts` parameter; redeemed only when the session is completed."""
    if session["mode"] == "setup":
        if given:
            raise StripeError("`discounts` are not allowed in `setup` mode.", param="discounts")
        return {}
    if len(given) > 1:
        raise StripeError("You can only apply one discount to a Checkout Session.", param="discounts")
    items = world.line_items[session["id"]]
    subtotal = sum(item["amount_subtotal"] for item in items)
    coupons = [_coupon(world, session, entry, subtotal) for entry in given]
    default_rates = world.asked_for[session["id"]].get("subscription_data", {}).get("default_tax_rates", [])
    reductions = [reduction_by_coupon(world, coupon, session["currency"]) for coupon in coupons]
    reduce_and_tax(world, items, reductions, default_tax_rates=default_rates)
    sums = sums_of(items)
    return {
        "amount_subtotal": sums.subtotal,
        "amount_total": sums.total,
        "discounts": [
            {"coupon": entry.get("coupon"), "promotion_code": entry.get("promotion_code")} for entry in given
        ],
        "total_details": {"amount_discount": sums.discount, "amount_shipping": 0, "amount_tax": sums.tax},
    }


def _coupon(world: World, session: StripeObject, entry: dict[str, Any], subtotal: int) -> StripeObject:
    if len(entry) != 1:
        raise StripeError(
            "You must specify exactly one of `coupon` or `promotion_code`.",
            code="parameters_exclusive" if entry else "parameter_missing",
            param="discounts[0]",
        )
    if "coupon" in entry:
        return redeemable_coupon(world, entry["coupon"], param="discounts[0][coupon]")
    code = redeemable_promotion_code(
        world,
        entry["promotion_code"],
        customer=session["customer"] or "",
        currency=session["currency"],
        amount=subtotal,
        param="discounts[0][promotion_code]",
    )
    return redeemable_coupon(world, code["promotion"]["coupon"], param="discounts[0][promotion_code]")


def expire(world: World, session: StripeObject) -> None:
    """End an open session without a sale. Raises `StripeError` for any other status."""
    if session["status"] != "open":
        raise StripeError(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of '
            f"`{session['status']}`."
        )
    if session["payment_intent"] is not None:
        cancel_payment_intent(world, world.store.get("payment_intent", session["payment_intent"]))
    if session["setup_intent"] is not None:
        cancel_setup_intent(world, world.store.get("setup_intent", session["setup_intent"]))
    world.update(session, None, status="expired", url=None)
    world.emit("checkout.session.expired", session)


def _expire_when_due(world: World, session: StripeObject) -> None:
    def due() -> None:
        if session["status"] == "open":
            expire(world, session)

    world.clock.at(session["expires_at"], due, f"expiry of {session['id']}")


def _offered(world: World, parameters: Parameters) -> list[StripeObject]:
    mode = parameters["mode"]
    if mode == "setup":
        if "line_items" in parameters:
            raise StripeError("`line_items` are not allowed in `setup` mode.", param="line_items")
        return []
    given = parameters.get("line_items") or []
    recurrences = require_sellable(world, given, OPERATION)
    if mode == "payment" and any(recurrences):
        raise StripeError(
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use "
            "only one-time prices.",
            param=f"line_items[{recurrences.index(True)}][price]",
        )
    if mode == "subscription" and not any(recurrences):
        raise StripeError(
            "You must provide at least one recurring price in `subscription` mode when using prices.", param="mode"
        )
    items = new_line_items(world, given, OPERATION, currency=parameters.get("currency", "").lower() or None)
    _give_trial(parameters, items)
    return items


def _give_trial(parameters: Parameters, items: list[StripeObject]) -> None:
    """What recurs is free today if it begins with a trial."""
    data = parameters.get("subscription_data", {})
    if "trial_period_days" in data or "trial_end" in data:
        for item in items:
            if is_recurring(item):
                item.update(amount_subtotal=0, amount_total=0)
