"""
The one place that calls Stripe (DESIGN §10): plain dictionaries in and out, one client, every operation by its name.

Requests go through `StripeClient.raw_request`: the answers are wanted as plain dictionaries, and building the SDK's
objects only to take them apart again would cost more than the rest of a projection.

The SDK's own retries are switched off: they would sleep unseen, spend the shared budget uncounted, and not look at
Retry-After. Here each try takes its turn (billing.stripe.budget), none begins later than `TRIES_BEGIN_WITHIN` after the
first, and a rate limit is told upward at once: a call ends within that, one wait for a turn and one try's time-outs.
"""

import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from heapq import merge
from random import randrange
from typing import Any, cast

import stripe
from django.conf import settings
from django.utils.module_loading import import_string

from billing.stripe import budget, modes
from billing.stripe.errors import StripeForbidden, StripeRefused, StripeUnavailable

StripeDict = dict[str, Any]

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 20
TRIES_MAX = 3
TRIES_BEGIN_WITHIN = timedelta(seconds=10)
BACKOFF_FIRST_MS = 400
PAGE_SIZE_MAX = 100
# What the filter `types` of the list of events takes (its description in Stripe's OpenAPI document).
EVENT_TYPES_MAX = 20
# Two workers sent the same key at the same time, or Stripe holds the object for another request: neither is an answer,
# and neither says that we ask too much (https://docs.stripe.com/rate-limits: lock timeouts come with 429, too).
BUSY_CODES = frozenset({"idempotency_key_in_use", "lock_timeout"})
RETRYABLE_CODES = BUSY_CODES | {"rate_limit"}
# How Stripe words what a restricted key lacks; the account is named even to a key that may not read it.
_PERMISSION = re.compile(r"'(rak_[a-z0-9_]+)'")
_ACCOUNT = re.compile(r"\b(acct_[A-Za-z0-9]+)")

_is_bulk: ContextVar[bool] = ContextVar("stripe_bulk_work", default=False)
_tries_max: ContextVar[int] = ContextVar("stripe_tries_max", default=TRIES_MAX)


@contextmanager
def bulk_work() -> Iterator[None]:
    """Calls within are for the mirror, a poll, an import, a comparison …: they yield to money work."""
    token = _is_bulk.set(True)
    try:
        yield
    finally:
        _is_bulk.reset(token)


@contextmanager
def one_try() -> Iterator[None]:
    """Calls within are tried once: somebody waits for the page."""
    token = _tries_max.set(1)
    try:
        yield
    finally:
        _tries_max.reset(token)


