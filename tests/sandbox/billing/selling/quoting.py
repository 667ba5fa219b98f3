"""A quote's life: what it comes to, its number, its end by acceptance, cancellation or time, and what it becomes."""

from collections.abc import Sequence
from typing import Any

from tests.sandbox.billing.invoices.coupons import redeemable_coupon, redeemable_promotion_code
from tests.sandbox.billing.invoices.discounts import new_discounts, reduction_by_coupon
from tests.sandbox.billing.invoices.invoicing import InvoiceRequest, new_invoice
from tests.sandbox.billing.invoices.items import new_item
from tests.sandbox.billing.invoices.lines import line_of_item, resum
from tests.sandbox.billing.selling.line_items import (
    is_recurring,
    reduce_and_tax,
    starting_items,
    sums_of,
)
from tests.sandbox.billing.subscriptions.starting import start_from_parameters
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.store import StripeObject, copied
from tests.sandbox.world import World

DAYS_UNTIL_DUE_DEFAULT = 30


def compute(world: World, quote: StripeObject) -> dict[str, Any]:
    """The sums of a quote: over all items, at acceptance, and for each later period."""
    asked = world.asked_for[quote["id"]]
    coupons = quoted_coupons(world, quote["customer"], asked.get("discounts"), "discounts")
    items = world.line_items[quote["id"]]
    _reduce(world, quote, items, coupons)
    recurring = [copied(item) for item in items if is_recurring(item)]
    _reduce(world, quote, recurring, [coupon for coupon in coupons if coupon["duration"] == "forever"], forever=True)
    computed: dict[str, Any] = {"recurring": None, "upfront": _sums(upfront_items(world, quote))}
    if recurring:
        every = recurring[0]["price"]["recurring"]
        computed["recurring"] = {
            **_sums(recurring),
            "interval": every["interval"],
            "interval_count": every["interval_count"],
        }
    return {**_sums(items), "computed": computed, "currency": items[0]["currency"] if items else None}


def upfront_items(world: World, quote: StripeObject) -> list[StripeObject]:
    """What is on the first invoice: what recurs is free on it while there is a trial."""
    asked = world.asked_for[quote["id"]]
    items = [copied(item) for item in world.line_items[quote["id"]]]
    if quote["subscription_data"]["trial_period_days"]:
        for item in items:
            if is_recurring(item):
                item["amount_subtotal"] = 0
    _reduce(world, quote, items, quoted_coupons(world, quote["customer"], asked.get("discounts"), "discounts"))
    return items


def quoted_coupons(
    world: World, customer: str | None, given: list[dict[str, Any]] | str | None, param: str
) -> list[StripeObject]:
    """The coupons of a `discounts` parameter, redeemed only at acceptance. Raises `StripeError` as redeeming would."""
    coupons = []
    for place, entry in enumerate(given if isinstance(given, list) else []):
        where = f"{param}[{place}]"
        if ("coupon" in entry) == ("promotion_code" in entry):
            raise StripeError("You must specify exactly one of `coupon` or `promotion_code`.", param=where)
        name = entry.get("coupon")
        if name is None:
            code = redeemable_promotion_code(
                world,
                entry["promotion_code"],
                customer=customer or "",
                currency=None,
                amount=None,
                param=f"{where}[promotion_code]",
            )
            name = code["promotion"]["coupon"]
        coupons.append(redeemable_coupon(world, name, param=f"{where}[coupon]"))
    return coupons


def quoted_discounts(world: World, quote: StripeObject, given: list[dict[str, Any]] | str | None) -> list[str]:
    """Discounts that show what is offered. They count as no redemption; those made at acceptance do."""
    discounts = []
    entries = given if isinstance(given, list) else []
    for entry, coupon in zip(entries, quoted_coupons(world, quote["customer"], given, "discounts"), strict=True):
        discount = world.new(
            "discount",
            "di",
            customer=quote["customer"],
            promotion_code=entry.get("promotion_code"),
            source={"coupon": coupon["id"], "type": "coupon"},
            start=world.now,
        )
        terms = world.coupon_terms[coupon["id"]]
        world.discount_coupons[discount["id"]] = copied({"coupon": coupon, "terms": terms})
        discounts.append(str(discount["id"]))
    return discounts


def finalize_quote(world: World, quote: StripeObject) -> None:
    """Make a draft final and give it its number. Raises `StripeError` for any other status, or without a customer."""
    _require(quote, "draft", "finalize")
    customer = world.store.find("customer", quote["customer"])
    if customer is None:
        raise StripeError("A customer is required to finalize a quote.", code="parameter_missing", param="customer")
    if not world.line_items[quote["id"]]:
        raise StripeError("A quote needs at least one line item.", param="line_items")
    world.update(
        quote,
        None,
        number=_next_number(world, customer),
        status="open",
        status_transitions={**quote["status_transitions"], "finalized_at": world.now},
    )
    world.emit("quote.finalized", quote)


def cancel_quote(world: World, quote: StripeObject) -> None:
    """End a draft or open quote. Raises `StripeError` for one that has ended."""
    if quote["status"] not in ("draft", "open"):
        raise _wrong_status(quote, "cancel")
    transitions = {**quote["status_transitions"], "canceled_at": world.now}
    world.update(quote, None, status="canceled", status_transitions=transitions)
    world.emit("quote.canceled", quote)


