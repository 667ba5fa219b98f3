"""The address Stripe posts to: verify, store once, answer. Nothing else happens here (DESIGN §10)."""

import json
from datetime import datetime
from uuid import UUID

import stripe
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from djstripe.models import WebhookEndpoint
from djstripe.views import ProcessWebhookView
from kombu.exceptions import OperationalError

from billing.stripe import inbox
from billing.stripe.gateway import StripeDict
from billing.stripe.tasks import task_process_event
from config import clock

# Stripe's largest events are invoices with their first lines: some hundred KB.
BODY_BYTES_MAX = 1024 * 1024


class BadWebhook(Exception):
    """The request is not an event of the endpoint's Stripe account; its text is the answer."""

    def __init__(self, problem: str, *, status: int = 400) -> None:
        super().__init__(problem)
        self.problem = problem
        self.status = status


class InboxWebhookView(ProcessWebhookView):
    """dj-stripe's endpoint rows and signature check, without its work inside the request."""

    def post(self, request: HttpRequest, uuid: UUID) -> HttpResponse:
        """Answer 200 once the event is committed. Stripe sends anything else again for up to three days."""
        endpoint = WebhookEndpoint.objects.filter(djstripe_uuid=uuid).first()
        if endpoint is None:
            return HttpResponse("No such webhook endpoint.", status=404, content_type="text/plain")
        try:
            body = _body_of(request)
            event = _verified_event(request, body, endpoint)
            needs_worker = _stored(event, body, received_at=clock.now())
        except BadWebhook as bad:
            return HttpResponse(bad.problem, status=bad.status, content_type="text/plain")
        if needs_worker:
            _hand_over(str(event["id"]))
        return HttpResponse(status=200)


def _body_of(request: HttpRequest) -> str:
    try:
        declared = int(request.headers.get("Content-Length") or 0)
    except ValueError:
        raise BadWebhook("Content-Length is not a number.") from None
    if declared > BODY_BYTES_MAX:
        raise BadWebhook(f"An event may have {BODY_BYTES_MAX} bytes.", status=413)
    content = request.read(BODY_BYTES_MAX + 1)
    if len(content) > BODY_BYTES_MAX:
        raise BadWebhook(f"An event may have {BODY_BYTES_MAX} bytes.", status=413)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise BadWebhook("The body is not UTF-8.") from None


def _verified_event(request: HttpRequest, body: str, endpoint: WebhookEndpoint) -> StripeDict:
    """The event, once its signature, age and shape are proved. Raises BadWebhook."""
    signature = request.headers.get("Stripe-Signature", "")
    try:
        stripe.WebhookSignature.verify_header(body, signature, endpoint.secret, endpoint.djstripe_tolerance)
    except stripe.SignatureVerificationError:
        raise BadWebhook("The signature does not match the body, or is too old.") from None
    except (TypeError, ValueError, OverflowError):  # the SDK on a header with odd characters or numbers
        raise BadWebhook("The Stripe-Signature header is malformed.") from None
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        raise BadWebhook("The body is not JSON.") from None
    if not isinstance(event, dict) or event.get("object") not in ("event", inbox.THIN):
        raise BadWebhook("The body is not an event of Stripe's API v1 or v2.")
    if event.get("livemode") is not endpoint.livemode:
        raise BadWebhook("Live and test mode do not mix: the event's livemode is not the endpoint's.")
    return event


def _stored(event: StripeDict, body: str, *, received_at: datetime) -> bool:
    try:
        return inbox.receive(event, body=body, source="webhook", received_at=received_at)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError):
        raise BadWebhook("The event lacks its id, type, livemode, created or object.") from None
    except DataError:  # a NUL character, a lone surrogate, an id of more characters than any has
        raise BadWebhook("The event holds characters or lengths that no event has.") from None


def _hand_over(event_id: str) -> None:
    """The broker only makes it quick: the sweeper finds what it loses, so its absence is no reason to refuse."""
    try:
        task_process_event.apply_async(kwargs={"event_id": event_id}, retry=False)
    except OperationalError:
        return
