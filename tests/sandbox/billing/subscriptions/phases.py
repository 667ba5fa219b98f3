"""Phases of a subscription schedule, read from requests or from a subscription as it is."""

from collections.abc import Sequence
from typing import Any

from tests.sandbox.billing.invoices.tax_rates import find_tax_rates
from tests.sandbox.billing.periods import Interval, boundary
from tests.sandbox.billing.prices.catalog import new_price
from tests.sandbox.billing.subscriptions.anchoring import interval_of
from tests.sandbox.billing.subscriptions.item_terms import items_of, price_for, quantity_for
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.metadata import unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

PHASES_AHEAD_MAX = 10  # current and future ones, as Stripe's pages say
TERMS = frozenset(
    {"add_invoice_items", "automatic_tax", "billing_cycle_anchor", "collection_method", "currency"}
    | {"default_payment_method", "default_tax_rates", "description", "discounts", "duration", "end_date"}
    | {"invoice_settings", "items", "metadata", "proration_behavior", "start_date", "trial", "trial_end"}
)
ITEM_TERMS = frozenset({"discounts", "metadata", "price", "price_data", "quantity", "tax_rates"})
ADDED_TERMS = frozenset(
    {"discountable", "discounts", "metadata", "period", "price", "price_data", "quantity", "tax_rates"}
)
INVOICE_TERMS = frozenset({"days_until_due", "issuer"})
ITEM_PERIOD = {"start": {"type": "max_item_period_start"}, "end": {"type": "min_item_period_end"}}  # Stripe's default
NO_DISCOUNT = {"coupon": None, "discount": None, "promotion_code": None}
DURATION_COUNTS_MAX = {"day": 36_525, "week": 5_218, "month": 1_200, "year": 100}  # a hundred years: an assumption


def read_phases(world: World, given: Sequence[Parameters], start: int) -> list[StripeObject]:
    """The phases in the shape of the schedule, one after another from `start` (Unix seconds). Raises `StripeError`."""
    if not given:
        raise StripeError("Missing required param: phases.", code="parameter_missing", param="phases")
    phases: list[StripeObject] = []
    for place, parameters in enumerate(given):
        phase = _read_phase(world, parameters, f"phases[{place}]", start)
        start = phase["end_date"]
        phases.append(phase)
    if len({phase["currency"] for phase in phases}) > 1:
        raise StripeError("All phases of a schedule must have the same currency.", param="phases")
    if sum(phase["end_date"] > world.now for phase in phases) > PHASES_AHEAD_MAX:
        raise StripeError(f"A schedule can have at most {PHASES_AHEAD_MAX} current and future phases.", param="phases")
    return phases


def phase_of_subscription(world: World, subscription: StripeObject) -> StripeObject:
    """What a subscription is now, as the first phase of a schedule made from it: its current period."""
    items = items_of(subscription)
    return _new_phase(
        world,
        currency=subscription["currency"],
        default_payment_method=subscription["default_payment_method"],
        default_tax_rates=copied({"data": subscription["default_tax_rates"] or []})["data"],
        description=subscription["description"],
        discounts=[{**NO_DISCOUNT, "discount": name} for name in subscription["discounts"]],
        start_date=min(item["current_period_start"] for item in items),
        end_date=max(item["current_period_end"] for item in items),
        items=[_configured(world, item) for item in items],
        metadata=dict(subscription["metadata"]),
        trial_end=subscription["trial_end"],
    )


def _read_phase(world: World, given: Parameters, where: str, start: int) -> StripeObject:
    refuse_unsupported(given, TERMS, f"a phase of a schedule ({where})")
    if given.get("automatic_tax", {}).get("enabled"):
        raise not_implemented("automatic tax", param=f"{where}[automatic_tax]")
    if given.get("start_date", start) != start:
        raise StripeError(
            "The start date of a phase must be the end date of the phase before it.", param=f"{where}[start_date]"
        )
    items = [_read_item(world, item, f"{where}[items][{place}]") for place, item in enumerate(given["items"])]
    if not items:
        raise StripeError("A phase must have at least one item.", param=f"{where}[items]")
    prices = [world.store.get("price", item["price"]) for item in items]
    end = _end_of(given, prices, where, start)
    added = given.get("add_invoice_items", ())
    return _new_phase(
        world,
        add_invoice_items=[
            _read_added(world, item, f"{where}[add_invoice_items][{place}]") for place, item in enumerate(added)
        ],
        billing_cycle_anchor=given.get("billing_cycle_anchor"),
        collection_method=given.get("collection_method"),
        currency=_currency(given, prices, where),
        default_payment_method=given.get("default_payment_method"),
        default_tax_rates=find_tax_rates(
            world, given.get("default_tax_rates", ""), param=f"{where}[default_tax_rates]"
        ),
        description=unset(given.get("description")),
        discounts=_read_discounts(given),
        end_date=end,
        invoice_settings=_invoice_settings(world, given.get("invoice_settings"), where),
        items=items,
        metadata=dict(given.get("metadata") or {}),
        proration_behavior=given.get("proration_behavior", "create_prorations"),
        start_date=start,
        trial_end=_trial_end(world, given, where, start, end),
    )


