"""Webhooks: signed so that Stripe's own code accepts them, in order, filtered, tried again; and their faults."""

import threading
import time

import pytest
import stripe

from tests.sandbox.client import SandboxFailed, SandboxProcess
from tests.sandbox.posting import signature_header
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.receiver import Receiver


def test_events_arrive_signed_valid_and_in_order(account: Account, receiver: Receiver, sandbox: SandboxProcess) -> None:
    account.subscription(account.customer())
    sandbox.advance("2026-11-01T01:00:00Z")
    sandbox.wait_until_idle()

    listed = [event.id for event in account.api.events.list({"limit": 100}).auto_paging_iter()][::-1]
    assert [event.id for event in receiver.received][-len(listed) :] == listed
    assert receiver.types[-1] == "invoice.payment_succeeded"


def test_signature_is_of_this_body_and_this_secret(
    account: Account, receiver: Receiver, sandbox: SandboxProcess
) -> None:
    account.api.customers.create()
    sandbox.wait_until_idle()
    [(body, signature)] = receiver.bodies

    for changed, secret in ((body + b" ", receiver.secret), (body, "whsec_other")):
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(changed, signature, secret)
    with pytest.raises(stripe.SignatureVerificationError):  # the time is signed, too
        stripe.Webhook.construct_event(body, signature.replace("t=", "t=1"), receiver.secret)


def test_an_old_signature_is_refused_by_the_tolerance() -> None:
    body, secret, now = b'{"object": "event"}', "whsec_x", int(time.time())
    old, fresh = (signature_header(body, secret, at=now - age) for age in (301, 290))

    assert stripe.Webhook.construct_event(body, fresh, secret).object == "event"
    with pytest.raises(stripe.SignatureVerificationError, match="outside the tolerance zone"):
        stripe.Webhook.construct_event(body, old, secret)
    assert stripe.Webhook.construct_event(body, old, secret, tolerance=400).object == "event"


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
    sandbox.wait_until_idle(timeout_seconds=60)

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
    sandbox.wait_until_idle(timeout_seconds=60)

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


def test_reordered_event_waits_for_as_many_as_said(
    account: Account, receiver: Receiver, sandbox: SandboxProcess
) -> None:
    sandbox.fault(event=r"customer\.created", mode="reorder", places=3, seconds=30)
    customer = account.api.customers.create()
    for name in "abcd":
        account.api.customers.update(customer.id, {"name": name})
    sandbox.wait_until_idle(timeout_seconds=60)

    assert receiver.types == [*["customer.updated"] * 3, "customer.created", "customer.updated"]


def test_bad_signature_is_refused_and_sent_again_with_a_good_one(
    account: Account, receiver: Receiver, sandbox: SandboxProcess
) -> None:
    sandbox.fault(event=r"customer\.created", mode="bad_signature")
    account.api.customers.create()
    sandbox.wait_until_idle()

    assert len(receiver.refused) == 1
    assert receiver.types == ["customer.created"]
    [delivery] = sandbox.deliveries()
    assert [attempt["status"] for attempt in delivery["attempts"]] == [400, 200]


def test_duplicate_at_once_is_two_requests_at_the_same_time(
    account: Account, receiver: Receiver, sandbox: SandboxProcess
) -> None:
    meeting = threading.Barrier(2)

    def answer(event: stripe.Event) -> int:
        meeting.wait(timeout=60)  # nobody gets on before both are here
        return 200

    receiver.answer = answer
    sandbox.fault(event=r"customer\.created", mode="duplicate_at_once")
    account.api.customers.create()
    sandbox.wait_until_idle(timeout_seconds=60)

    first, twin = receiver.received
    assert first.id == twin.id


def test_the_same_seed_drops_the_same_events(account: Account, receiver: Receiver, sandbox: SandboxProcess) -> None:
    found = []
    for seed in (3, 3, 4):
        sandbox.clear_faults()
        sandbox.fault(event=r"customer\.created", mode="drop", probability="1/2", seed=seed, times=None)
        customers = [account.api.customers.create().id for _ in range(16)]
        sandbox.wait_until_idle()
        arrived = {event.data.object["id"] for event in receiver.received}
        found.append([customer in arrived for customer in customers])

    assert found[0] == found[1] != found[2]


