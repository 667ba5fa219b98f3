"""What is posted where: which endpoint wants which event, the body, and the signature under it."""

import hashlib
import hmac
import time

import msgspec
import urllib3

from tests.sandbox.core.store import StripeObject

EVENT, THIN_EVENT = "event", "v2.core.event"
ENDPOINT, DESTINATION = "webhook_endpoint", "v2.core.event_destination"
PING = "v2.core.event_destination.ping"  # goes to the destination that it is about, asked for or not
LEFT_OUT_OF_THIN = frozenset({"data", "changes"})
ATTEMPT_TIMEOUT_SECONDS = 20.0


def wants(endpoint: StripeObject, event: StripeObject) -> bool:
    """Webhook endpoints get the events of /v1; an event destination those of /v2, or snapshots of /v1's."""
    payload = "snapshot" if event["object"] == EVENT else "thin"
    if endpoint["status"] != "enabled" or endpoint.get("event_payload", "snapshot") != payload:
        return False
    if event["type"] == PING:
        return bool(event["related_object"]["id"] == endpoint["id"])
    return "*" in endpoint["enabled_events"] or event["type"] in endpoint["enabled_events"]


def url_of(endpoint: StripeObject) -> str:
    return str(endpoint["url"] if endpoint["object"] == ENDPOINT else endpoint["webhook_endpoint"]["url"])


def body_of(event: StripeObject) -> bytes:
    """The event. Of a thin one only what happened to whom: its data are fetched."""
    if event["object"] == EVENT:
        return msgspec.json.encode(event)
    return msgspec.json.encode({name: value for name, value in event.items() if name not in LEFT_OUT_OF_THIN})


def names(event: StripeObject, object_id: str) -> bool:
    """Whether the event has the object's id anywhere."""
    return f'"{object_id}"'.encode() in msgspec.json.encode(event)


def post(http: urllib3.PoolManager, url: str, body: bytes, secret: str) -> tuple[int | None, str | None]:
    """Send a signed body: the status of the answer, if there was one, and what went wrong, if anything did."""
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": signature_header(body, secret, at=int(time.time())),
    }
    try:
        answer = http.request("POST", url, body=body, headers=headers, timeout=ATTEMPT_TIMEOUT_SECONDS, redirect=False)
    except urllib3.exceptions.HTTPError as error:
        return None, f"{type(error).__name__}: {error}"[:300]
    return answer.status, None if 200 <= answer.status < 300 else answer.data[:300].decode(errors="replace")


def signature_header(body: bytes, secret: str, *, at: int) -> str:
    """Stripe's `t=…,v1=…`: HMAC-SHA256 of "<t>.<body>". `at` is real time, which receivers compare with theirs."""
    signed = f"{at}.".encode() + body
    return f"t={at},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"