def cancel_when_due(world: World, quote: StripeObject) -> None:
    """At `expires_at` a quote that was neither accepted nor canceled is canceled, unless that was moved."""
    moment: int = quote["expires_at"]

    def due() -> None:
        if quote["status"] in ("draft", "open") and quote["expires_at"] == moment:
            cancel_quote(world, quote)

    world.clock.at(moment, due, f"expiry of {quote['id']}")


def accept_quote(world: World, quote: StripeObject) -> None:
    """Turn an open quote into a subscription if anything on it recurs, otherwise into a draft invoice."""
    _require(quote, "open", "accept")
    if any(is_recurring(item) for item in world.line_items[quote["id"]]):
        subscription = start_from_parameters(world, _starting(world, quote))
        made = {"subscription": subscription["id"], "invoice": subscription["latest_invoice"]}
    else:
        made = {"invoice": _new_invoice(world, quote)["id"]}
    transitions = {**quote["status_transitions"], "accepted_at": world.now}
    world.update(quote, None, status="accepted", status_transitions=transitions, **made)
    world.emit("quote.accepted", quote)


def _reduce(
    world: World,
    quote: StripeObject,
    items: Sequence[StripeObject],
    coupons: Sequence[StripeObject],
    *,
    forever: bool = False,
) -> None:
    own = {}
    for item in items:
        given = world.asked_for[item["id"]].get("discounts")
        found = quoted_coupons(world, quote["customer"], given, "line_items[discounts]")
        if forever:
            found = [coupon for coupon in found if coupon["duration"] == "forever"]
        own[item["id"]] = tuple(reduction_by_coupon(world, coupon, item["currency"]) for coupon in found)
    reductions = [reduction_by_coupon(world, coupon, items[0]["currency"]) for coupon in coupons] if items else []
    reduce_and_tax(world, items, reductions, own=own, default_tax_rates=quote["default_tax_rates"])


def _sums(items: Sequence[StripeObject]) -> dict[str, Any]:
    sums = sums_of(items)
    return {
        "amount_subtotal": sums.subtotal,
        "amount_total": sums.total,
        "total_details": {"amount_discount": sums.discount, "amount_shipping": 0, "amount_tax": sums.tax},
    }


def _next_number(world: World, customer: StripeObject) -> str:
    """`QT-<the customer's invoice prefix>-<quote>-<revision>` (docs.stripe.com/quotes/overview)."""
    numbered = sum(
        1 for other in world.store.all("quote") if other["customer"] == customer["id"] and other["number"] is not None
    )
    return f"QT-{customer['invoice_prefix']}-{numbered + 1:04d}-1"


def _starting(world: World, quote: StripeObject) -> Parameters:
    """The parameters of POST /v1/subscriptions that the quote stands for."""
    data = quote["subscription_data"]
    wanted: Parameters = {
        "customer": quote["customer"],
        "collection_method": quote["collection_method"],
        **starting_items(world, world.line_items[quote["id"]]),
    }
    if quote["collection_method"] == "send_invoice":
        wanted["days_until_due"] = quote["invoice_settings"]["days_until_due"] or DAYS_UNTIL_DUE_DEFAULT
    if data["trial_period_days"]:
        wanted["trial_period_days"] = data["trial_period_days"]
    if data["description"]:
        wanted["description"] = data["description"]
    if data["metadata"]:
        wanted["metadata"] = data["metadata"]
    if quote["default_tax_rates"]:
        wanted["default_tax_rates"] = quote["default_tax_rates"]
    if world.asked_for[quote["id"]].get("discounts"):
        wanted["discounts"] = world.asked_for[quote["id"]]["discounts"]
    return wanted


def _new_invoice(world: World, quote: StripeObject) -> StripeObject:
    """A draft that waits for somebody to finalise it."""
    customer = world.store.get("customer", quote["customer"])
    settings = quote["invoice_settings"]
    wanted = InvoiceRequest(
        customer=customer,
        currency=quote["currency"],
        billing_reason="quote_accept",
        period=(world.now, world.now),
        collection_method=quote["collection_method"],
        days_until_due=settings["days_until_due"],
    )
    parent = {"quote_details": {"quote": quote["id"]}, "subscription_details": None, "type": "quote_details"}
    invoice = new_invoice(
        world,
        wanted,
        auto_advance=False,
        default_tax_rates=[copied(world.store.get("tax_rate", name)) for name in quote["default_tax_rates"]],
        description=settings["description"],
        parent=parent,
    )
    discounts = world.asked_for[quote["id"]].get("discounts")
    invoice["discounts"] = new_discounts(world, discounts, customer=customer["id"], invoice=invoice["id"])
    for item in world.line_items[quote["id"]]:
        given = world.asked_for[item["id"]]
        asked = {"pricing": {"price": item["price"]["id"]}, "quantity": item["quantity"]}
        asked |= {name: given[name] for name in ("discounts", "tax_rates") if given.get(name)}
        made = new_item(world, asked, customer=customer, currency=quote["currency"], invoice=invoice, subscription=None)
        world.emit("invoiceitem.created", made)
        world.lines[invoice["id"]].append(line_of_item(world, invoice, made))
    resum(world, invoice, event=False)
    world.emit("invoice.created", invoice)
    return invoice


def _require(quote: StripeObject, status: str, action: str) -> None:
    if quote["status"] != status:
        raise _wrong_status(quote, action)


def _wrong_status(quote: StripeObject, action: str) -> StripeError:
    return StripeError(f"You cannot {action} this quote because it has a status of `{quote['status']}`.")
