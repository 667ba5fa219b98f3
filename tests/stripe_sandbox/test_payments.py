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


def test_declined_invoice_stays_open_and_its_subscription_falls_behind(
    account: Account, sandbox: SandboxProcess
) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    failing = account.api.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    account.api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": failing.id}})

    sandbox.advance("2026-11-01T01:00:00Z")

    invoice = account.invoices(customer)[0]
    assert (invoice.status, invoice.attempted, invoice.attempt_count) == ("open", True, 1)
    assert invoice.next_payment_attempt == sandbox.now() + 3 * DAY_SECONDS
    assert account.api.subscriptions.retrieve(subscription.id).status == "past_due"
    assert account.event_types()[-7:] == [
        "invoice.finalized",
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
        "invoice.payment_failed",
        "invoice.updated",
        "customer.subscription.updated",
    ]


@pytest.mark.parametrize(("choice", "status"), [("past_due", "past_due"), ("unpaid", "unpaid"), ("cancel", "canceled")])
def test_retries_by_the_declared_schedule_and_its_ends(
    account: Account, sandbox: SandboxProcess, choice: str, status: str
) -> None:
    sandbox.reset(now="2026-10-01T00:00:00Z", after_last_retry=choice)
    customer = account.customer("pm_card_chargeCustomerFail")
    subscription = account.subscription(
        customer, billing_cycle_anchor=sandbox.now() + DAY_SECONDS, proration_behavior="none"
    )
    sandbox.advance("2026-10-02T01:00:00Z")
    invoice = account.invoices(customer)[0]

    counts = []
    for moment in ("2026-10-05T01:00:00Z", "2026-10-10T01:00:00Z", "2026-10-17T00:59:59Z", "2026-10-17T01:00:00Z"):
        sandbox.advance(moment)
        invoice = account.api.invoices.retrieve(invoice.id)
        counts.append(invoice.attempt_count)

    assert counts == [2, 3, 3, 4]
    assert (invoice.status, invoice.next_payment_attempt) == ("open", None)
    assert account.api.subscriptions.retrieve(subscription.id).status == status


def test_a_new_card_pays_at_the_next_retry(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer("pm_card_chargeCustomerFail")
    subscription = account.subscription(
        customer, billing_cycle_anchor=sandbox.now() + DAY_SECONDS, proration_behavior="none"
    )
    sandbox.advance("2026-10-02T01:00:00Z")
    good = account.api.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    account.api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": good.id}})

    sandbox.advance("2026-10-05T01:00:00Z")

    invoice = account.invoices(customer)[0]
    assert (invoice.status, invoice.attempt_count, invoice.amount_paid) == ("paid", 2, 2000)
    assert account.api.subscriptions.retrieve(subscription.id).status == "active"


def test_paying_by_hand_raises_the_cards_error_and_is_not_counted_again(account: Account) -> None:
    customer = account.customer("pm_card_chargeCustomerFail")
    invoice = account.invoice(customer, 1000)
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refusal:
            account.api.invoices.pay(invoice.id)
        assert refusal.value.code == "card_declined"

    assert account.api.invoices.retrieve(invoice.id).attempt_count == 1
    assert account.api.invoices.pay(invoice.id, {"payment_method": "pm_card_visa"}).status == "paid"


def test_card_that_needs_authentication_is_attempted_and_not_counted(account: Account) -> None:
    customer = account.customer("pm_card_authenticationRequired")
    invoice = account.invoice(customer, 1000)

    account.api.invoices.finalize_invoice(invoice.id, {"auto_advance": True})

    invoice = account.api.invoices.retrieve(invoice.id, {"expand": ["payments.data.payment.payment_intent"]})
    assert (invoice.status, invoice.attempted, invoice.attempt_count) == ("open", True, 0)
    assert invoice.payments.data[0].payment.payment_intent.status == "requires_action"
    assert "invoice.payment_action_required" in account.event_types()


def test_payment_intent_without_an_invoice(account: Account) -> None:
    intent = account.api.payment_intents.create(
        {"amount": 500, "currency": "usd", "payment_method": "pm_card_visa", "expand": ["latest_charge"]}
    )
    assert intent.status == "requires_confirmation"

    done = account.api.payment_intents.confirm(intent.id)

    assert (done.status, done.amount_received) == ("succeeded", 500)
