"""Thin events of API v2: signed as others are, stored, what they name fetched; unknown types are ignored visibly."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from djstripe.models import WebhookEndpoint

from billing.payments.models import Refund
from billing.stripe import gateway, poll
from billing.stripe.endpoints import set_up_destination
from billing.stripe.models import InboxEvent
from billing.stripe.projection import ENABLED_THIN_EVENTS, process_event
from tests.billing.accounting.stripe_story import post, subscribed
from tests.billing.stripe.test_webhooks import URL
from tests.billing.stripe.test_webhooks import post as deliver
from tests.billing.thread import Thread, sign


def thin(event_type: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": "evt_test_1",
        "object": "v2.core.event",
        "type": event_type,
        "created": "2026-10-01T00:00:00.000Z",
        "livemode": False,
        "related_object": None,
    } | changes


def take(thread: Thread, event: dict[str, Any]) -> InboxEvent:
    assert deliver(json.dumps(event)).status_code == 200
    for _ in range(2):
        thread.now += timedelta(minutes=1)
        process_event(event_id=event["id"], now=thread.now)
    return InboxEvent.objects.get(pk=event["id"])


def report(thread: Thread) -> dict[str, Any]:
    """Stripe was sent usage of a customer that it does not know."""
    meter = post(
        "/v1/billing/meters",
        display_name="Tokens",
        event_name="tokens",
        default_aggregation={"formula": "sum"},
    )
    post("/v1/billing/meter_events", event_name="tokens", payload={"stripe_customer_id": "cus_nobody", "value": "1"})
    assert meter["id"]
    (event,) = gateway.request("get", "/v2/core/events").data["data"]
    return {name: value for name, value in event.items() if name not in ("data", "changes")}


def test_a_report_is_stored_with_what_it_says_and_the_meter_it_names(thread: Thread) -> None:
    event = report(thread)

    stored = take(thread, event)

    assert (stored.state, stored.outcome, stored.object_id) == ("done", "projected", event["related_object"]["id"])
    assert stored.detail is not None
    assert stored.detail["event"]["data"]["reason"]["error_count"] == 1
    assert stored.detail["related_object"]["event_name"] == "tokens"


def test_one_that_was_never_delivered_is_found_by_polling(thread: Thread) -> None:
    event = report(thread)

    assert poll.fetch_missed_thin_events(now=thread.now) == [event["id"]]
    assert poll.fetch_missed_thin_events(now=thread.now) == []
    assert InboxEvent.objects.get(pk=event["id"]).source == "poll"


def test_an_unknown_type_is_ignored_visibly(thread: Thread) -> None:
    stored = take(thread, thin("v2.money_management.adjustment.created"))

    assert (stored.state, stored.outcome) == ("done", "ignored")
    assert stored.get_outcome_display().startswith("Not followed")


def test_one_of_a_part_queues_up_behind_the_whole(thread: Thread) -> None:
    """A refund is a part of a payment; the event names only the refund."""
    payment = subscribed(thread)
    refund = post("/v1/refunds", charge=payment.stripe_charge_id, amount=500)
    related = {"id": refund["id"], "type": "refund", "url": f"/v1/refunds/{refund['id']}"}

    stored = take(thread, thin("v1.refund.created", related_object=related))

    assert (stored.object_id, stored.state, stored.outcome) == (payment.stripe_payment_intent_id, "done", "projected")
    assert Refund.objects.get().amount_minor == 500


@pytest.mark.parametrize("created", ["2026-10-01T00:00:00", "yesterday", 1_790_000_000, None])
def test_a_time_that_is_none_is_refused(thread: Thread, created: object) -> None:
    assert deliver(json.dumps(thin("v1.invoice.paid", created=created))).status_code == 400
    assert InboxEvent.objects.count() == 0


def test_the_destination_has_an_address_and_a_secret_of_its_own(thread: Thread) -> None:
    first = set_up_destination(base_url="https://billing.example.com")
    again = set_up_destination(base_url="https://billing.example.com/")

    assert (again.id, again.secret) == (first.id, first.secret)
    assert first.secret.startswith("whsec_")
    assert first.secret not in json.dumps(first.stripe_data)
    assert sorted(first.enabled_events) == sorted(ENABLED_THIN_EVENTS)
    body = json.dumps(thin("v1.billing.meter.no_meter_found"))
    address = f"/stripe/webhook/{first.djstripe_uuid}/"
    assert address != URL

    def answer(secret: str) -> int:
        headers = {"Stripe-Signature": sign(body, secret=secret)}
        return Client().post(address, data=body, content_type="application/json", headers=headers).status_code

    assert answer("whsec_other") == 400
    assert answer(first.secret) == 200


def test_a_destination_whose_secret_was_lost_is_made_anew(thread: Thread) -> None:
    lost = set_up_destination(base_url="https://billing.example.com")
    WebhookEndpoint.objects.filter(id=lost.id).delete()

    found = set_up_destination(base_url="https://billing.example.com")

    assert found.id != lost.id
    listed = gateway.request("get", "/v2/core/event_destinations").data["data"]
    assert [one["id"] for one in listed] == [found.id]
