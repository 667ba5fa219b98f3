"""
dj-stripe's tables, kept as a mirror for reading (DESIGN §10): rebuildable, never a source, on a queue of its own.

dj-stripe fetches unknown related objects inside a transaction. This is the declared exception to "the network is
outside": no row of ours is touched there, and its calls time out quickly.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import stripe
from django.conf import settings
from django.db import connection
from django.utils.module_loading import import_string
from djstripe import models as djstripe_models
from djstripe.models.base import StripeModel

from billing.stripe import budget, gateway, inbox
from billing.stripe.errors import StripeForbidden, StripeRefused, StripeUnavailable
from billing.stripe.models import InboxEvent

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of Stripe's objects that is mirrored: how its ids begin, where it is listed, dj-stripe's table."""

    prefix: str
    path: str
    model: type[StripeModel]
    filters: tuple[tuple[str, str], ...] = ()


# In the order in which they refer to each other, so that rebuilding finds what a row refers to. Payment methods have no
# list of their own at Stripe; those that customers and payments name are fetched with them.
KINDS: dict[str, Kind] = {
    "product": Kind("prod_", "/v1/products", djstripe_models.Product),
    "price": Kind("price_", "/v1/prices", djstripe_models.Price),
    "coupon": Kind("", "/v1/coupons", djstripe_models.Coupon),
    "promotion_code": Kind("promo_", "/v1/promotion_codes", djstripe_models.PromotionCode),
    "tax_rate": Kind("txr_", "/v1/tax_rates", djstripe_models.TaxRate),
    "customer": Kind("cus_", "/v1/customers", djstripe_models.Customer),
    "subscription": Kind("sub_", "/v1/subscriptions", djstripe_models.Subscription, (("status", "all"),)),
    "subscription_schedule": Kind("sub_sched_", "/v1/subscription_schedules", djstripe_models.SubscriptionSchedule),
    "invoice": Kind("in_", "/v1/invoices", djstripe_models.Invoice),
    "payment_intent": Kind("pi_", "/v1/payment_intents", djstripe_models.PaymentIntent),
    "charge": Kind("ch_", "/v1/charges", djstripe_models.Charge),
    "refund": Kind("re_", "/v1/refunds", djstripe_models.Refund),
    "dispute": Kind("du_", "/v1/disputes", djstripe_models.Dispute),
    "payout": Kind("po_", "/v1/payouts", djstripe_models.Payout),
    "balance_transaction": Kind("txn_", "/v1/balance_transactions", djstripe_models.BalanceTransaction),
    "setup_intent": Kind("seti_", "/v1/setup_intents", djstripe_models.SetupIntent),
}
_LOCK = "SELECT pg_advisory_lock(hashtextextended('mirror', 0))"
_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('mirror', 0))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended('mirror', 0))"


