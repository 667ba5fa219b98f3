"""The address at which Stripe reaches us: made at Stripe, known here as dj-stripe's row."""

import uuid

from django.conf import settings
from djstripe.models import WebhookEndpoint

from billing.stripe import gateway, mirror
from billing.stripe.gateway import StripeDict
from billing.stripe.projection import ENABLED_EVENTS, ENABLED_THIN_EVENTS

PATH = "/v1/webhook_endpoints"
DESTINATIONS_PATH = "/v2/core/event_destinations"


def set_up_endpoint(*, base_url: str) -> WebhookEndpoint:
    """
    Make the webhook endpoint below `base_url` at Stripe and store its secret. Said twice it is brought up to date.

    Its uuid is made from the address, so a repeat finds what an interrupted run left. Stripe tells the secret only when
    it makes the endpoint: one whose secret was lost on the way here could verify nothing, and is made anew.
    Raises StripeUnavailable and StripeRefused.
    """
    mirror.ensure_account()
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, base_url.rstrip("/")))
    known = WebhookEndpoint.objects.filter(djstripe_uuid=identity).exclude(secret="").first()
    at_stripe = _found(identity)
    if known is not None and at_stripe is not None and known.id == at_stripe["id"]:
        return _store(_updated(at_stripe))
    if at_stripe is not None:
        gateway.request("delete", f"{PATH}/{at_stripe['id']}")
    WebhookEndpoint.objects.filter(djstripe_uuid=identity).delete()
    return _store(_created(identity, f"{base_url.rstrip('/')}/stripe/webhook/{identity}/"))


def set_up_destination(*, base_url: str) -> WebhookEndpoint:
    """
    Make the event destination for thin events (API v2) below `base_url`, at an address of its own with a secret of its
    own. Said twice it changes nothing; one whose secret was lost is made anew.

    Raises StripeUnavailable and StripeRefused.
    """
    mirror.ensure_account()
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{base_url.rstrip('/')}#thin"))
    known = WebhookEndpoint.objects.filter(djstripe_uuid=identity).exclude(secret="").first()
    at_stripe = _found_destination(identity)
    if known is not None and at_stripe is not None and known.id == at_stripe["id"]:
        if sorted(at_stripe["enabled_events"]) != sorted(ENABLED_THIN_EVENTS):
            change = {"enabled_events": list(ENABLED_THIN_EVENTS)}
            at_stripe = gateway.request("post", f"{DESTINATIONS_PATH}/{at_stripe['id']}", change).data
        return _store_destination(at_stripe, identity=identity, url=known.url, secret=known.secret)
    if at_stripe is not None:
        gateway.request("delete", f"{DESTINATIONS_PATH}/{at_stripe['id']}")
    WebhookEndpoint.objects.filter(djstripe_uuid=identity).delete()
    url = f"{base_url.rstrip('/')}/stripe/webhook/{identity}/"
    wanted = {
        "name": "Boring Billing, thin events",
        "type": "webhook_endpoint",
        "event_payload": "thin",
        "enabled_events": list(ENABLED_THIN_EVENTS),
        "webhook_endpoint": {"url": url},
        "metadata": {"djstripe_uuid": identity},
        "include": ["webhook_endpoint.signing_secret", "webhook_endpoint.url"],
    }
    made = gateway.request("post", DESTINATIONS_PATH, wanted).data
    secret = made["webhook_endpoint"]["signing_secret"]
    return _store_destination(made, identity=identity, url=url, secret=secret)


def _found_destination(identity: str) -> StripeDict | None:
    page = gateway.request("get", DESTINATIONS_PATH, {"limit": gateway.PAGE_SIZE_MAX}).data
    while True:
        for one in page["data"]:
            if (one.get("metadata") or {}).get("djstripe_uuid") == identity:
                found: StripeDict = one
                return found
        if not page.get("next_page_url"):
            return None
        page = gateway.request("get", page["next_page_url"]).data


def _store_destination(destination: StripeDict, *, identity: str, url: str, secret: str) -> WebhookEndpoint:
    """The row that dj-stripe's signature check reads; the secret in its own column only."""
    shown = {**destination, "webhook_endpoint": {"url": url}}
    row, _ = WebhookEndpoint.objects.update_or_create(
        id=destination["id"],
        defaults={
            "djstripe_uuid": identity,
            "url": url,
            "secret": secret,
            "livemode": bool(destination["livemode"]),
            "status": destination["status"],
            "enabled_events": list(destination["enabled_events"]),
            "stripe_data": shown,
        },
    )
    return row


def _found(identity: str) -> StripeDict | None:
    endpoints = gateway.listed(PATH)
    return next((one for one in endpoints if one["metadata"].get("djstripe_uuid") == identity), None)


def _created(identity: str, url: str) -> StripeDict:
    params = {
        "url": url,
        "enabled_events": list(ENABLED_EVENTS),
        "api_version": settings.STRIPE_API_VERSION,
        "metadata": {"djstripe_uuid": identity},
    }
    return gateway.request("post", PATH, params).data


def _updated(at_stripe: StripeDict) -> StripeDict:
    """Stripe's object, with the events this version of the code follows."""
    if sorted(at_stripe["enabled_events"]) == sorted(ENABLED_EVENTS):
        return at_stripe
    return gateway.request("post", f"{PATH}/{at_stripe['id']}", {"enabled_events": list(ENABLED_EVENTS)}).data


def _store(endpoint: StripeDict) -> WebhookEndpoint:
    """dj-stripe's row; the secret stays in its own column and is not kept a second time among the raw data."""
    WebhookEndpoint.sync_from_stripe_data(endpoint, api_key=settings.STRIPE_SECRET_KEY)
    WebhookEndpoint.objects.filter(id=endpoint["id"]).update(
        stripe_data={name: value for name, value in endpoint.items() if name != "secret"}
    )
    return WebhookEndpoint.objects.get(id=endpoint["id"])