def _new_phase(world: World, **fields: Any) -> StripeObject:
    defaults = {"add_invoice_items": [], "proration_behavior": "create_prorations"}
    return world.skeletons.new("subscription_schedule_phase_configuration", **(defaults | fields))


def _read_item(world: World, given: Parameters, where: str) -> StripeObject:
    refuse_unsupported(given, ITEM_TERMS, f"an item of a phase ({where})")
    price = price_for(world, given, where)
    quantity = quantity_for(price, given, where)
    return _new_item(
        world,
        discounts=_read_discounts(given),
        metadata=dict(given.get("metadata") or {}),
        price=price["id"],
        quantity=quantity,
        tax_rates=find_tax_rates(world, given.get("tax_rates", ""), param=f"{where}[tax_rates]"),
    )


def _configured(world: World, item: StripeObject) -> StripeObject:
    return _new_item(
        world,
        discounts=[{**NO_DISCOUNT, "discount": name} for name in item["discounts"]],
        metadata=dict(item["metadata"]),
        price=item["price"]["id"],
        quantity=item.get("quantity"),
        tax_rates=copied({"data": item["tax_rates"] or []})["data"],
    )


def _new_item(world: World, *, quantity: int | None, **fields: Any) -> StripeObject:
    counted = {} if quantity is None else {"quantity": quantity}
    return world.skeletons.new("subscription_schedule_configuration_item", **fields, **counted)


def _read_added(world: World, given: Parameters, where: str) -> StripeObject:
    refuse_unsupported(given, ADDED_TERMS, f"an invoice item of a phase ({where})")
    if "price_data" in given:
        product = world.store.get("product", given["price_data"]["product"], param=f"{where}[price_data][product]")
        price = new_price(world, product, {**given["price_data"], "active": False})
    else:
        price = world.store.get("price", given.get("price", ""), param=f"{where}[price]")
    return world.skeletons.new(
        "subscription_schedule_add_invoice_item",
        discountable=given.get("discountable"),
        discounts=_read_discounts(given),
        metadata=dict(given.get("metadata") or {}),
        period=given.get("period", ITEM_PERIOD),
        price=price["id"],
        quantity=given.get("quantity", 1),
        tax_rates=find_tax_rates(world, given.get("tax_rates", ""), param=f"{where}[tax_rates]"),
    )


def _read_discounts(given: Parameters) -> list[StripeObject]:
    return [{**NO_DISCOUNT, **discount} for discount in given.get("discounts") or ()]


def _currency(given: Parameters, prices: Sequence[StripeObject], where: str) -> str:
    currency = str(given.get("currency") or prices[0]["currency"]).lower()
    if any(price["currency"] != currency for price in prices):
        raise StripeError(f"All prices of a phase must be in its currency, {currency}.", param=f"{where}[items]")
    return currency


def _end_of(given: Parameters, prices: Sequence[StripeObject], where: str, start: int) -> int:
    """`end_date`, or the end of `duration`; without both a phase lasts one interval of its first price."""
    if "end_date" in given and "duration" in given:
        raise StripeError(
            "You cannot specify both `end_date` and `duration` for a phase.",
            code="parameters_exclusive",
            param=f"{where}[duration]",
        )
    if "end_date" in given:
        end: int = given["end_date"]
        if end < start:
            raise StripeError("The end date of a phase must be after its start date.", param=f"{where}[end_date]")
        return end
    if "duration" in given:
        duration = given["duration"]
        count, longest = duration.get("interval_count", 1), DURATION_COUNTS_MAX[duration["interval"]]
        if not 1 <= count <= longest:
            raise StripeError(
                f"This value must be between 1 and {longest}.",
                code="parameter_invalid_integer",
                param=f"{where}[duration][interval_count]",
            )
        return boundary(start, Interval(duration["interval"], count), 1)
    return boundary(start, interval_of(prices[0]), 1)


def _trial_end(world: World, given: Parameters, where: str, start: int, end: int) -> int | None:
    if given.get("trial"):
        return end
    trial_end: int | None = given.get("trial_end")
    if trial_end is not None and not start <= trial_end <= end:
        raise StripeError("The trial of a phase must end within the phase.", param=f"{where}[trial_end]")
    return trial_end


def _invoice_settings(world: World, given: Parameters | None, where: str) -> StripeObject | None:
    if given is None:
        return None
    refuse_unsupported(given, INVOICE_TERMS, f"{where}[invoice_settings]")
    return world.skeletons.new("invoice_setting_subscription_schedule_phase_setting", **given)