@lru_cache(maxsize=4)
def _client(key: str, base: str, version: str, http_client: str) -> stripe.StripeClient:
    http = import_string(http_client)(timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS))
    return stripe.StripeClient(
        key,
        stripe_version=version,
        base_addresses={"api": base} if base else {},
        max_network_retries=0,
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
    """
    Stripe's object and the id of the request, to quote to its support.

    `is_replayed`: the answer that Stripe gave to this key before, the object as it was then.
    """

    data: StripeDict
    request_id: str
    is_replayed: bool = False


def request(
    method: str, path: str, params: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None
) -> Answer:
    """
    Call Stripe. Raises StripeUnavailable (try again) or StripeRefused (never again).

    Raises StripeModeMismatch for an answer of the other mode, and before any write with a key of another account than
    the database's.
    """
    if method != "get":
        modes.refuse_other_account(own_account)
    response = _call(method, path, dict(params or {}), idempotency_key=idempotency_key)
    data = cast(StripeDict, response.data)
    modes.refuse_other_mode(data, operation=f"{method.upper()} {path}")
    said = {name.lower(): str(value) for name, value in dict(response.headers or {}).items()}
    return Answer(
        data=data,
        request_id=response.request_id or "",
        is_replayed=said.get("idempotent-replayed", "").lower() == "true",
    )


def own_account() -> str:
    """The account of the key; nothing for a restricted key that Stripe does not tell. Raises StripeUnavailable."""
    try:
        return str(_call("get", "/v1/account", {}).data["id"])
    except StripeForbidden as forbidden:
        return forbidden.account


def _call(method: str, path: str, params: dict[str, Any], *, idempotency_key: str | None = None) -> Any:
    """One answer of Stripe, in as many tries as it takes and may take. All tries of a write bear one key."""
    options: dict[str, Any] = {}
    if idempotency_key or method != "get":
        options["idempotency_key"] = idempotency_key or str(uuid.uuid4())
    last_begin_ns = time.monotonic_ns() + TRIES_BEGIN_WITHIN // timedelta(microseconds=1) * 1000
    tries = 1
    while True:
        budget.wait_for_turn(is_bulk=_is_bulk.get())
        try:
            return client().raw_request(method, path, **params, **options)
        except stripe.StripeError as error:
            failure = _translated(error, f"{method.upper()} {path}")
            wait_ms = randrange(BACKOFF_FIRST_MS // 2, BACKOFF_FIRST_MS) * 2 ** (tries - 1)
            is_late = time.monotonic_ns() + wait_ms * 1_000_000 > last_begin_ns
            if tries >= _tries_max.get() or is_late or not _is_worth_another_try(error):
                raise failure from error
        budget.sleep(timedelta(milliseconds=wait_ms))
        tries += 1


def _is_worth_another_try(error: stripe.StripeError) -> bool:
    """Within seconds it may go well. Stripe's own word on it counts first; a rate limit lasts longer."""
    said = _header(error, "stripe-should-retry")
    if said in ("true", "false"):
        return said == "true" and not _is_rate_limit(error)
    if isinstance(error, stripe.APIConnectionError):
        return bool(error.should_retry)
    status = error.http_status or 0
    return status >= 500 or status == 409 or (error.code or "") in BUSY_CODES


def _is_rate_limit(error: stripe.StripeError) -> bool:
    return error.http_status == 429 and (error.code or "") not in BUSY_CODES


def _header(error: stripe.StripeError, name: str) -> str:
    headers = {key.lower(): str(value) for key, value in dict(error.headers or {}).items()}
    return headers.get(name, "")


def _translated(error: stripe.StripeError, operation: str) -> StripeUnavailable | StripeRefused:
    """The error as ours. A rate limit also stops everybody who shares the budget, for as long as Stripe asks."""
    status, request_id = error.http_status or 0, str(error.request_id or "")
    said = str(error.user_message or error)
    if isinstance(error, stripe.PermissionError):
        permission, account = _PERMISSION.search(said), _ACCOUNT.search(said)
        return StripeForbidden(
            said,
            operation=operation,
            permission=permission[1] if permission else "",
            account=account[1] if account else "",
            request_id=request_id,
        )
    answered_no = isinstance(error, stripe.InvalidRequestError | stripe.CardError | stripe.IdempotencyError)
    if not answered_no or (error.code or "") in RETRYABLE_CODES or status in (409, 429):
        seconds = _header(error, "retry-after")
        asked = timedelta(seconds=int(seconds)) if seconds.isascii() and seconds.isdecimal() else None
        if _is_rate_limit(error):
            asked = min(asked or budget.PAUSE_DEFAULT, budget.PAUSE_MAX)
            budget.pause(asked)
        text = f"{type(error).__name__}{f' {status}' if status else ''}: {said}"
        return StripeUnavailable(text, retry_after=asked, status=status, request_id=request_id)
    return StripeRefused(
        code=error.code or type(error).__name__,
        message=said,
        param=str(getattr(error, "param", None) or ""),
        status=status,
        request_id=request_id,
    )


def retrieve(path: str, *, expand: tuple[str, ...] = ()) -> StripeDict:
    """The current state of one object."""
    return request("get", path, {"expand": list(expand)} if expand else None).data


def sdk_object(path: str) -> stripe.StripeObject:
    """The current state of one object as the SDK's own type, which dj-stripe asks for. Raises as `request` does."""
    return client().deserialize(_call("get", path, {}), api_mode="V1")


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
