"""Coupons, and the discounts of customers and subscriptions that are addressed by their owner."""

from typing import Any

from tests.sandbox.billing.invoices.coupons import invalidate
from tests.sandbox.billing.invoices.discounts import delete_discounts, first_discount
from tests.sandbox.billing.periods import DAY_SECONDS
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.expand import includes
from tests.sandbox.core.lists import page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

CREATABLE = frozenset(
    {"amount_off", "applies_to", "currency", "currency_options", "duration", "duration_in_months", "id"}
    | {"max_redemptions", "metadata", "name", "percent_off", "redeem_by"}
)
REDEEM_BY_YEARS_MAX = 5
YEAR_SECONDS = 366 * DAY_SECONDS


@handles("POST /v1/coupons")
def create_coupon(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/coupons")
    _check_amount(parameters)
    _check_duration(parameters)
    _check_limits(world, parameters)
    name = parameters.get("id") or world.ids.capitals(8)
    if world.store.find("coupon", name) is not None:
        raise StripeError(f"Coupon already exists: {name}", code="resource_already_exists", param="id")
    for place, product in enumerate(parameters.get("applies_to", {}).get("products", [])):
        world.store.get("product", product, param=f"applies_to[products][{place}]")
    coupon = world.new(
        "coupon",
        "coupon",
        id=name,
        amount_off=parameters.get("amount_off"),
        currency=parameters["currency"].lower() if "amount_off" in parameters else None,
        duration=parameters.get("duration", "once"),
        duration_in_months=parameters.get("duration_in_months"),
        max_redemptions=parameters.get("max_redemptions"),
        metadata=merged_metadata({}, parameters),
        name=unset(parameters.get("name")),
        percent_off=parameters.get("percent_off"),
        redeem_by=parameters.get("redeem_by"),
        valid=True,
    )
    world.coupon_terms[name] = {
        "products": parameters.get("applies_to", {}).get("products"),
        "currency_options": _options(parameters.get("currency_options", {})),
    }
    world.emit("coupon.created", coupon)
    if coupon["redeem_by"] is not None:
        _end_when_due(world, coupon)
    return coupon


@handles("GET /v1/coupons")
def list_coupons(world: World, parameters: Parameters) -> StripeObject:
    return page_of(world.store, world.store.all("coupon"), parameters, url="/v1/coupons")


@handles("GET /v1/coupons/{coupon}")
def retrieve_coupon(world: World, parameters: Parameters, coupon_id: str) -> StripeObject:
    return world.store.get("coupon", coupon_id)


@handles("POST /v1/coupons/{coupon}")
def update_coupon(world: World, parameters: Parameters, coupon_id: str) -> StripeObject:
    refuse_unsupported(parameters, frozenset({"currency_options", "metadata", "name"}), "POST /v1/coupons/{coupon}")
    coupon = world.store.get("coupon", coupon_id)
    changes: dict[str, Any] = {"metadata": merged_metadata(coupon["metadata"], parameters)}
    if "name" in parameters:
        changes["name"] = unset(parameters["name"])
    if "currency_options" in parameters:
        if coupon["amount_off"] is None:
            raise _only_with_amount("currency_options")
        world.coupon_terms[coupon_id]["currency_options"].update(_options(parameters["currency_options"]))
    world.update(coupon, "coupon.updated", **changes)
    return coupon


@handles("DELETE /v1/coupons/{coupon}")
def delete_coupon(world: World, parameters: Parameters, coupon_id: str) -> StripeObject:
    """It cannot be redeemed any more; the discounts it made stay."""
    coupon = world.store.get("coupon", coupon_id)
    for code in world.store.all("promotion_code"):
        if code["promotion"]["coupon"] == coupon_id:
            world.update(code, "promotion_code.updated", active=False)
    world.store.remove(coupon)
    world.emit("coupon.deleted", coupon)
    return {"id": coupon_id, "object": "coupon", "deleted": True}


@includes("coupon", "applies_to")
def coupon_applies_to(world: World, coupon: StripeObject) -> Any:
    return {"products": world.coupon_terms[coupon["id"]]["products"] or []}


@includes("coupon", "currency_options")
def coupon_currency_options(world: World, coupon: StripeObject) -> Any:
    own = {coupon["currency"]: {"amount_off": coupon["amount_off"]}} if coupon["currency"] else {}
    return {**own, **world.coupon_terms[coupon["id"]]["currency_options"]}


@handles("GET /v1/customers/{customer}/discount")
@handles("DELETE /v1/customers/{customer}/discount")
def discount_of_customer(world: World, parameters: Parameters, customer_id: str) -> StripeObject:
    """This version of the API has no parameter that gives a customer a discount, so there never is one."""
    customer = world.store.get("customer", customer_id)
    raise StripeError(f"No active discount for customer: {customer['id']}", status=404, code="resource_missing")


@handles("GET /v1/customers/{customer}/subscriptions/{subscription_exposed_id}/discount")
def retrieve_subscription_discount(
    world: World, parameters: Parameters, customer_id: str, subscription_id: str
) -> StripeObject:
    return first_discount(world, _subscription_of(world, customer_id, subscription_id))


@handles("DELETE /v1/customers/{customer}/subscriptions/{subscription_exposed_id}/discount")
def delete_discount_of_customers_subscription(
    world: World, parameters: Parameters, customer_id: str, subscription_id: str
) -> StripeObject:
    """The path below the customer. Takes every discount of the subscription itself away; the answer is the first."""
    return delete_discounts(world, _subscription_of(world, customer_id, subscription_id))


def _subscription_of(world: World, customer_id: str, subscription_id: str) -> StripeObject:
    subscription = world.store.get("subscription", subscription_id)
    if subscription["customer"] != customer_id:
        raise StripeError(
            f"Customer {customer_id} does not have a subscription with ID {subscription_id}",
            status=404,
            code="resource_missing",
            param="subscription",
        )
    return subscription


def _check_amount(parameters: Parameters) -> None:
    if ("percent_off" in parameters) == ("amount_off" in parameters):
        raise StripeError(
            "You must pass exactly one of percent_off or amount_off.",
            code="parameters_exclusive" if "percent_off" in parameters else "parameter_missing",
            param="percent_off",
        )
    if "percent_off" in parameters:
        if not 0 < parameters["percent_off"] <= 100:
            raise StripeError(
                "Invalid percent_off: must be greater than 0 and at most 100.",
                code="parameter_invalid_integer",
                param="percent_off",
            )
        if "currency_options" in parameters:
            raise _only_with_amount("currency_options")
        return
    if parameters["amount_off"] <= 0:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount_off")
    if "currency" not in parameters:
        raise StripeError("You must pass currency when passing amount_off", code="parameter_missing", param="currency")


def _check_duration(parameters: Parameters) -> None:
    repeating = parameters.get("duration", "once") == "repeating"
    if repeating and parameters.get("duration_in_months", 0) < 1:
        raise StripeError(
            "duration_in_months must be given, and be positive, when duration is repeating.",
            code="parameter_missing",
            param="duration_in_months",
        )
    if not repeating and "duration_in_months" in parameters:
        raise StripeError(
            "duration_in_months can only be given when duration is repeating.", param="duration_in_months"
        )


def _check_limits(world: World, parameters: Parameters) -> None:
    if parameters.get("max_redemptions", 1) < 1:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="max_redemptions")
    redeem_by = parameters.get("redeem_by")
    if redeem_by is None:
        return
    if redeem_by <= world.now:
        raise StripeError("redeem_by must be in the future.", param="redeem_by")
    if redeem_by > world.now + REDEEM_BY_YEARS_MAX * YEAR_SECONDS:
        raise StripeError("redeem_by cannot be more than five years in the future.", param="redeem_by")


def _options(given: dict[str, Any]) -> dict[str, Any]:
    return {currency.lower(): {"amount_off": option["amount_off"]} for currency, option in given.items()}


def _only_with_amount(param: str) -> StripeError:
    return StripeError(f"{param} can only be given together with amount_off.", param=param)


def _end_when_due(world: World, coupon: StripeObject) -> None:
    def due() -> None:
        if world.store.find("coupon", coupon["id"]) is coupon:
            invalidate(world, coupon)

    # "the last time at which the coupon can be redeemed": that second is still good.
    world.account_clock.at(coupon["redeem_by"] + 1, due, f"redeem_by of coupon {coupon['id']}")
