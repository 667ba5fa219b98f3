"""
The one place that calls Stripe (DESIGN §10): plain dictionaries in and out, one client, every operation by its name.

Requests go through `StripeClient.raw_request`: the answers are wanted as plain dictionaries, and building the SDK's
objects only to take them apart again would cost more than the rest of a projection.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import merge
from typing import Any, cast

import stripe
from django.conf import settings
from django.utils.module_loading import import_string

from billing.stripe.errors import StripeRefused, StripeUnavailable

StripeDict = dict[str, Any]

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 20
NETWORK_RETRIES_MAX = 2
PAGE_SIZE_MAX = 100
# What the filter `types` of the list of events takes (its description in Stripe's OpenAPI document).
EVENT_TYPES_MAX = 20
# Two workers sent the same key at the same time, or Stripe holds the object for another request: neither is an answer.
RETRYABLE_CODES = frozenset({"idempotency_key_in_use", "lock_timeout", "rate_limit"})


@lru_cache(maxsize=4)
def _client(key: str, base: str, version: str, http_client: str) -> stripe.StripeClient:
    http = import_string(http_client)(timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS))
    return stripe.StripeClient(
        key,
        stripe_version=version,
        base_addresses={"api": base} if base else {},
        max_network_retries=NETWORK_RETRIES_MAX,
        http_client=http,
    )


def client() -> stripe.StripeClient:
    """Return the client of the settings. Raises StripeUnavailable without a key."""
    if not settings.STRIPE_SECRET_KEY:
        raise StripeUnavailable("STRIPE_SECRET_KEY is not set.")
    return _client(
        settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE, settings.STRIPE_API_VERSION, settings.STRIPE_HTTP_CLIENT
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """Stripe's object and the id of the request, to quote to its support."""

    data: StripeDict
    request_id: str


def request(
    method: str, path: str, params: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None
) -> Answer:
    """Call Stripe. Raises StripeUnavailable (try again) or StripeRefused (never again)."""
    options: dict[str, Any] = {"idempotency_key": idempotency_key} if idempotency_key else {}
    try:
        response = client().raw_request(method, path, **(params or {}), **options)
    except stripe.StripeError as error:
        raise _translated(error) from error
    return Answer(data=cast(StripeDict, response.data), request_id=response.request_id or "")


def _translated(error: stripe.StripeError) -> StripeUnavailable | StripeRefused:
    answered_no = isinstance(error, stripe.InvalidRequestError | stripe.CardError | stripe.IdempotencyError)
    if not answered_no or (error.code or "") in RETRYABLE_CODES or error.http_status in (409, 429):
        return StripeUnavailable(f"{type(error).__name__} {error.http_status or ''}: {error.user_message or error}")
    return StripeRefused(
        code=error.code or type(error).__name__,
        message=str(error.user_message or error),
        param=str(getattr(error, "param", None) or ""),
    )


def retrieve(path: str, *, expand: tuple[str, ...] = ()) -> StripeDict:
    """The current state of one object."""
    return request("get", path, {"expand": list(expand)} if expand else None).data


def sdk_object(path: str) -> stripe.StripeObject:
    """The current state of one object as the SDK's own type, which dj-stripe asks for. Raises as `request` does."""
    try:
        return client().deserialize(client().raw_request("get", path), api_mode="V1")
    except stripe.StripeError as error:
        raise _translated(error) from error


def listed(path: str, **params: Any) -> Iterator[StripeDict]:
    """Every object of a list in Stripe's order, newest first as a rule, page by page."""
    query = {"limit": PAGE_SIZE_MAX, **params}
    while True:
        page = request("get", path, query).data
        yield from page["data"]
        if not page["has_more"] or not page["data"]:
            return
        query["starting_after"] = page["data"][-1]["id"]


def listed_events(types: Sequence[str], **params: Any) -> Iterator[StripeDict]:
    """Every event of these types, newest first: as many lists as Stripe's filter needs, merged by time page by page."""
    parts = [types[start : start + EVENT_TYPES_MAX] for start in range(0, len(types), EVENT_TYPES_MAX)]
    lists = [listed("/v1/events", types=list(part), **params) for part in parts]
    return merge(*lists, key=lambda event: int(event["created"]), reverse=True)


