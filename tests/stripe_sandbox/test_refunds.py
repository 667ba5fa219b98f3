"""Refunds: partial, whole, asynchronous; what they do to charge and balance."""

import json

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account, sdk
from tests.stripe_sandbox.test_payment_intents import pay


def test_partial_refund_as_stripe_shows_it(account: Account) -> None:
    intent = pay(account)

    refund = account.api.refunds.create(
        {"payment_intent": intent.id, "amount": 700, "reason": "requested_by_customer", "metadata": {"case": "9"}}
    )

    assert refund.status == "succeeded"
    assert refund.destination_details.to_dict() == {
        "card": {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"},
        "type": "card",
    }
    transaction = account.api.balance_transactions.retrieve(refund.balance_transaction)
    assert (transaction.type, transaction.amount, transaction.fee, transaction.net) == ("refund", -700, 0, -700)
    assert account.event_types()[-2:] == ["refund.created", "charge.refunded"]
    [event] = account.api.events.list({"type": "charge.refunded"}).data
    assert event.data.previous_attributes.to_dict() == {"amount_refunded": 0}
    # 2000 - 88 fee - 700, all still pending
    assert account.api.balance.retrieve().pending[0].amount == 1212


def test_refund_that_succeeds_later(account: Account, sandbox: SandboxProcess) -> None:
    intent = pay(account, "pm_card_pendingRefund")
    refund = account.api.refunds.create({"payment_intent": intent.id})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")

    sandbox.advance("2026-10-02T00:00:00Z")

    assert account.api.refunds.retrieve(refund.id).status == "succeeded"
    assert account.event_types()[-4:] == [
        "refund.created",
        "charge.refunded",
        "refund.updated",
        "charge.refund.updated",
    ]
    assert account.api.charges.list().data[0].refunded is True


def test_refund_that_fails_gives_the_money_back_to_us(account: Account, sandbox: SandboxProcess) -> None:
    intent = pay(account, "pm_card_refundFail")
    refund = account.api.refunds.create({"payment_intent": intent.id, "amount": 500})
    assert refund.status == "succeeded"

    sandbox.advance("2026-10-02T00:00:00Z")

    refund = account.api.refunds.retrieve(refund.id, {"expand": ["failure_balance_transaction"]})
    assert (refund.status, refund.failure_reason) == ("failed", "expired_or_canceled_card")
    returned = refund.failure_balance_transaction
    assert (returned.type, returned.amount, returned.fee) == ("refund_failure", 500, 0)
    [charge] = account.api.charges.list().data
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    assert account.event_types()[-4:] == ["charge.updated", "refund.failed", "refund.updated", "charge.refund.updated"]
    sandbox.advance("2026-10-10T00:00:00Z")
    assert account.api.balance.retrieve().available[0].amount == 1912  # 2000 - 88


def test_pending_refund_is_canceled(account: Account, sandbox: SandboxProcess) -> None:
    intent = pay(account, "pm_card_pendingRefund")
    refund = account.api.refunds.create({"payment_intent": intent.id})

    canceled = account.api.refunds.cancel(refund.id)

    assert canceled.status == "canceled"
    assert account.api.charges.list().data[0].amount_refunded == 0
    sandbox.advance("2026-10-10T00:00:00Z")
    assert account.api.balance.retrieve().available[0].amount == 1912
    with pytest.raises(stripe.InvalidRequestError):
        account.api.refunds.cancel(refund.id)


def test_refund_by_the_paths_below_the_charge(account: Account) -> None:
    path = f"/v1/charges/{pay(account).latest_charge}"
    client = sdk(account.sandbox)

    refund = json.loads(client.raw_request("post", f"{path}/refunds", amount=100).body)
    charge = json.loads(client.raw_request("post", f"{path}/refund", amount=50).body)

    assert (refund["object"], refund["amount"]) == ("refund", 100)
    assert (charge["object"], charge["amount_refunded"]) == ("charge", 150)
    listed = json.loads(client.raw_request("get", f"{path}/refunds").body)["data"]
    assert [item["amount"] for item in listed] == [50, 100]
    assert json.loads(client.raw_request("get", f"{path}/refunds/{refund['id']}").body)["id"] == refund["id"]


@pytest.mark.parametrize(("amount", "code"), [(0, "parameter_invalid_integer"), (2001, "amount_too_large")])
def test_amounts_that_cannot_be_refunded(account: Account, amount: int, code: str) -> None:
    intent = pay(account)

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.refunds.create({"payment_intent": intent.id, "amount": amount})

    assert (refusal.value.code, refusal.value.param) == (code, "amount")


def test_what_was_not_captured_is_canceled_and_not_refunded(account: Account) -> None:
    intent = pay(account, capture_method="manual")

    with pytest.raises(stripe.InvalidRequestError, match="not captured"):
        account.api.refunds.create({"payment_intent": intent.id})
