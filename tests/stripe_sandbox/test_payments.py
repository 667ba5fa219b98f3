"""Cards, charges, fees, refunds, and what follows when a card is declined."""

from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account

DAY_SECONDS = 86_400
DECLINES = [
    ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
    ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
    ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
    ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
]


@pytest.mark.parametrize(("card", "code", "decline_code"), DECLINES)
def test_card_that_declines_when_attached(account: Account, card: str, code: str, decline_code: str) -> None:
    customer = account.api.customers.create()

    with pytest.raises(stripe.CardError) as refusal:
        account.api.payment_methods.attach(card, {"customer": customer.id})

    assert (refusal.value.http_status, refusal.value.code) == (402, code)
    body: Any = refusal.value.json_body
    assert body["error"]["decline_code"] == decline_code
    assert account.api.customers.payment_methods.list(customer.id).data == []


def test_known_cards_attach_as_what_they_are(account: Account) -> None:
    customer = account.api.customers.create()

    for card, brand, last4 in (("pm_card_visa", "visa", "4242"), ("pm_card_mastercard", "mastercard", "4444")):
        attached = account.api.payment_methods.attach(card, {"customer": customer.id})
        assert (attached.card.brand, attached.card.last4, attached.customer) == (brand, last4, customer.id)


def test_customer_with_a_card_that_declines_is_not_created(account: Account) -> None:
    with pytest.raises(stripe.CardError):
        account.customer("pm_card_chargeDeclined")

    assert account.api.customers.list().data == []


@pytest.mark.parametrize(("amount", "fee"), [(2000, 88), (50, 31), (1017, 59), (1018, 60), (999_999, 29030)])
def test_fee_is_29_per_mille_and_30_cents_half_up(account: Account, amount: int, fee: int) -> None:
    invoice = account.invoice(account.customer(), amount)
    account.api.invoices.pay(invoice.id)

    [transaction] = account.api.balance_transactions.list().data

    assert (transaction.amount, transaction.fee, transaction.net) == (amount, fee, amount - fee)
    assert transaction.available_on == transaction.created + 2 * DAY_SECONDS
    assert account.api.charges.retrieve(str(transaction.source)).balance_transaction == transaction.id


def test_money_becomes_available_after_two_days(account: Account, sandbox: SandboxProcess) -> None:
    account.api.invoices.pay(account.invoice(account.customer(), 2000).id)
    assert account.api.balance.retrieve().pending[0].amount == 1912

    sandbox.advance("2026-10-03T00:00:00Z")

    assert account.api.balance.retrieve().available[0].amount == 1912
    assert account.api.balance_transactions.list().data[0].status == "available"


def test_refund_in_parts_until_nothing_is_left(account: Account) -> None:
    account.api.invoices.pay(account.invoice(account.customer(), 2000).id)
    [charge] = account.api.charges.list().data

    part = account.api.refunds.create({"charge": charge.id, "amount": 700, "expand": ["balance_transaction"]})
    rest = account.api.refunds.create({"payment_intent": charge.payment_intent})

    assert (part.balance_transaction.amount, part.balance_transaction.fee) == (-700, 0)
    assert rest.amount == 1300
    refunded = account.api.charges.retrieve(charge.id, {"expand": ["refunds"]})
    assert (refunded.refunded, refunded.amount_refunded) == (True, 2000)
    assert [refund.amount for refund in refunded.refunds.data] == [1300, 700]
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.refunds.create({"charge": charge.id})
    assert refusal.value.code == "charge_already_refunded"


def test_refund_of_more_than_is_left_is_refused(account: Account) -> None:
    account.api.invoices.pay(account.invoice(account.customer(), 2000).id)
    [charge] = account.api.charges.list().data

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.refunds.create({"charge": charge.id, "amount": 2001})

    assert refusal.value.param == "amount"
    assert account.api.refunds.list().data == []


def test_payment_intent_without_an_invoice(account: Account) -> None:
    intent = account.api.payment_intents.create(
        {"amount": 500, "currency": "usd", "payment_method": "pm_card_visa", "expand": ["latest_charge"]}
    )
    assert intent.status == "requires_confirmation"

    done = account.api.payment_intents.confirm(intent.id)

    assert (done.status, done.amount_received) == ("succeeded", 500)