@contextmanager
def alone(*, waiting: bool) -> Iterator[bool]:
    """
    Yields whether nobody else writes the mirror meanwhile; `waiting` says whether to wait for that.

    What is fetched is saved before anybody else fetches, so an older state never overwrites a newer one: dj-stripe
    itself does not look. A lock of the session, because dj-stripe calls Stripe between its own transactions.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LOCK if waiting else _TRY_LOCK)
        is_ours = waiting or bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours:
            with connection.cursor() as cursor:
                cursor.execute(_UNLOCK)


def _configured_account(
    cls: type[StripeModel], data: object, api_key: str | None = None, livemode: bool | None = None
) -> djstripe_models.Account | None:
    """
    The owner of every mirrored row: the one account of the settings.

    dj-stripe would ask Stripe for the account of the key and store the secret key itself in a table.
    """
    return djstripe_models.Account.objects.order_by("djstripe_id").first()


def install() -> None:
    """
    Keep the secret key out of the database, and dj-stripe's own calls short and within the budget.

    Said twice it changes nothing.
    """
    StripeModel._find_owner_account = classmethod(_configured_account)
    if settings.STRIPE_API_BASE:
        stripe.api_base = settings.STRIPE_API_BASE
    if stripe.default_http_client is None:
        stripe.default_http_client = _taking_turns(import_string(settings.STRIPE_HTTP_CLIENT))(timeout=TIMEOUT_SECONDS)


def _taking_turns(client: type[stripe.HTTPClient]) -> Callable[..., stripe.HTTPClient]:
    """A client of which each request is bulk work of the shared budget, as those of our gateway are."""

    def request(self: stripe.HTTPClient, *args: Any, **options: Any) -> Any:
        budget.wait_for_turn(is_bulk=True)
        return client.request(self, *args, **options)

    return type(f"{client.__name__}TakingTurns", (client,), {"request": request})


def ensure_account() -> djstripe_models.Account:
    """The row of our own Stripe account, fetched once. A restricted key may not read it: then a row with a fixed id."""
    install()
    known = djstripe_models.Account.objects.order_by("djstripe_id").first()
    if known is not None:
        return known
    data: dict[str, Any]
    try:
        data = gateway.retrieve("/v1/account")
    except StripeForbidden as forbidden:
        data = {"id": forbidden.account or "acct_configured", "object": "account"}
    except StripeRefused:
        data = {"id": "acct_configured", "object": "account"}
    account, _ = djstripe_models.Account.objects.get_or_create(
        id=data["id"], defaults={"livemode": settings.STRIPE_LIVE_MODE, "stripe_data": data}
    )
    return account


def refresh(*, now: datetime, limit: int) -> int:
    """
    Fetch and mirror each object of events not mirrored yet, once however many events it had; return how many objects.

    An object that cannot be mirrored, or is of a kind that the key may not read, is logged and left: the next event
    about it tries again, and rebuilding finds it. They would take the places of all others. Nothing is done while
    somebody else writes the mirror: the next run does it.
    """
    events = InboxEvent.objects.filter(mirrored_at=None).order_by("received_at")
    waiting: dict[tuple[str, str], list[str]] = {}
    for event in events.only("event_id", "payload")[: limit * inbox.EVENTS_PER_OBJECT_GUESS]:
        waiting.setdefault(_object_of(event.payload), []).append(event.pk)
    if not waiting:
        return 0
    ensure_account()
    chosen = list(waiting.items())[:limit]
    with alone(waiting=False) as is_ours:
        if not is_ours:
            return 0
        forbidden: set[str] = set()
        for (object_type, object_id), event_ids in chosen:
            if object_type in forbidden or _mirror(object_type, object_id, forbidden):
                inbox.mark_mirrored(event_ids=event_ids, now=now)
    return len(chosen)


def _object_of(event: dict[str, Any] | None) -> tuple[str, str]:
    """Type and id of what an event is about; nothing where there is nothing to mirror."""
    if event is None:
        return "", ""
    if inbox.is_thin(event):
        related = event.get("related_object") or {}
        return str(related.get("type")), str(related.get("id"))
    thing = event["data"]["object"]
    return str(thing.get("object")), str(thing.get("id"))


def _mirror(object_type: str, object_id: str, forbidden: set[str]) -> bool:
    """
    Mirror one object. False only when Stripe could not be asked, so that it is tried again.

    A kind that the key may not read is added to `forbidden`.
    """
    kind = KINDS.get(object_type)
    if kind is None:
        return True
    try:
        save(kind, gateway.sdk_object(f"{kind.path}/{object_id}"))
    except StripeForbidden as failure:
        forbidden.add(object_type)
        logger.warning("nothing of kind %s is mirrored: %s", object_type, failure)
    except StripeUnavailable:
        return False
    except Exception:
        logger.warning("dj-stripe could not mirror %s", object_id, exc_info=True)
    return True


def save(kind: Kind, data: stripe.StripeObject) -> None:
    """Write one fetched object into dj-stripe's table. Call it within `alone`."""
    if kind.model is djstripe_models.Subscription and data["default_tax_rates"] is None:
        data["default_tax_rates"] = []  # may be null by Stripe's document; dj-stripe goes through it as a list
    kind.model.sync_from_stripe_data(data, api_key=settings.STRIPE_SECRET_KEY)


def row_of(object_id: str) -> StripeModel | None:
    """What the mirror holds of an object, told by how its id begins."""
    fitting = [kind for kind in KINDS.values() if kind.prefix and object_id.startswith(kind.prefix)]
    for kind in sorted(fitting, key=lambda kind: -len(kind.prefix)):
        found: StripeModel | None = kind.model.objects.filter(id=object_id).first()
        if found is not None:
            return found
    return None