# --- writes: each by a name, so that an intent can be stored and sent again -------------------------------------------


def _by_intent(path: str, intent_id: str, **params: Any) -> StripeDict | None:
    for found in listed(path, **params):
        if (found.get("metadata") or {}).get("intent_id") == intent_id:
            return found
    return None


def _find_customer(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    return _by_intent("/v1/customers", intent_id, **({"email": params["email"]} if params.get("email") else {}))


def _find_subscription(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    return _by_intent("/v1/subscriptions", intent_id, customer=params["customer"], status="all")


def _find_product(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    return _by_intent("/v1/products", intent_id)


def _find_price(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    return _by_intent("/v1/prices", intent_id, product=params["product"])


def _find_added_lines(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    """Lines are added all or none, so one that carries the intent stands for the whole call."""
    found = _by_intent(f"/v1/invoices/{target}/lines", intent_id)
    return retrieve(f"/v1/invoices/{target}") if found else None


def _find_finalized(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    invoice = retrieve(f"/v1/invoices/{target}")
    return None if invoice["status"] == "draft" else invoice


def _find_invoice(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    return _by_intent("/v1/invoices", intent_id, customer=params["customer"])


def _find_credit_note(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    return _by_intent("/v1/credit_notes", intent_id, invoice=params["invoice"])


def _find_meter(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
    """Meters bear no metadata; of active ones there is one for each name of events."""
    active = listed("/v1/billing/meters", status="active")
    return next((meter for meter in active if meter["event_name"] == params["event_name"]), None)


def _find_meter_as(status: str) -> "Find":
    def find(intent_id: str, target: str, params: StripeDict) -> StripeDict | None:
        meter = retrieve(f"/v1/billing/meters/{target}")
        return meter if meter["status"] == status else None

    return find


Find = Callable[[str, str, StripeDict], StripeDict | None]


@dataclass(frozen=True, slots=True)
class Operation:
    """
    A write. `path` may name {target}; `retrieve_path` names {id}, the object in the answer.

    `find(intent_id, target, params)` looks at Stripe whether it was carried out; None where sending it again changes
    nothing. `marks` says where the intent's id goes: on the object made, on each line, or nowhere.
    """

    path: str
    retrieve_path: str
    find: Find | None = None
    marks: str = ""


OPERATIONS: dict[str, Operation] = {
    "customers.create": Operation("/v1/customers", "/v1/customers/{id}", _find_customer, "object"),
    "customers.update": Operation("/v1/customers/{target}", "/v1/customers/{id}"),
    "payment_methods.attach": Operation("/v1/payment_methods/{target}/attach", "/v1/payment_methods/{id}"),
    "products.create": Operation("/v1/products", "/v1/products/{id}", _find_product, "object"),
    "products.update": Operation("/v1/products/{target}", "/v1/products/{id}"),
    "meters.create": Operation("/v1/billing/meters", "/v1/billing/meters/{id}", _find_meter),
    "meters.deactivate": Operation(
        "/v1/billing/meters/{target}/deactivate", "/v1/billing/meters/{id}", _find_meter_as("inactive")
    ),
    "meters.reactivate": Operation(
        "/v1/billing/meters/{target}/reactivate", "/v1/billing/meters/{id}", _find_meter_as("active")
    ),
    "prices.create": Operation("/v1/prices", "/v1/prices/{id}", _find_price, "object"),
    "prices.update": Operation("/v1/prices/{target}", "/v1/prices/{id}"),
    "subscriptions.create": Operation("/v1/subscriptions", "/v1/subscriptions/{id}", _find_subscription, "object"),
    "subscriptions.update": Operation("/v1/subscriptions/{target}", "/v1/subscriptions/{id}"),
    "invoices.create": Operation("/v1/invoices", "/v1/invoices/{id}", _find_invoice, "object"),
    "credit_notes.create": Operation("/v1/credit_notes", "/v1/credit_notes/{id}", _find_credit_note, "object"),
    "invoices.update": Operation("/v1/invoices/{target}", "/v1/invoices/{id}"),
    "invoices.add_lines": Operation("/v1/invoices/{target}/add_lines", "/v1/invoices/{id}", _find_added_lines, "lines"),
    "invoices.finalize": Operation("/v1/invoices/{target}/finalize", "/v1/invoices/{id}", _find_finalized),
}


def marked(operation: Operation, params: StripeDict, intent_id: str) -> StripeDict:
    """The parameters with the intent's id in the metadata of what they create."""

    def mark(thing: StripeDict) -> StripeDict:
        return {**thing, "metadata": {**thing.get("metadata", {}), "intent_id": intent_id}}

    if operation.marks == "object":
        return mark(params)
    if operation.marks == "lines":
        return {**params, "lines": [mark(line) for line in params["lines"]]}
    return params


# --- readers of today's shapes (API 2026-08-26.dahlia) ----------------------------------------------------------------


def id_of(value: Any) -> str:
    """The id of a field that holds an id, an expanded object, or nothing."""
    return str(value["id"]) if isinstance(value, dict) else str(value or "")


def subscription_of_invoice(invoice: StripeDict) -> str:
    """Stripe's id of the subscription an invoice belongs to, or nothing."""
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    return id_of(details.get("subscription"))


def subscription_metadata_of_invoice(invoice: StripeDict) -> dict[str, str]:
    """The subscription's metadata as it was when the invoice was made."""
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    return dict(details.get("metadata") or {})


def price_of_line(line: StripeDict) -> str:
    """Stripe's id of the price of an invoice line, or nothing."""
    details = (line.get("pricing") or {}).get("price_details") or {}
    return id_of(details.get("price"))


def invoice_with_lines(invoice_id: str) -> tuple[StripeDict, list[StripeDict]]:
    """An invoice and all its lines: one call while they fit in the invoice's own list, pages of 100 when not."""
    invoice = retrieve(f"/v1/invoices/{invoice_id}")
    return invoice, all_lines(invoice)


def all_lines(invoice: StripeDict) -> list[StripeDict]:
    """Every line of an invoice that was just fetched."""
    if not invoice["lines"]["has_more"]:
        return list(invoice["lines"]["data"])
    return list(listed(f"/v1/invoices/{invoice['id']}/lines"))


def credit_note_with_lines(credit_note_id: str) -> StripeDict:
    """A credit note whose own list holds all its lines."""
    return _with_all_lines(retrieve(f"/v1/credit_notes/{credit_note_id}"))


def credit_notes_of(invoice: StripeDict) -> list[StripeDict]:
    """The credit notes of an invoice that was just fetched, each with all its lines; void ones too, if one stands."""
    if not invoice["pre_payment_credit_notes_amount"] and not invoice["post_payment_credit_notes_amount"]:
        return []
    return [_with_all_lines(note) for note in listed("/v1/credit_notes", invoice=invoice["id"])]


def _with_all_lines(note: StripeDict) -> StripeDict:
    if not note["lines"]["has_more"]:
        return note
    lines = list(listed(f"/v1/credit_notes/{note['id']}/lines"))
    return {**note, "lines": {**note["lines"], "data": lines, "has_more": False}}


def payment_intent_with_charge(payment_intent_id: str) -> StripeDict:
    """A payment intent with its latest charge and that charge's balance transaction."""
    return retrieve(
        f"/v1/payment_intents/{payment_intent_id}", expand=("latest_charge", "latest_charge.balance_transaction")
    )


def invoice_of_payment_intent(payment_intent_id: str) -> str:
    """The invoice a payment intent pays, or nothing: since basil only the invoice payment knows."""
    payment = {"type": "payment_intent", "payment_intent": payment_intent_id}
    page = request("get", "/v1/invoice_payments", {"payment": payment, "limit": 1}).data
    return id_of(page["data"][0]["invoice"]) if page["data"] else ""


def with_source(movement: StripeDict) -> StripeDict:
    """A balance transaction; one that Stripe converted with its source as an object, which knows the other amount."""
    if movement.get("exchange_rate") is None or not isinstance(movement.get("source"), str):
        return movement
    return retrieve(f"/v1/balance_transactions/{movement['id']}", expand=("source",))
