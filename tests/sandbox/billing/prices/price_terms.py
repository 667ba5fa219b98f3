"""What a request says about how a price charges: its amounts, tiers, packages, currencies and period.

Messages and parameters of the errors are Stripe's where they were seen (recorded by others at 2026-08-26.dahlia).
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.sandbox.billing.money import plain_decimal, require_payable
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

CURRENCY = re.compile(r"[A-Za-z]{3}")
DECIMALS_MAX = 12
INTERVAL_COUNTS_MAX = {"day": 1095, "week": 156, "month": 36, "year": 3}  # three years, Stripe's longest period


@dataclass(frozen=True, slots=True)
class Terms:
    """`fields` are a price's own; tiers and other currencies are shown only when expanded, and kept beside it."""

    fields: dict[str, Any]
    tiers: list[StripeObject] = field(default_factory=list)
    currency_options: dict[str, StripeObject] = field(default_factory=dict)


def read_terms(world: World, parameters: Parameters) -> Terms:
    """The terms in the parameters of `POST /v1/prices` or of a `price_data`. Raises `StripeError` as Stripe does."""
    scheme = parameters.get("billing_scheme", "per_unit")
    recurring = _recurring(world, parameters["recurring"]) if "recurring" in parameters else None
    if scheme == "tiered":
        _require_tiers(parameters, recurring)
    else:
        _refuse(parameters, ("tiers", "tiers_mode"), "requires `billing_scheme=tiered`")
    currency = _currency(parameters["currency"], "currency")
    offer = _offer(parameters, scheme, "")
    if recurring is not None and offer["custom_unit_amount"] is not None:
        raise StripeError(
            "`custom_unit_amount` is only supported for prices with `type=one_time`.", param="custom_unit_amount"
        )
    tiers = offer.pop("tiers", [])
    fields = offer | {
        "billing_scheme": scheme,
        "currency": currency,
        "recurring": recurring,
        "tax_behavior": parameters.get("tax_behavior", "unspecified"),
        "tiers_mode": parameters.get("tiers_mode"),
        "transform_quantity": _transform(parameters.get("transform_quantity")),
        "type": "recurring" if recurring else "one_time",
    }
    return Terms(fields, tiers, read_currency_options(parameters, scheme, currency))


def read_currency_options(parameters: Parameters, scheme: str, own_currency: str) -> dict[str, StripeObject]:
    """`currency_options` in the shape of the document. Raises `StripeError` for the price's own currency."""
    options: dict[str, StripeObject] = {}
    for currency, given in (parameters.get("currency_options") or {}).items():
        name = f"currency_options[{currency}]"
        if currency.lower() == own_currency:
            raise StripeError(f"`{own_currency}` is the price's own currency; set its amount directly.", param=name)
        options[_currency(currency, name)] = {
            "tax_behavior": given.get("tax_behavior", "unspecified"),
            **_offer(given, scheme, name),
        }
    return options


def _offer(given: Parameters, scheme: str, path: str) -> StripeObject:
    """The amounts in one currency: `custom_unit_amount`, `unit_amount`, `unit_amount_decimal`, or `tiers`."""
    if scheme == "tiered":
        _refuse(given, ("unit_amount", "unit_amount_decimal", "custom_unit_amount"), "goes with a price per unit", path)
        tiers = _tiers(given, path)
        return {"custom_unit_amount": None, "unit_amount": None, "unit_amount_decimal": None, "tiers": tiers}
    custom = given.get("custom_unit_amount", {})
    amount = _decimal(given, "unit_amount", path)
    if custom.get("enabled"):
        if amount is not None:
            raise StripeError(
                "You may only specify one of these parameters: unit_amount, custom_unit_amount.", param="unit_amount"
            )
        return {"custom_unit_amount": _custom(custom), "unit_amount": None, "unit_amount_decimal": None}
    if amount is None:
        raise StripeError("Prices require an `unit_amount` or `unit_amount_decimal` parameter to be set.")
    return {"custom_unit_amount": None, **_both_forms("unit_amount", amount)}


def _tiers(given: Parameters, path: str) -> list[StripeObject]:
    name = _inside(path, "tiers")
    tiers: list[StripeObject] = []
    floor = 0
    for index, tier in enumerate(given.get("tiers", ())):
        place = f"{name}[{index}]"
        if tiers and tiers[-1]["up_to"] is None:
            raise StripeError("Only the last tier may have `up_to=inf`.", param=f"{place}[up_to]")
        up_to = None if tier["up_to"] == "inf" else tier["up_to"]
        if up_to is not None and up_to <= floor:
            raise StripeError("Tiers must be given in ascending order of `up_to`.", param=f"{place}[up_to]")
        unit, flat = _decimal(tier, "unit_amount", place), _decimal(tier, "flat_amount", place)
        if unit is None and flat is None:
            raise StripeError("An entry in the tiers array is missing an amount.", param=name)
        tiers.append({**_both_forms("flat_amount", flat), **_both_forms("unit_amount", unit), "up_to": up_to})
        floor = up_to or floor
    if not tiers or tiers[-1]["up_to"] is not None:
        raise StripeError("The last tier must have `up_to=inf`.", param=name)
    return tiers


