"""Quotes: an offer to a customer that becomes a subscription or an invoice when it is accepted."""

from typing import Any

from tests.sandbox.billing.selling.line_items import line_items_page, new_line_items, shown_line_items
from tests.sandbox.billing.selling.quoting import (
    accept_quote,
    cancel_quote,
    cancel_when_due,
    compute,
    finalize_quote,
    quoted_discounts,
    upfront_items,
)
from tests.sandbox.core.errors import StripeError, not_implemented
from tests.sandbox.core.expand import includes
from tests.sandbox.core.lists import matching, ordered_page, page_of
from tests.sandbox.core.metadata import merged_metadata, unset
from tests.sandbox.core.parameters import Parameters, refuse_unsupported
from tests.sandbox.core.registry import handles
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World

URL = "/v1/quotes"
EXPIRES_AFTER_SECONDS = 30 * 24 * 3600
TEXTS = ("description", "footer", "header")
WRITABLE = frozenset(
    {*TEXTS, "collection_method", "customer", "default_tax_rates", "discounts", "expires_at", "invoice_settings"}
    | {"line_items", "metadata", "subscription_data"}
)
SUBSCRIPTION_DATA = frozenset({"billing_mode", "description", "effective_date", "metadata", "trial_period_days"})
CARRIED_OVER = ("description", "metadata", "trial_period_days")
INVOICE_SETTINGS = frozenset({"days_until_due", "description"})


@handles("POST /v1/quotes")
def create_quote(world: World, parameters: Parameters) -> StripeObject:
    refuse_unsupported(parameters, WRITABLE | {"test_clock"}, "POST /v1/quotes")
    quote = world.new(
        "quote",
        "qt",
        automatic_tax={"enabled": False, "liability": None, "provider": None, "status": None},
        collection_method=parameters.get("collection_method", "charge_automatically"),
        default_tax_rates=[],
        discounts=[],
        expires_at=world.now + EXPIRES_AFTER_SECONDS,
        invoice_settings=world.skeletons.new("invoice_setting_quote_setting", issuer={"type": "self"}),
        metadata={},
        status="draft",
        status_transitions={"accepted_at": None, "canceled_at": None, "finalized_at": None},
        subscription_data=world.skeletons.new(
            "quotes_resource_subscription_data_subscription_data",
            billing_mode={"flexible": {"proration_discounts": "included"}, "type": "flexible"},
            metadata={},
        ),
    )
    world.asked_for[quote["id"]] = {}
    world.line_items[quote["id"]] = []
    try:
        _write(world, quote, parameters, "POST /v1/quotes")
    except StripeError:  # nothing was quoted
        world.store.remove(quote)
        raise
    cancel_when_due(world, quote)
    world.emit("quote.created", quote)
    return quote


@handles("GET /v1/quotes")
def list_quotes(world: World, parameters: Parameters) -> StripeObject:
    quotes = matching(world.store.all("quote"), parameters, "customer", "status", "test_clock")
    return page_of(world.store, quotes, parameters, url=URL)


@handles("GET /v1/quotes/{quote}")
def retrieve_quote(world: World, parameters: Parameters, quote_id: str) -> StripeObject:
    return world.store.get("quote", quote_id)


@handles("POST /v1/quotes/{quote}")
def update_quote(world: World, parameters: Parameters, quote_id: str) -> StripeObject:
    refuse_unsupported(parameters, WRITABLE, "POST /v1/quotes/{quote}")
    quote = world.store.get("quote", quote_id)
    fixed = set(parameters) - {"expand", "expires_at", "metadata"}
    if quote["status"] != "draft" and fixed:
        raise StripeError(
            f"This quote has a status of `{quote['status']}`: only its expiry can still be changed.", param=min(fixed)
        )
    if "customer" in parameters and quote["customer"] not in (None, parameters["customer"]):
        raise StripeError("The customer of a quote cannot be changed.", param="customer")
    _write(world, quote, parameters, "POST /v1/quotes/{quote}")
    if "expires_at" in parameters:
        cancel_when_due(world, quote)
    return quote


@handles("POST /v1/quotes/{quote}/finalize")
def finalize(world: World, parameters: Parameters, quote_id: str) -> StripeObject:
    quote = world.store.get("quote", quote_id)
    if quote["status"] == "draft" and "expires_at" in parameters:
        quote["expires_at"] = _future(world, parameters["expires_at"])
        cancel_when_due(world, quote)
    finalize_quote(world, quote)
    return quote


