"""The address Stripe posts to: what it takes, what it refuses, and that a refusal stores nothing."""

import json
import time
from typing import Any

import pytest
from djstripe.models import WebhookEndpoint, WebhookEventTrigger

from billing.stripe.models import InboxEvent
from billing.stripe.webhooks import BODY_BYTES_MAX
from tests.billing.thread import CLIENT, ENDPOINT_UUID, SECRET, sign

URL = f"/stripe/webhook/{ENDPOINT_UUID}/"
OTHER_URL = "/stripe/webhook/0f6a4f3e-6a7b-5a2c-9d1e-00000000ffff/"


@pytest.fixture(autouse=True)
def endpoint(committed_db: None, at_sandbox: object) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(
        id="we_tests",
        secret=SECRET,
        djstripe_uuid=ENDPOINT_UUID,
        livemode=False,
        enabled_events=["invoice.paid"],
        url="https://billing.example.com/",
        status="enabled",
    )


def event(**changes: Any) -> dict[str, Any]:
    return {
        "id": "evt_1",
        "object": "event",
        "type": "invoice.paid",
        "api_version": "2026-08-26.dahlia",
        "livemode": False,
        "created": 1_790_000_000,
        "data": {"object": {"id": "in_1", "object": "invoice"}},
    } | changes


def post(body: str | bytes, *, signature: str | None = None, url: str = URL, **headers: str) -> Any:
    text = body if isinstance(body, str) else body.decode("utf-8", "replace")
    headers["Stripe-Signature"] = sign(text) if signature is None else signature
    return CLIENT.post(url, data=body, content_type="application/json", headers=headers)


class TestTaken:
    def test_is_stored_once_and_answered_with_200(self) -> None:
        assert post(json.dumps(event())).status_code == 200

        stored = InboxEvent.objects.get()
        assert (stored.event_id, stored.type, stored.object_id) == ("evt_1", "invoice.paid", "in_1")
        assert (stored.payload, stored.deliveries, stored.source, stored.state) == (event(), 1, "webhook", "received")

    def test_a_second_delivery_is_counted_and_not_stored_again(self) -> None:
        answers = [post(json.dumps(event())).status_code for _ in range(3)]

        assert answers == [200, 200, 200]
        assert InboxEvent.objects.get().deliveries == 3

    def test_dj_stripes_own_record_of_requests_stays_empty(self) -> None:
        post(json.dumps(event()))
        post(json.dumps(event()), signature="t=1,v1=bad")

        assert WebhookEventTrigger.objects.count() == 0

    @pytest.mark.parametrize(
        ("thing", "object_id"),
        [
            ({"id": "ch_1", "object": "charge", "payment_intent": "pi_1"}, "pi_1"),
            ({"id": "ch_1", "object": "charge", "payment_intent": None}, "ch_1"),
            ({"id": "re_1", "object": "refund", "payment_intent": "pi_1"}, "pi_1"),
            ({"id": "du_1", "object": "dispute", "payment_intent": "pi_1"}, "pi_1"),
            ({"id": "du_1", "object": "dispute", "payment_intent": None}, "du_1"),
            ({"id": "inpay_1", "object": "invoice_payment", "payment": {"payment_intent": "pi_1"}}, "pi_1"),
            ({"object": "balance"}, "evt_1"),
        ],
    )
    def test_queues_up_behind_the_object_it_is_a_part_of(self, thing: dict[str, Any], object_id: str) -> None:
        assert post(json.dumps(event(data={"object": thing}))).status_code == 200

        assert InboxEvent.objects.get().object_id == object_id


def with_text(text: str) -> dict[str, Any]:
    return event(data={"object": {"id": "in_1", "description": text}})


def signed_long_ago() -> str:
    return sign(json.dumps(event()), timestamp=int(time.time()) - 301)