def _require_tiers(parameters: Parameters, recurring: StripeObject | None) -> None:
    if recurring is None:
        raise StripeError("Prices with `type=one_time` are not supported with tiered billing.", param="recurring")
    for name in ("tiers", "tiers_mode"):
        if name not in parameters:
            raise StripeError(f"Missing required param: {name}.", code="parameter_missing", param=name)
    _refuse(parameters, ("transform_quantity",), "cannot be combined with `tiers`")


def _recurring(world: World, given: Parameters) -> StripeObject:
    interval, count = given["interval"], given.get("interval_count", 1)
    usage_type = given.get("usage_type", "licensed")
    if count < 1:
        raise StripeError(
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer",
            param="recurring[interval_count]",
        )
    if count > INTERVAL_COUNTS_MAX[interval]:
        raise StripeError(
            f"The longest period is three years: at most {INTERVAL_COUNTS_MAX[interval]} with `interval={interval}`.",
            param="recurring[interval_count]",
        )
    return {
        "interval": interval,
        "interval_count": count,
        "meter": _meter(world, given.get("meter"), usage_type),
        "usage_type": usage_type,
    }


def _meter(world: World, meter_id: str | None, usage_type: str) -> str | None:
    if usage_type == "metered" and meter_id is None:
        raise StripeError("Starting with Stripe version `2025-03-31.basil`, metered prices must be backed by meters.")
    if meter_id is None:
        return None
    if usage_type != "metered":
        raise StripeError(
            "`recurring[meter]` can only be set for prices with `usage_type=metered`.", param="recurring[meter]"
        )
    meter = world.store.get("billing.meter", meter_id, noun="billing meter", param="recurring[meter]")
    if meter["status"] != "active":
        raise StripeError(
            f"The meter {meter_id} is inactive. A price can only be created with an active meter.",
            param="recurring[meter]",
        )
    return meter_id


def _currency(text: str, param: str) -> str:
    """In lower case. Only its form is checked: Stripe refuses what is no currency of its list."""
    if not CURRENCY.fullmatch(text):
        raise StripeError(f"Invalid currency: {text.lower()}", param=param)
    return text.lower()


def _transform(given: Parameters | None) -> StripeObject | None:
    if given is None:
        return None
    if given["divide_by"] < 1:
        raise StripeError(
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer",
            param="transform_quantity[divide_by]",
        )
    return {"divide_by": given["divide_by"], "round": given["round"]}


def _custom(given: Parameters) -> StripeObject:
    bounds: StripeObject = {name: given.get(name) for name in ("maximum", "minimum", "preset")}
    inside = [value for value in (bounds["minimum"], bounds["preset"], bounds["maximum"]) if value is not None]
    if inside != sorted(inside) or any(value < 0 for value in inside):
        raise StripeError(
            "`custom_unit_amount` needs minimum <= preset <= maximum, none of them negative.",
            param="custom_unit_amount",
        )
    return bounds


def _decimal(given: Parameters, name: str, path: str) -> Decimal | None:
    """The amount under `name` or `name`_decimal. Raises `StripeError` for both, or one that Stripe cannot keep."""
    decimal_name = f"{name}_decimal"
    if name in given and decimal_name in given:
        raise StripeError(
            f"You may only specify one of these parameters: {name}, {decimal_name}.", param=_inside(path, name)
        )
    param = _inside(path, decimal_name if decimal_name in given else name)
    text = given.get(decimal_name, given.get(name))
    if text is None:
        return None
    amount = Decimal(text)
    if amount < 0:
        raise StripeError("Invalid non-negative integer", code="parameter_invalid_integer", param=param)
    require_payable(amount, param=param)
    exponent = amount.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > DECIMALS_MAX:
        raise StripeError(
            f"Invalid decimal: {text}; must contain at maximum {DECIMALS_MAX} decimal places.", param=param
        )
    return amount


def _both_forms(name: str, amount: Decimal | None) -> StripeObject:
    """The amount as an integer, where it is one, and as a decimal text."""
    if amount is None:
        return {name: None, f"{name}_decimal": None}
    whole = amount == amount.to_integral_value()
    return {name: int(amount) if whole else None, f"{name}_decimal": plain_decimal(amount)}


def _refuse(given: Parameters, names: tuple[str, ...], reason: str, path: str = "") -> None:
    for name in names:
        if name in given:
            raise StripeError(f"`{name}` {reason}.", param=_inside(path, name))


def _inside(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name
