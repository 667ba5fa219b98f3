"""Search: the same query language over seven nouns. Unlike at Stripe, what was just written is found at once.

Which fields can be searched: Stripe's pages on search, query fields by resource.
"""

import base64
from collections.abc import Callable
from typing import Any

from tests.sandbox.billing.invoices.invoicing import subscription_of
from tests.sandbox.core.errors import StripeError
from tests.sandbox.core.expand import includes
from tests.sandbox.core.lists import read_limit
from tests.sandbox.core.parameters import Parameters
from tests.sandbox.core.registry import handles
from tests.sandbox.core.search_query import Field, Kind, matcher, parse_query
from tests.sandbox.core.store import StripeObject
from tests.sandbox.world import World


def _fields(kind: Kind, *names: str) -> dict[str, Field]:
    return {name: Field(kind, _reader(name)) for name in names}


def _reader(path: str) -> Callable[[StripeObject], Any]:
    parts = path.split(".")

    def read(thing: StripeObject) -> Any:
        value: Any = thing
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    return read


CARD = "payment_method_details.card"
FINALIZATION = "last_finalization_error"
CHARGE_FIELDS = (
    _fields("number", "amount", "created", f"{CARD}.exp_month", f"{CARD}.exp_year")
    | _fields("token", "billing_details.address.postal_code", "currency", "customer", "disputed", "refunded", "status")
    | _fields("token", f"{CARD}.brand", f"{CARD}.fingerprint", f"{CARD}.last4")
)
CUSTOMER_FIELDS = _fields("number", "created") | _fields("text", "email", "name", "phone")
INVOICE_FIELDS = (
    _fields("number", "created", "total")
    | _fields("token", "currency", "customer", "number", "receipt_number", "status")
    | {
        "subscription": Field("token", subscription_of),
        f"{FINALIZATION}_code": Field("token", _reader(f"{FINALIZATION}.code")),
        f"{FINALIZATION}_type": Field("token", _reader(f"{FINALIZATION}.type")),
    }
)
PAYMENT_INTENT_FIELDS = _fields("number", "amount", "created") | _fields("token", "currency", "customer", "status")
PRICE_FIELDS = _fields("token", "active", "currency", "lookup_key", "product", "type")
PRODUCT_FIELDS = _fields("token", "active", "shippable") | _fields("text", "description", "name", "url")
SUBSCRIPTION_FIELDS = _fields("number", "canceled_at", "created") | _fields("token", "status")


@handles("GET /v1/charges/search")
def search_charges(world: World, parameters: Parameters) -> StripeObject:
    return _search(world, parameters, "charge", "charges", CHARGE_FIELDS)


@handles("GET /v1/customers/search")
def search_customers(world: World, parameters: Parameters) -> StripeObject:
    return _search(world, parameters, "customer", "customers", CUSTOMER_FIELDS)


@handles("GET /v1/invoices/search")
def search_invoices(world: World, parameters: Parameters) -> StripeObject:
    return _search(world, parameters, "invoice", "invoices", INVOICE_FIELDS)


@handles("GET /v1/payment_intents/search")
def search_payment_intents(world: World, parameters: Parameters) -> StripeObject:
    return _search(world, parameters, "payment_intent", "payment_intents", PAYMENT_INTENT_FIELDS)


@handles("GET /v1/prices/search")
def search_prices(world: World, parameters: Parameters) -> StripeObject:
    return _search(world, parameters, "price", "prices", PRICE_FIELDS)


@handles("GET /v1/products/search")
def search_products(world: World, parameters: Parameters) -> StripeObject:
    return _search(world, parameters, "product", "products", PRODUCT_FIELDS)


@handles("GET /v1/subscriptions/search")
def search_subscriptions(world: World, parameters: Parameters) -> StripeObject:
    return _search(world, parameters, "subscription", "subscriptions", SUBSCRIPTION_FIELDS)


@includes("search_result", "total_count")
def total_count(world: World, result: StripeObject) -> int:
    """Only the search itself knows it, and has set it by now; a single page without it counts itself."""
    return len(result["data"])


def _search(world: World, parameters: Parameters, kind: str, resource: str, fields: dict[str, Field]) -> StripeObject:
    """A page of what matches, newest first."""
    matches = matcher(parse_query(parameters["query"]), fields, resource)
    found = [thing for thing in reversed(world.store.all(kind)) if matches(thing)]
    start = _start(world, found, parameters.get("page"))
    page = found[start : start + read_limit(parameters)]
    more = start + len(page) < len(found)
    result: StripeObject = {
        "object": "search_result",
        "data": page,
        "has_more": more,
        "next_page": _page_after(page[-1]) if more else None,
        "url": f"/v1/{resource}/search",
    }
    if "total_count" in parameters.get("expand", ()):
        result["total_count"] = len(found)
    return result


def _page_after(thing: StripeObject) -> str:
    return base64.urlsafe_b64encode(thing["id"].encode()).decode()


def _start(world: World, found: list[StripeObject], page: str | None) -> int:
    """Where a page begins: after the object that `page` names, whether that still matches or not."""
    if page is None:
        return 0
    try:
        last = world.store.place(base64.b64decode(page, altchars=b"-_", validate=True).decode())
    except (ValueError, KeyError):
        raise StripeError(f"Invalid page: {page}", param="page") from None
    return sum(world.store.place(thing["id"]) >= last for thing in found)
