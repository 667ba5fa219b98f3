"""Webhooks: signed so that Stripe's own code accepts them, in order, filtered, tried again; and their faults."""

import json

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.sandbox.conformance import Checker
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.receiver import Receiver


def test_events_arrive_signed_valid_and_in_order(account: Account, receiver: Receiver, sandbox: SandboxProcess) -> None:
    account.subscription(account.customer())
    sandbox.advance("2026-11-01T01:00:00Z")
    sandbox.wait_until_idle()

    listed = [event.id for event in account.api.events.list({"limit": 100}).auto_paging_iter()][::-1]
    assert [event.id for event in receiver.received][-len(listed) :] == listed
    assert receiver.types[-1] == "invoice.payment_succeeded"
    checker = Checker()
    sent = [json.loads(body) for body, _ in receiver.bodies]
    assert [problem for event in sent for problem in checker.object_problems(event)] == []


def test_signature_is_of_this_body_and_this_secret(
    account: Account, receiver: Receiver, sandbox: SandboxProcess
) -> None:
    account.api.customers.create()
    sandbox.wait_until_idle()
    [(body, signature)] = receiver.bodies

    for changed, secret in ((body + b" ", receiver.secret), (body, "whsec_other")):
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(changed, signature, secret)
    old = signature.replace("t=", "t=1")
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, old, receiver.secret)


def test_endpoint_gets_only_what_it_asked_for(account: Account, receiver: Receiver, sandbox: SandboxProcess) -> None:
    [endpoint] = account.api.webhook_endpoints.list().data
    account.api.webhook_endpoints.update(endpoint.id, {"enabled_events": ["product.created"]})
    account.api.customers.create()
    account.api.products.create({"name": "x"})
    sandbox.wait_until_idle()
    account.api.webhook_endpoints.update(endpoint.id, {"disabled": True})
    account.api.products.create({"name": "y"})
    sandbox.wait_until_idle()

    assert receiver.types == ["product.created"]


def test_secret_is_answered_once(account: Account, receiver: Receiver) -> None:
    [endpoint] = account.api.webhook_endpoints.list().data

    assert receiver.secret.startswith("whsec_")
    assert "secret" not in endpoint
    assert "secret" not in account.api.webhook_endpoints.retrieve(endpoint.id)


def test_refused_delivery_is_tried_again(account: Account, receiver: Receiver, sandbox: SandboxProcess) -> None:
    answers = iter([500, 404, 200])
    receiver.answer = lambda event: next(answers)

    account.api.customers.create()
    sandbox.wait_until_idle()

    assert receiver.types == ["customer.created"] * 3
    assert len({event.id for event in receiver.received}) == 1
    [delivery] = sandbox.deliveries()
    assert delivery["state"] == "delivered"
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 404, 200]
    assert account.api.events.list().data[0].pending_webhooks == 0


def test_receiver_may_call_back_while_it_handles_an_event(
    account: Account, receiver: Receiver, sandbox: SandboxProcess
) -> None:
    def answer(event: stripe.Event) -> int:
        account.api.customers.retrieve(event.data.object["id"])
        return 200

    receiver.answer = answer
    account.api.customers.create()
    sandbox.wait_until_idle(timeout_seconds=5)

    assert receiver.types == ["customer.created"]


def test_drop(account: Account, receiver: Receiver, sandbox: SandboxProcess) -> None:
    sandbox.fault(event=r"customer\.created", mode="drop")
    account.api.customers.create()
    account.api.products.create({"name": "x"})
    sandbox.wait_until_idle()

    assert receiver.types == ["product.created"]
    assert account.event_types() == ["customer.created", "product.created"]


def test_duplicate(account: Account, receiver: Receiver, sandbox: SandboxProcess) -> None:
    sandbox.fault(event=r"customer\.created", mode="duplicate")
    account.api.customers.create()
    account.api.customers.create()
    sandbox.wait_until_idle()

    first, twin, second = receiver.received
    assert first.id == twin.id != second.id


def test_delay(account: Account, receiver: Receiver, sandbox: SandboxProcess) -> None:
    sandbox.fault(event=r"customer\.created", mode="delay", seconds=0.3)
    account.api.customers.create()
    account.api.products.create({"name": "x"})
    receiver.wait_for(1)

    assert receiver.types == ["product.created"]
    assert not sandbox.is_idle()
    sandbox.wait_until_idle()
    assert receiver.types == ["product.created", "customer.created"]


def test_reorder(account: Account, receiver: Receiver, sandbox: SandboxProcess) -> None:
    sandbox.fault(event=r"invoice\.finalized", mode="reorder", seconds=30)
    account.api.invoices.pay(account.invoice(account.customer(), 1000).id)
    sandbox.wait_until_idle(timeout_seconds=5)

    place = receiver.types.index("invoice.finalized")
    assert receiver.types[place - 1] == "payment_intent.created"
    assert account.event_types().index("invoice.finalized") == place - 1


def test_reordered_event_that_nothing_overtakes_comes_at_last(
    account: Account, receiver: Receiver, sandbox: SandboxProcess
) -> None:
    sandbox.fault(event=r"customer\.created", mode="reorder", seconds=0.2)
    account.api.customers.create()
    sandbox.wait_until_idle()

    assert receiver.types == ["customer.created"]
