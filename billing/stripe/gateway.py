"""
The one place that calls Stripe (DESIGN §10): plain dictionaries in and out, one client, every operation by its name.

Requests go through `StripeClient.raw_request`: the answers are wanted as plain dictionaries, and building the SDK's
objects only to take them apart again would cost more than the rest of a projection.
"""

from collections.abc import Iterator, Mapping, Sequence
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
