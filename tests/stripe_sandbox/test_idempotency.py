"""Idempotency keys: one effect, the first answer again, other parameters refused, a day of memory."""

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account


def test_repeat_gets_the_first_answer_and_has_no_effect(account: Account) -> None:
    first = account.api.customers.create({"name": "once"}, {"idempotency_key": "k1"})
    second = account.api.customers.create({"name": "once"}, {"idempotency_key": "k1"})

    assert second.id == first.id
    assert first.last_response is not None
    assert second.last_response is not None
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert second.last_response.headers["Idempotent-Replayed"] == "true"
    assert first.last_response.headers["Request-Id"] != second.last_response.headers["Request-Id"]
    assert len(account.api.customers.list().data) == 1
    assert account.event_types() == ["customer.created"]


def test_same_key_with_other_parameters_or_path(account: Account) -> None:
    account.api.customers.create({"name": "once"}, {"idempotency_key": "k1"})

    with pytest.raises(stripe.IdempotencyError):
        account.api.customers.create({"name": "twice"}, {"idempotency_key": "k1"})
    with pytest.raises(stripe.IdempotencyError):
        account.api.products.create({"name": "once"}, {"idempotency_key": "k1"})
    assert account.event_types() == ["customer.created"]


def test_key_is_forgotten_after_a_day(account: Account, sandbox: SandboxProcess) -> None:
    first = account.api.customers.create({"name": "once"}, {"idempotency_key": "k1"})

    sandbox.advance(sandbox.now() + 86_399)
    assert account.api.customers.create({"name": "once"}, {"idempotency_key": "k1"}).id == first.id
    sandbox.advance(sandbox.now() + 1)
    assert account.api.customers.create({"name": "once"}, {"idempotency_key": "k1"}).id != first.id


def test_a_declined_card_is_replayed_too(account: Account) -> None:
    invoice = account.invoice(account.customer("pm_card_chargeCustomerFail"), 1000)

    for _ in range(2):
        with pytest.raises(stripe.CardError):
            account.api.invoices.pay(invoice.id, {}, {"idempotency_key": "pay"})

    assert len(account.api.charges.list().data) == 1


def test_refused_parameters_do_not_use_the_key_up(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        account.unchecked.customers.create({"balance": "x"}, {"idempotency_key": "k1"})

    assert account.api.customers.create({"balance": 5}, {"idempotency_key": "k1"}).balance == 5
    assert len(account.api.customers.list().data) == 1


def test_events_name_the_request_and_its_key(account: Account) -> None:
    customer = account.api.customers.create({"name": "once"}, {"idempotency_key": "k1"})

    [event] = account.api.events.list().data

    assert customer.last_response is not None
    assert event["request"]["idempotency_key"] == "k1"
    assert event["request"]["id"] == customer.last_response.headers["Request-Id"]
