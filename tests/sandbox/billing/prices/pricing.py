"""What a quantity costs at a price: per unit, by packages, by tiers; and the lines that Stripe shows for it.

Rounding: each line is rounded on its own to whole minor units, half away from zero. Recorded bodies of graduated
prices show it (31 units at 3.6 cents are a line of 112).
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from tests.sandbox.billing.money import extended, plain_decimal
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "cad": "CA$", "aud": "A$", "nzd": "NZ$", "inr": "₹"}
# Stripe's zero-decimal currencies: their minor unit is the unit.
WITHOUT_DECIMALS = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"}
)


@dataclass(frozen=True, slots=True)
class PricedPart:
    """One line of a priced quantity. A flat fee has the quantity 0, as on Stripe's invoices."""

    amount: int
    quantity: Decimal
    unit_amount_decimal: str | None
    description: str


@dataclass(frozen=True, slots=True)
class _Tier:
    """The units of one tier that are charged, and what they cost."""

    number: int
    quantity: Decimal
    unit_amount: Decimal
    flat_amount: Decimal | None


def amount_of(world: World, price: StripeObject, quantity: Decimal, *, currency: str | None = None) -> int:
    """Minor units for `quantity` at `price`: the sum of its parts. Raises `StripeError` as `priced_parts` does."""
    return sum(part.amount for part in priced_parts(world, price, quantity, currency=currency))


def priced_parts(
    world: World, price: StripeObject, quantity: Decimal, *, currency: str | None = None
) -> list[PricedPart]:
    """The lines for `quantity` at `price`, in the price's own currency or in one of its `currency_options`.

    One for a price per unit. With tiers, one for the units of each tier reached and one for its flat fee: a graduated
    price charges the first tier's flat fee for a quantity of 0 too. Raises `StripeError` for a price without a fixed
    amount, and for a currency that the price does not have.
    """
    offer = offer_in(world, price, currency)
    product = _product(world, price)
    every = _every(price)
    if price["billing_scheme"] == "per_unit":
        if offer["unit_amount_decimal"] is None:
            raise StripeError(
                f"The price {price['id']} has a custom amount, which only Checkout and payment links can ask for.",
                param="price",
            )
        unit_amount = Decimal(offer["unit_amount_decimal"])
        transform = price["transform_quantity"]
        packages = f" per {transform['divide_by']} units" if transform else ""
        shown = f"at {shown_amount(unit_amount, offer['currency'])}{packages}{every}"
        return [
            PricedPart(
                amount=extended(unit_amount, charged_quantity(price, quantity)),
                quantity=quantity,
                unit_amount_decimal=offer["unit_amount_decimal"],
                description=f"{_counted(quantity, product)} ({shown})",
            )
        ]
    parts = []
    for tier in _tiers_reached(offer["tiers"], price["tiers_mode"], quantity):
        parts.extend(_tier_parts(tier, product, offer["currency"], every))
    return parts


def is_metered(price: StripeObject) -> bool:
    """Whether a price charges what was used, and not a quantity agreed on."""
    return price["recurring"] is not None and bool(price["recurring"]["usage_type"] == "metered")


def offer_in(world: World, price: StripeObject, currency: str | None = None) -> StripeObject:
    """`currency`, `unit_amount_decimal` and `tiers` of the price in that currency. Raises `StripeError` if absent."""
    if currency is None or currency == price["currency"]:
        return {
            "currency": price["currency"],
            "unit_amount_decimal": price["unit_amount_decimal"],
            "tiers": world.price_tiers.get(price["id"], []),
        }
    option = world.currency_options.get(price["id"], {}).get(currency)
    if option is None:
        raise StripeError(
            f"The price specified only supports `{price['currency']}`. This doesn't match the expected currency: "
            f"`{currency}`.",
            param="currency",
        )
    return {"unit_amount_decimal": None, "tiers": [], **option, "currency": currency}


def pricing_of(price: StripeObject, unit_amount_decimal: str | None) -> StripeObject:
    """The `pricing` of an invoice item or line."""
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": unit_amount_decimal,
    }


def charged_quantity(price: StripeObject, quantity: Decimal) -> Decimal:
    """The quantity after `transform_quantity`: how many packages, rounded up or down."""
    transform = price["transform_quantity"]
    if transform is None:
        return quantity
    rounding = ROUND_CEILING if transform["round"] == "up" else ROUND_FLOOR
    return (quantity / transform["divide_by"]).to_integral_value(rounding)


def shown_amount(minor_units: Decimal, currency: str) -> str:
    """`$20.00`, `$0.036`, `¥500`, `CHF 20.00`: at least the currency's own decimals, at most those of the amount."""
    decimals = 0 if currency in WITHOUT_DECIMALS else 2
    amount = minor_units.scaleb(-decimals).normalize()
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)
    symbol = SYMBOLS.get(currency, f"{currency.upper()} ")
    return f"{symbol}{amount:,.{max(decimals, -exponent)}f}"


def product_name(world: World, price: StripeObject) -> str:
    """What the price's product is called; of a deleted one that is its id."""
    return _name(_product(world, price))


def _product(world: World, price: StripeObject) -> StripeObject:
    return world.store.find("product", price["product"]) or world.tombstones[price["product"]]


def _tiers_reached(tiers: list[StripeObject], mode: str, quantity: Decimal) -> list[_Tier]:
    """Of a volume price the one tier that holds the whole quantity; of a graduated one each tier up to it."""
    reached: list[_Tier] = []
    floor = Decimal(0)
    for number, tier in enumerate(tiers, start=1):
        top = quantity if tier["up_to"] is None else min(quantity, Decimal(tier["up_to"]))
        unit_amount = Decimal(tier["unit_amount_decimal"] or 0)
        flat_amount = None if tier["flat_amount_decimal"] is None else Decimal(tier["flat_amount_decimal"])
        last = top == quantity
        if mode == "graduated":
            reached.append(_Tier(number, top - floor, unit_amount, flat_amount))
        elif last:
            reached.append(_Tier(number, quantity, unit_amount, flat_amount))
        if last:
            break
        floor = top
    return reached


def _tier_parts(tier: _Tier, product: StripeObject, currency: str, every: str) -> list[PricedPart]:
    units = PricedPart(
        amount=extended(tier.unit_amount, tier.quantity),
        quantity=tier.quantity,
        unit_amount_decimal=plain_decimal(tier.unit_amount),
        description=f"{_counted(tier.quantity, product)} "
        f"(Tier {tier.number} at {shown_amount(tier.unit_amount, currency)}{every})",
    )
    if tier.flat_amount is None:
        return [units]
    flat = PricedPart(
        amount=extended(tier.flat_amount, Decimal(1)),
        quantity=Decimal(0),
        unit_amount_decimal=None,
        description=f"{_name(product)} (Tier {tier.number} at {shown_amount(tier.flat_amount, currency)}{every})",
    )
    return [units, flat]


def _counted(quantity: Decimal, product: StripeObject) -> str:
    """`3 seat × Pro`: Stripe puts the product's unit label as it is, not in the plural."""
    label = product.get("unit_label")
    return f"{plain_decimal(quantity)}{f' {label}' if label else ''} × {_name(product)}"


def _name(product: StripeObject) -> str:
    return str(product.get("name", product["id"]))


def _every(price: StripeObject) -> str:
    """` / month`, ` / 3 months`; nothing for a price paid once."""
    recurring = price["recurring"]
    if recurring is None:
        return ""
    count, interval = recurring["interval_count"], recurring["interval"]
    return f" / {interval}" if count == 1 else f" / {count} {interval}s"
