"""The address at which Stripe reaches us: made at Stripe, known here as dj-stripe's row."""

import uuid

from django.conf import settings
from djstripe.models import WebhookEndpoint

from billing.stripe import gateway, mirror
from billing.stripe.gateway import StripeDict
from billing.stripe.projection import ENABLED_EVENTS

PATH = "/v1/webhook_endpoints"


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