@handles("POST /v1/quotes/{quote}/accept")
def accept(world: World, parameters: Parameters, quote_id: str) -> StripeObject:
    quote = world.store.get("quote", quote_id)
    accept_quote(world, quote)
    return quote


@handles("POST /v1/quotes/{quote}/cancel")
def cancel(world: World, parameters: Parameters, quote_id: str) -> StripeObject:
    quote = world.store.get("quote", quote_id)
    cancel_quote(world, quote)
    return quote


@handles("GET /v1/quotes/{quote}/line_items")
def list_line_items(world: World, parameters: Parameters, quote_id: str) -> StripeObject:
    world.store.get("quote", quote_id)
    return line_items_page(world, quote_id, parameters, url=f"{URL}/{quote_id}/line_items")


@handles("GET /v1/quotes/{quote}/computed_upfront_line_items")
def list_upfront_line_items(world: World, parameters: Parameters, quote_id: str) -> StripeObject:
    quote = world.store.get("quote", quote_id)
    url = f"{URL}/{quote_id}/computed_upfront_line_items"
    return ordered_page(upfront_items(world, quote), parameters, url=url)


@includes("quote", "line_items")
def quote_line_items(world: World, quote: StripeObject) -> Any:
    return shown_line_items(world, quote["id"], f"{URL}/{quote['id']}/line_items")


def _write(world: World, quote: StripeObject, parameters: Parameters, operation: str) -> None:
    """Set what a request names, and redo the sums. Stripe tells no event of a quote's update."""
    changes: dict[str, Any] = {name: unset(parameters[name]) for name in TEXTS if name in parameters}
    changes["metadata"] = merged_metadata(quote["metadata"], parameters)
    if "collection_method" in parameters:
        changes["collection_method"] = parameters["collection_method"]
    if "expires_at" in parameters:
        changes["expires_at"] = _future(world, parameters["expires_at"])
    if "customer" in parameters:
        changes["customer"] = world.store.get("customer", parameters["customer"], param="customer")["id"]
    if "default_tax_rates" in parameters:
        names = parameters["default_tax_rates"] or []
        changes["default_tax_rates"] = [
            world.store.get("tax_rate", name, param="default_tax_rates")["id"] for name in names
        ]
    if "invoice_settings" in parameters:
        given = parameters["invoice_settings"]
        refuse_unsupported(given, INVOICE_SETTINGS, f"{operation} (invoice_settings)")
        changes["invoice_settings"] = {**quote["invoice_settings"], **_emptied(given)}
    if "subscription_data" in parameters:
        changes["subscription_data"] = _subscription_data(quote, parameters["subscription_data"], operation)
    if "line_items" in parameters:
        given = [item for item in parameters["line_items"] if "id" not in item]
        if len(given) < len(parameters["line_items"]):
            raise not_implemented(f"keeping line items by id in {operation}", param="line_items[0][id]")
        world.line_items[quote["id"]] = new_line_items(world, given, operation, default_quantity=1)
    asked = world.asked_for[quote["id"]]
    if "discounts" in parameters:
        asked = {**asked, "discounts": parameters["discounts"] or []}
    written = {**quote, **changes}
    discounts = quoted_discounts(world, written, asked.get("discounts")) if "discounts" in parameters else None
    world.asked_for[quote["id"]] = asked
    changes |= compute(world, written)
    if discounts is not None:
        changes["discounts"] = discounts
    world.update(quote, None, **changes)


def _subscription_data(quote: StripeObject, given: dict[str, Any], operation: str) -> dict[str, Any]:
    refuse_unsupported(given, SUBSCRIPTION_DATA, f"{operation} (subscription_data)")
    if given.get("effective_date"):
        raise not_implemented("quotes that start later", param="subscription_data[effective_date]")
    if given.get("billing_mode", {}).get("type", "flexible") != "flexible":
        raise not_implemented("classic billing mode", param="subscription_data[billing_mode][type]")
    kept: dict[str, Any] = {name: value for name, value in given.items() if name in CARRIED_OVER}
    return {**quote["subscription_data"], **_emptied(kept)}


def _emptied(given: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value == "" else value for name, value in given.items()}


def _future(world: World, moment: int) -> int:
    if moment <= world.now:
        raise StripeError("`expires_at` must be in the future.", param="expires_at")
    return moment