def test_pending_webhooks_fall_to_none(account: Account, receiver: Receiver, sandbox: SandboxProcess) -> None:
    other = account.api.webhook_endpoints.create(
        {"url": "http://127.0.0.1:9/nobody", "enabled_events": ["product.created"]}
    )
    account.api.customers.create()
    account.api.products.create({"name": "x"})
    receiver.wait_for(2)

    def pending() -> dict[str, int]:
        return {event.type: event.pending_webhooks for event in account.api.events.list().data}

    deadline = time.monotonic() + 60
    while pending() != {"customer.created": 0, "product.created": 1}:
        assert time.monotonic() < deadline, pending()
        time.sleep(0.02)
    assert [event.type for event in account.api.events.list({"delivery_success": True}).data] == ["customer.created"]
    assert [event.type for event in account.api.events.list({"delivery_success": False}).data] == ["product.created"]
    account.api.webhook_endpoints.delete(other.id)
    sandbox.wait_until_idle()


def test_a_duplicate_counts_once(account: Account, receiver: Receiver, sandbox: SandboxProcess) -> None:
    account.api.webhook_endpoints.create({"url": "http://127.0.0.1:9/nobody", "enabled_events": ["*"]})
    sandbox.fault(event=r"customer\.created", mode="duplicate")
    account.api.customers.create()
    receiver.wait_for(2)

    assert account.api.events.list().data[0].pending_webhooks == 1


def test_resend(account: Account, receiver: Receiver, sandbox: SandboxProcess) -> None:
    account.api.customers.create()
    sandbox.wait_until_idle()
    [event] = receiver.received

    assert sandbox.resend(event.id) == 1
    sandbox.wait_until_idle()

    assert [again.id for again in receiver.received] == [event.id, event.id]
    with pytest.raises(SandboxFailed, match="there is no evt_none"):
        sandbox.resend("evt_none")


class TestEndpoints:
    EVENTS = ("customer.created",)

    def create(self, account: Account, **parameters: object) -> stripe.WebhookEndpoint:
        made: stripe.WebhookEndpoint = account.unchecked.webhook_endpoints.create(
            {"url": "http://127.0.0.1:9/x", "enabled_events": list(self.EVENTS), **parameters}
        )
        return made

    def test_carries_what_it_was_made_with(self, account: Account) -> None:
        made = self.create(account, metadata={"a": "1"}, description="Ours", api_version="2026-08-26.dahlia")

        assert (made.status, made.description, made.api_version) == ("enabled", "Ours", "2026-08-26.dahlia")
        assert made.metadata.to_dict() == {"a": "1"}
        assert made.application is None
        changed = account.api.webhook_endpoints.update(
            made.id, {"metadata": {"a": "", "b": "2"}, "description": "", "disabled": True}
        )
        assert (changed.status, changed.description, changed.metadata.to_dict()) == ("disabled", None, {"b": "2"})

    @pytest.mark.parametrize(
        ("parameters", "param"),
        [({"connect": True}, "connect"), ({"api_version": "2026-07-29.dahlia"}, "api_version")],
    )
    def test_what_is_left_out_is_refused_by_name(
        self, account: Account, parameters: dict[str, object], param: str
    ) -> None:
        with pytest.raises(stripe.InvalidRequestError, match="sandbox does not implement") as refusal:
            self.create(account, **parameters)

        assert refusal.value.param == param

    @pytest.mark.parametrize("url", ["example.com/x", "ftp://example.com", "http://"])
    def test_an_address_without_a_scheme_is_refused(self, account: Account, url: str) -> None:
        with pytest.raises(stripe.InvalidRequestError, match="Invalid URL") as refusal:
            self.create(account, url=url)

        assert (refusal.value.code, refusal.value.param) == ("url_invalid", "url")

    def test_there_are_16_at_most(self, account: Account) -> None:
        for _ in range(16):
            self.create(account)

        with pytest.raises(stripe.InvalidRequestError, match="maximum of 16"):
            self.create(account)
