"""
dj-stripe's tables, kept as a mirror for reading (DESIGN §10): rebuildable, never a source, on a queue of its own.

dj-stripe fetches unknown related objects inside a transaction. This is the declared exception to "the network is
outside": no row of ours is touched there, and its calls time out quickly.
"""

import logging
from datetime import datetime
from typing import Any

import stripe
from django.conf import settings
from django.utils.module_loading import import_string
from djstripe import models as djstripe_models
from djstripe.models.base import StripeModel

from billing.stripe import gateway, inbox
from billing.stripe.errors import StripeRefused, StripeUnavailable
from billing.stripe.models import InboxEvent

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10
_PATHS: dict[str, tuple[str, type[StripeModel]]] = {
    "customer": ("/v1/customers/{id}", djstripe_models.Customer),
    "subscription": ("/v1/subscriptions/{id}", djstripe_models.Subscription),
    "invoice": ("/v1/invoices/{id}", djstripe_models.Invoice),
    "product": ("/v1/products/{id}", djstripe_models.Product),
    "price": ("/v1/prices/{id}", djstripe_models.Price),
    "payment_intent": ("/v1/payment_intents/{id}", djstripe_models.PaymentIntent),
    "charge": ("/v1/charges/{id}", djstripe_models.Charge),
    "refund": ("/v1/refunds/{id}", djstripe_models.Refund),
    "payout": ("/v1/payouts/{id}", djstripe_models.Payout),
}


def _configured_account(
    cls: type[StripeModel], data: object, api_key: str | None = None, livemode: bool | None = None
) -> djstripe_models.Account | None:
    """
    The owner of every mirrored row: the one account of the settings.

    dj-stripe would ask Stripe for the account of the key and store the secret key itself in a table.
    """
    return djstripe_models.Account.objects.order_by("djstripe_id").first()


def install() -> None:
    """Keep the secret key out of the database, and dj-stripe's own calls short. Said twice it changes nothing."""
    StripeModel._find_owner_account = classmethod(_configured_account)
    if settings.STRIPE_API_BASE:
        stripe.api_base = settings.STRIPE_API_BASE
    if stripe.default_http_client is None:
        stripe.default_http_client = import_string(settings.STRIPE_HTTP_CLIENT)(timeout=TIMEOUT_SECONDS)


def ensure_account() -> djstripe_models.Account:
    """The row of our own Stripe account, fetched once. A restricted key may not read it: then a row with a fixed id."""
    install()
    known = djstripe_models.Account.objects.order_by("djstripe_id").first()
    if known is not None:
        return known
    data: dict[str, Any]
    try:
        data = gateway.retrieve("/v1/account")
    except StripeRefused:
        data = {"id": "acct_configured", "object": "account"}
    account, _ = djstripe_models.Account.objects.get_or_create(
        id=data["id"], defaults={"livemode": settings.STRIPE_LIVE_MODE, "stripe_data": data}
    )
    return account


def refresh(*, now: datetime, limit: int) -> int:
    """
    Fetch and mirror each object of events not mirrored yet, once however many events it had; return how many objects.

    An object that cannot be mirrored is logged and left: the next event about it tries again.
    """
    events = InboxEvent.objects.filter(mirrored_at=None).order_by("received_at")
    waiting: dict[tuple[str, str], list[str]] = {}
    for event in events.only("event_id", "payload")[: limit * inbox.EVENTS_PER_OBJECT_GUESS]:
        thing = event.payload["data"]["object"]
        waiting.setdefault((str(thing.get("object")), str(thing.get("id"))), []).append(event.pk)
    if waiting:
        ensure_account()
    chosen = list(waiting.items())[:limit]
    for (object_type, object_id), event_ids in chosen:
        if not _mirror(object_type, object_id):
            continue
        inbox.mark_mirrored(event_ids=event_ids, now=now)
    return len(chosen)


def _mirror(object_type: str, object_id: str) -> bool:
    """Mirror one object. False only when Stripe could not be asked, so that it is tried again."""
    if object_type not in _PATHS:
        return True
    path, model = _PATHS[object_type]
    try:
        data = gateway.sdk_object(path.format(id=object_id))
        if object_type == "subscription" and data["default_tax_rates"] is None:
            data["default_tax_rates"] = []  # may be null by Stripe's document; dj-stripe goes through it as a list
        model.sync_from_stripe_data(data, api_key=settings.STRIPE_SECRET_KEY)
    except StripeUnavailable:
        return False
    except Exception:
        logger.warning("dj-stripe could not mirror %s", object_id, exc_info=True)
    return True
