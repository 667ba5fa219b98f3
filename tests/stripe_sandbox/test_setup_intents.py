"""Setup intents: a card made ready without a payment."""

from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account


def set_up(account: Account, card: str, **fields: Any) -> Any:
    return account.api.setup_intents.create(
        {"payment_method": card, "payment_method_types": ["card"], "confirm": True, **fields}
    )


def test_card_is_set_up_and_kept(account: Account) -> None:
    customer = account.api.customers.create()

    intent = set_up(account, "pm_card_visa", customer=customer.id)

    assert (intent.status, intent.usage, intent.customer) == ("succeeded", "off_session", customer.id)
    assert account.event_types() == [
        "customer.created",
        "setup_intent.created",
        "payment_method.attached",
        "setup_intent.succeeded",
    ]
    [kept] = account.api.customers.payment_methods.list(customer.id).data
    assert kept.id == intent.payment_method
    [attempt] = account.api.setup_attempts.list({"setup_intent": intent.id}).data
    assert (attempt.id, attempt.status) == (intent.latest_attempt, "succeeded")


def test_declined(account: Account) -> None:
    with pytest.raises(stripe.CardError) as refusal:
        set_up(account, "pm_card_chargeDeclined")

    assert refusal.value.code == "card_declined"
    [intent] = account.api.setup_intents.list().data
    assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
    assert intent.last_setup_error.decline_code == "generic_decline"
    assert account.event_types() == ["setup_intent.created", "setup_intent.setup_failed"]


@pytest.mark.parametrize(
    ("succeeds", "status", "event"),
    [
        (True, "succeeded", "setup_intent.succeeded"),
        (False, "requires_payment_method", "setup_intent.setup_failed"),
    ],
)
def test_authentication(account: Account, sandbox: SandboxProcess, succeeds: bool, status: str, event: str) -> None:
    intent = set_up(account, "pm_card_authenticationRequired")
    assert (intent.status, intent.next_action.type) == ("requires_action", "use_stripe_sdk")

    assert sandbox.authenticate(intent.id, succeeds=succeeds)["status"] == status

    assert account.event_types() == ["setup_intent.created", "setup_intent.requires_action", event]


def test_step_by_step(account: Account) -> None:
    intent = account.api.setup_intents.create({"description": "later"})
    assert intent.status == "requires_payment_method"
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.setup_intents.confirm(intent.id)
    assert refusal.value.param == "payment_method"

    intent = account.api.setup_intents.update(intent.id, {"payment_method": "pm_card_visa"})
    assert intent.status == "requires_confirmation"
    assert account.api.setup_intents.confirm(intent.id).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.setup_intents.cancel(intent.id)
    assert refusal.value.code == "setup_intent_unexpected_state"


def test_canceled(account: Account) -> None:
    intent = account.api.setup_intents.create({})

    canceled = account.api.setup_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})

    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert account.event_types() == ["setup_intent.created", "setup_intent.canceled"]