class TestRefused:
    @pytest.mark.parametrize(
        ("body", "signature", "says"),
        [
            pytest.param(json.dumps(event()), "", "signature", id="no signature"),
            pytest.param(json.dumps(event()), "t=1,v1=0", "signature", id="another signature"),
            pytest.param(json.dumps(event(id="evt_2")), sign(json.dumps(event())), "signature", id="changed body"),
            pytest.param(
                json.dumps(event()), sign(json.dumps(event()), secret="whsec_b"), "signature", id="other secret"
            ),
            pytest.param(json.dumps(event()), "t=soon,v1=é", "", id="odd characters"),
            pytest.param(json.dumps(event()), "t=" + "9" * 400 + ",v1=ab", "", id="huge timestamp"),
            pytest.param("{", None, "JSON", id="not JSON"),
            pytest.param("[" * 100_000, None, "JSON", id="too deep"),
            pytest.param("[]", None, "event", id="a list"),
            pytest.param(json.dumps(event(object="v2.core.thing")), None, "event", id="another object of API v2"),
            pytest.param(json.dumps(event(object="v2.core.event")), None, "lacks", id="thin, odd time"),
            pytest.param(json.dumps(event(livemode=True)), None, "Live and test", id="live event, test endpoint"),
            pytest.param(json.dumps(event(id="evt_\0")), None, "characters", id="NUL in the id"),
            pytest.param(json.dumps(with_text("\0")), None, "characters", id="NUL inside"),
            pytest.param(json.dumps(with_text("\ud800")), None, "characters", id="half a pair"),
            pytest.param(json.dumps(event(id="e" * 300)), None, "characters", id="endless id"),
            pytest.param(json.dumps(event(created="yesterday")), None, "lacks", id="no time"),
            pytest.param(json.dumps(event(created=10**30)), None, "lacks", id="a time beyond time"),
            pytest.param(json.dumps(event(data=None)), None, "lacks", id="no object"),
            pytest.param(json.dumps({"object": "event", "livemode": False}), None, "lacks", id="nothing"),
        ],
    )
    def test_with_400_and_nothing_is_stored(self, body: str, signature: str | None, says: str) -> None:
        answer = post(body, signature=signature)

        assert answer.status_code == 400
        assert answer["Content-Type"] == "text/plain"
        assert says in answer.content.decode()
        assert InboxEvent.objects.count() == 0

    def test_when_the_timestamp_is_older_than_the_tolerance(self) -> None:
        assert post(json.dumps(event()), signature=signed_long_ago()).status_code == 400
        assert InboxEvent.objects.count() == 0

    def test_when_it_is_not_utf8(self) -> None:
        answer = post(b"\xff\xfe{}")

        assert (answer.status_code, answer.content) == (400, b"The body is not UTF-8.")

    def test_with_404_at_an_unknown_address(self) -> None:
        assert post(json.dumps(event()), url=OTHER_URL).status_code == 404

    def test_with_413_above_the_size_limit(self) -> None:
        assert post(json.dumps(event(padding="x" * BODY_BYTES_MAX))).status_code == 413
        assert InboxEvent.objects.count() == 0

    def test_odd_headers_do_not_matter(self) -> None:
        body = json.dumps(event())

        assert post(body, **{"X-Forwarded-For": "unknown\0", "Cookie": "a=\xff"}).status_code == 200

    def test_the_caller_cannot_choose_the_secret(self, settings: Any) -> None:
        settings.DEBUG = True
        body = json.dumps(event())

        forged = post(body, signature=sign(body, secret="mine"), **{"X-Djstripe-Webhook-Secret": "mine"})

        assert forged.status_code == 400

    def test_an_endpoint_without_a_secret_takes_nothing(self, endpoint: WebhookEndpoint) -> None:
        WebhookEndpoint.objects.update(secret="")
        body = json.dumps(event())

        assert post(body, signature=sign(body, secret="")).status_code == 400
        assert post(body, signature=sign(body)).status_code == 400
