"""Promotion codes: texts a customer redeems a coupon by, within restrictions."""

from typing import Any

from tests.sandbox.billing.invoices.coupons import redeemable_coupon
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.lists import matching, page_of
from tests.sandbox.core.metadata import merged_metadata
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

CREATABLE = frozenset(
    {"active", "code", "customer", "expires_at", "max_redemptions", "metadata", "promotion", "restrictions"}
)


@handles("POST /v1/promotion_codes")
def create_promotion_code(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, CREATABLE, "POST /v1/promotion_codes")
    promotion = parameters["promotion"]
    if "coupon" not in promotion:
        raise StripeError(
            "Missing required param: promotion[coupon].", code="parameter_missing", param="promotion[coupon]"
        )
    coupon = redeemable_coupon(world, promotion["coupon"], param="promotion[coupon]")
    if "customer" in parameters:
        world.store.get("customer", parameters["customer"], param="customer")
    _check_limits(world, parameters, coupon)
    code = parameters.get("code") or world.ids.capitals(8)
    active = parameters.get("active", True)
    if active:
        _require_unique(world, code, parameters.get("customer"))
    made = world.new(
        "promotion_code",
        "promo",
        active=active,
        code=code,
        customer=parameters.get("customer"),
        expires_at=parameters.get("expires_at"),
        max_redemptions=parameters.get("max_redemptions"),
        metadata=merged_metadata({}, parameters),
        promotion={"coupon": coupon["id"], "type": "coupon"},
        restrictions=_restrictions(parameters.get("restrictions", {})),
    )
    world.emit("promotion_code.created", made)
    if made["expires_at"] is not None:
        _expire_when_due(world, made)
    return made


@handles("GET /v1/promotion_codes")
def list_promotion_codes(world: World, parameters: Parameters) -> StripeObject:
    codes = matching(world.store.all("promotion_code"), parameters, "active", "customer")
    if "code" in parameters:
        codes = [code for code in codes if code["code"].lower() == parameters["code"].lower()]
    if "coupon" in parameters:
        codes = [code for code in codes if code["promotion"]["coupon"] == parameters["coupon"]]
    return page_of(world.store, codes, parameters, url="/v1/promotion_codes")


@handles("GET /v1/promotion_codes/{promotion_code}")
def retrieve_promotion_code(world: World, parameters: Parameters, code_id: str) -> StripeObject:
    return world.store.get("promotion_code", code_id, noun="promotion code")


@handles("POST /v1/promotion_codes/{promotion_code}")
def update_promotion_code(world: World, parameters: Parameters, code_id: str) -> StripeObject:
    refuse_unsupported(
        parameters, frozenset({"active", "metadata", "restrictions"}), "POST /v1/promotion_codes/{promotion_code}"
    )
    code = world.store.get("promotion_code", code_id, noun="promotion code")
    changes: dict[str, Any] = {"metadata": merged_metadata(code["metadata"], parameters)}
    if "active" in parameters:
        if parameters["active"] and not code["active"]:
            _require_redeemable(world, code)
            _require_unique(world, code["code"], code["customer"])
        changes["active"] = parameters["active"]
    if "restrictions" in parameters:
        options = _options(parameters["restrictions"].get("currency_options", {}))
        former = code["restrictions"]
        changes["restrictions"] = {
            **former,
            "currency_options": {**former.get("currency_options", {}), **options},
        }
    world.update(code, "promotion_code.updated", **changes)
    return code


def _check_limits(world: World, parameters: Parameters, coupon: StripeObject) -> None:
    most = coupon["max_redemptions"]
    wanted = parameters.get("max_redemptions")
    if wanted is not None and (wanted < 1 or (most is not None and wanted > most)):
        raise StripeError(
            "max_redemptions must be positive and at most the coupon's own max_redemptions.", param="max_redemptions"
        )
    expires_at = parameters.get("expires_at")
    if expires_at is None:
        return
    if expires_at <= world.now:
        raise StripeError("expires_at must be in the future.", param="expires_at")
    if coupon["redeem_by"] is not None and expires_at > coupon["redeem_by"]:
        raise StripeError("expires_at cannot be after the coupon's redeem_by.", param="expires_at")


def _require_unique(world: World, code: str, customer: str | None) -> None:
    """A code is unique among the active ones that the same customer could enter, whatever its case."""
    for other in world.store.all("promotion_code"):
        same = other["code"].lower() == code.lower()
        if same and other["active"] and (other["customer"] == customer or None in (other["customer"], customer)):
            raise StripeError(
                f"An active promotion code with `code: {code}` already exists.",
                code="resource_already_exists",
                param="code",
            )


def _require_redeemable(world: World, code: StripeObject) -> None:
    coupon = world.store.find("coupon", code["promotion"]["coupon"])
    most = code["max_redemptions"]
    over = code["expires_at"] is not None and code["expires_at"] <= world.now
    if coupon is None or not coupon["valid"] or over or (most is not None and code["times_redeemed"] >= most):
        raise StripeError("This promotion code has run out and cannot be made active again.", param="active")


def _restrictions(given: dict[str, Any]) -> dict[str, Any]:
    if ("minimum_amount" in given) != ("minimum_amount_currency" in given):
        raise StripeError(
            "minimum_amount and minimum_amount_currency go together.",
            code="parameter_missing",
            param="restrictions[minimum_amount_currency]",
        )
    currency = given.get("minimum_amount_currency")
    restrictions: dict[str, Any] = {
        "first_time_transaction": given.get("first_time_transaction", False),
        "minimum_amount": given.get("minimum_amount"),
        "minimum_amount_currency": currency.lower() if currency else None,
    }
    if "currency_options" in given:
        restrictions["currency_options"] = _options(given["currency_options"])
    return restrictions


def _options(given: dict[str, Any]) -> dict[str, Any]:
    return {currency.lower(): {"minimum_amount": option["minimum_amount"]} for currency, option in given.items()}


def _expire_when_due(world: World, code: StripeObject) -> None:
    def due() -> None:
        world.update(code, "promotion_code.updated", active=False)

    world.account_clock.at(code["expires_at"], due, f"expiry of promotion code {code['id']}")
