"""What a checkout session, a payment link or a quote offers: its `item`s with their amounts, and the sums over them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.sandbox.billing.invoices.discounting import DiscountableLine, Reduction, invoice_shares, own_shares
from tests.sandbox.billing.invoices.taxes import taxes_on
from tests.sandbox.billing.invoices.totals import rate_from
from tests.sandbox.billing.prices.catalog import new_price, new_product
from tests.sandbox.billing.prices.pricing import amount_of, is_metered
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.lists import list_answer, ordered_page
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

ITEMS_SHOWN = 10
ADJUSTABLE_MAXIMUM = 99  # Stripe's default for quantities that the buyer may change
ITEM_PARAMETERS = frozenset(
    {"adjustable_quantity", "discounts", "metadata", "price", "price_data", "quantity", "tax_rates"}
)


@dataclass(frozen=True, slots=True)
class Sums:
    """Minor units over some items. `total` is what is to be paid: subtotal less discount, with exclusive tax."""

    subtotal: int
    discount: int
    tax: int
    total: int


def new_line_items(
    world: World,
    given: Sequence[dict[str, Any]],
    operation: str,
    *,
    currency: str | None = None,
    default_quantity: int | None = None,
) -> list[StripeObject]:
    """Items of a `line_items` parameter, without discounts. Raises `StripeError` for one that cannot be sold.

    A quantity must be given unless there is a default. What was asked for each is kept by its id.
    """
    require_sellable(world, given, operation, default_quantity=default_quantity)
    items = [_new_item(world, item, currency, default_quantity) for item in given]
    if len({item["currency"] for item in items}) > 1:
        raise StripeError("All line items must have the same currency.", param="line_items")
    return items


def require_sellable(
    world: World, given: Sequence[dict[str, Any]], operation: str, *, default_quantity: int | None = None
) -> list[bool]:
    """Refuse what cannot be sold before a price or product is made for it. The answer: which items would recur."""
    if not given:
        raise StripeError("Missing required param: line_items.", code="parameter_missing", param="line_items")
    return [
        _require_sellable(world, item, f"line_items[{place}]", operation, default_quantity)
        for place, item in enumerate(given)
    ]


def adjust_quantity(world: World, item: StripeObject, quantity: int) -> None:
    """Another quantity, as the buyer wants it; the caller redoes the sums. Raises `StripeError` where it may not be."""
    bounds = item.get("adjustable_quantity")
    if bounds is None:
        raise StripeError("The quantity of this item cannot be changed.", param="line_items")
    if not bounds["minimum"] <= quantity <= bounds["maximum"]:
        raise StripeError(f"The quantity must be from {bounds['minimum']} to {bounds['maximum']}.", param="line_items")
    amount = amount_of(world, item["price"], Decimal(quantity), currency=item["currency"])
    item.update(quantity=quantity, amount_subtotal=amount, amount_total=amount)


def is_recurring(item: StripeObject) -> bool:
    return bool(item["price"]["type"] == "recurring")


def sums_of(items: Iterable[StripeObject]) -> Sums:
    subtotal = discount = tax = total = 0
    for item in items:
        subtotal += item["amount_subtotal"]
        discount += item["amount_discount"]
        tax += item["amount_tax"]
        total += item["amount_total"]
    return Sums(subtotal, discount, tax, total)


def reduce_and_tax(
    world: World,
    items: Sequence[StripeObject],
    reductions: Sequence[Reduction] = (),
    *,
    own: dict[str, tuple[Reduction, ...]] | None = None,
    default_tax_rates: Sequence[str] = (),
) -> None:
    """Redo the amounts of `items` after their subtotals: discounts (an item's `own`, then those over all), then taxes.

    The same arithmetic as an invoice's, so that what is offered is what is billed.
    """
    own = own or {}
    lines = [
        DiscountableLine(item["amount_subtotal"], True, item["price"]["product"], own.get(item["id"], ()))
        for item in items
    ]
    taken = [sum(own_shares(line).values()) for line in lines]
    lefts = [line.amount - off for line, off in zip(lines, taken, strict=True)]
    for item, line, off, shares in zip(items, lines, taken, invoice_shares(lines, lefts, reductions), strict=True):
        discount = off + sum(shares.values())
        names = world.asked_for[item["id"]].get("tax_rates") or default_tax_rates
        rates = [rate_from(world.store.get("tax_rate", name, param="tax_rates")) for name in names]
        taxes = taxes_on(line.amount - discount, rates)
        exclusive = sum(tax.amount for tax in taxes if not tax.rate.inclusive)
        item.update(
            amount_discount=discount,
            amount_tax=sum(tax.amount for tax in taxes),
            amount_total=line.amount - discount + exclusive,
        )


def shown_line_items(world: World, owner_id: str, url: str) -> StripeObject:
    """The first ten, as `expand[]=line_items` shows them."""
    items = world.line_items[owner_id]
    return list_answer(items[:ITEMS_SHOWN], has_more=len(items) > ITEMS_SHOWN, url=url)


def line_items_page(world: World, owner_id: str, parameters: Parameters, url: str) -> StripeObject:
    return ordered_page(world.line_items.get(owner_id, []), parameters, url=url)


def starting_items(world: World, items: Iterable[StripeObject]) -> Parameters:
    """`items` and `add_invoice_items` of POST /v1/subscriptions: what recurs, and what is on the first invoice only."""
    recurring: list[Parameters] = []
    once: list[Parameters] = []
    for item in items:
        if item["quantity"] == 0:  # the buyer wants none of it
            continue
        wanted: Parameters = {"price": item["price"]["id"]}
        if not is_metered(item["price"]):
            wanted["quantity"] = item["quantity"]
        given = world.asked_for[item["id"]]
        wanted |= {name: given[name] for name in ("discounts", "tax_rates") if given.get(name)}
        if is_recurring(item):
            if item.get("metadata"):
                wanted["metadata"] = item["metadata"]
            recurring.append(wanted)
        else:
            once.append(wanted)
    return {"items": recurring} | ({"add_invoice_items": once} if once else {})


def _require_sellable(
    world: World, given: dict[str, Any], where: str, operation: str, default_quantity: int | None
) -> bool:
    refuse_unsupported(given, ITEM_PARAMETERS, f"{operation} ({where})")
    if ("price" in given) == ("price_data" in given):
        raise StripeError(
            f"You must specify either `price` or `price_data` in `{where}`.",
            code="parameter_missing" if "price" not in given else "parameters_exclusive",
            param=f"{where}[price]",
        )
    metered = False
    if "price" in given:
        price = world.store.get("price", given["price"], param=f"{where}[price]")
        if not price["active"]:
            raise StripeError(
                f"The price specified is inactive. This field only accepts active prices. (`{price['id']}`)",
                param=f"{where}[price]",
            )
        recurring = bool(price["type"] == "recurring")
        metered = is_metered(price)
    else:
        recurring = "recurring" in given["price_data"]
        _require_product(world, given["price_data"], where)
    for rate in given.get("tax_rates") or []:
        world.store.get("tax_rate", rate, param=f"{where}[tax_rates]")
    if metered and "quantity" in given:
        raise StripeError(
            f"Quantity should not be specified where usage_type is `metered`. Remove `quantity` from `{where}`.",
            param=f"{where}[quantity]",
        )
    if not metered and given.get("quantity", default_quantity) is None:
        raise StripeError(
            f"Quantity is required. Add `quantity` to `{where}`.", code="parameter_missing", param=f"{where}[quantity]"
        )
    return recurring


def _require_product(world: World, data: dict[str, Any], where: str) -> None:
    if ("product" in data) == ("product_data" in data):
        raise StripeError(
            f"You must specify either `product` or `product_data` in `{where}[price_data]`.",
            param=f"{where}[price_data][product]",
        )
    if "product" in data:
        world.store.get("product", data["product"], param=f"{where}[price_data][product]")


def _new_item(world: World, given: dict[str, Any], currency: str | None, default_quantity: int | None) -> StripeObject:
    price = _price(world, given)
    quantity = None if is_metered(price) else given.get("quantity", default_quantity)
    amount = 0 if quantity is None else amount_of(world, price, Decimal(quantity), currency=currency)
    item = world.skeletons.new(
        "item",
        id=world.ids.new("li"),
        amount_discount=0,
        amount_subtotal=amount,
        amount_tax=0,
        amount_total=amount,
        currency=currency or price["currency"],
        description=world.store.get("product", price["product"])["name"],
        metadata=dict(given.get("metadata") or {}),
        price=copied(price),
        quantity=quantity,
    )
    if given.get("adjustable_quantity", {}).get("enabled"):
        item["adjustable_quantity"] = {"maximum": ADJUSTABLE_MAXIMUM, "minimum": 0, **given["adjustable_quantity"]}
    world.asked_for[item["id"]] = given
    return item


def _price(world: World, given: dict[str, Any]) -> StripeObject:
    if "price" in given:
        return world.store.get("price", given["price"])
    data = given["price_data"]
    if "product_data" in data:
        product = new_product(world, data["product_data"])
    else:
        product = world.store.get("product", data["product"])
    return new_price(world, product, {**data, "active": False})
