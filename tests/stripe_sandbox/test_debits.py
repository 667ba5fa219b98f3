"""SEPA debits, which take days, and bank transfers, which pay what waits for them."""

from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account

SUCCEEDS_LATER = "AT321904300235473204"
FAILS_LATER = "AT051904300235473205"
MANDATE = {"customer_acceptance": {"type": "offline"}}


def bank_account(account: Account, iban: str = SUCCEEDS_LATER) -> Any:
    return account.api.payment_methods.create(
        {
            "type": "sepa_debit",
            "sepa_debit": {"iban": iban},
            "billing_details": {"name": "Bob", "email": "bob@example.com"},
        }
    )


def debit(account: Account, iban: str = SUCCEEDS_LATER) -> Any:
    return account.api.payment_intents.create(
        {
            "amount": 1000,
            "currency": "eur",
            "payment_method": bank_account(account, iban).id,
            "payment_method_types": ["sepa_debit"],
            "mandate_data": MANDATE,
            "confirm": True,
        }
    )


def test_debit_that_succeeds_after_three_days(account: Account, sandbox: SandboxProcess) -> None:
    intent = debit(account)
    assert intent.status == "processing"
    charge = account.api.charges.retrieve(intent.latest_charge)
    assert (charge.status, charge.paid, charge.balance_transaction) == ("pending", False, None)
    mandate = account.api.mandates.retrieve(charge.payment_method_details.sepa_debit.mandate)
    assert (mandate.status, mandate.payment_method) == ("active", intent.payment_method)
    with pytest.raises(stripe.InvalidRequestError):
        account.api.payment_intents.cancel(intent.id)

    sandbox.advance("2026-10-04T00:00:00Z")

    assert account.event_types() == [
        "payment_intent.created",
        "charge.pending",
        "payment_intent.processing",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]
    [transaction] = account.api.balance_transactions.list().data
    assert (transaction.type, transaction.amount, transaction.net) == ("payment", 1000, 941)


@pytest.mark.parametrize(
    ("iban", "code"),
    [
        ("AT861904300235473202", "generic_decline"),
        (FAILS_LATER, "generic_decline"),
        ("AT981904300002222227", "insufficient_funds"),
        ("AT981904300000343434", "charge_exceeds_source_limit"),
        ("AT601904300000121212", "charge_exceeds_weekly_limit"),
    ],
)
def test_debit_that_the_bank_refuses(account: Account, sandbox: SandboxProcess, iban: str, code: str) -> None:
    intent = debit(account, iban)

    sandbox.advance("2026-10-04T00:00:00Z")

    intent = account.api.payment_intents.retrieve(intent.id)
    assert (intent.status, intent.last_payment_error.code) == ("requires_payment_method", code)
    assert account.event_types()[-2:] == ["charge.failed", "payment_intent.payment_failed"]


def test_accounts_whose_bank_answers_at_once(account: Account) -> None:
    paid, disputed = debit(account, "AT611904300234573201"), debit(account, "AT591904300235473203")
    assert paid.status == "processing"

    assert account.api.payment_intents.retrieve(paid.id).status == "succeeded"
    [dispute] = account.api.disputes.list({"payment_intent": disputed.id}).data
    assert (dispute.status, dispute.amount) == ("lost", 1000)


def test_what_a_debit_needs(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        bank_account(account, "AT621904300234573201")
    assert refusal.value.code == "invalid_bank_account_iban"
    request = {"amount": 1000, "currency": "eur", "payment_method_types": ["sepa_debit"], "confirm": True}
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.payment_intents.create({**request, "payment_method": bank_account(account).id})
    assert refusal.value.param == "mandate_data"


def subscription_by_debit(account: Account, iban: str) -> Any:
    customer = account.api.customers.create()
    method = account.api.payment_methods.attach(bank_account(account, iban).id, {"customer": customer.id})
    account.api.setup_intents.create(
        {
            "customer": customer.id,
            "payment_method": method.id,
            "payment_method_types": ["sepa_debit"],
            "mandate_data": MANDATE,
            "confirm": True,
        }
    )
    account.api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
    price = account.price(2000, currency="eur")
    return account.api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})


def test_invoice_is_paid_when_the_bank_answers(account: Account, sandbox: SandboxProcess) -> None:
    subscription = subscription_by_debit(account, SUCCEEDS_LATER)
    assert subscription.status == "active"
    invoice = account.api.invoices.retrieve(subscription.latest_invoice)
    assert (invoice.status, invoice.attempted, invoice.attempt_count) == ("open", True, 1)

    sandbox.advance("2026-10-04T00:00:00Z")

    invoice = account.api.invoices.retrieve(subscription.latest_invoice)
    assert (invoice.status, invoice.attempt_count, invoice.amount_paid) == ("paid", 1, 2000)


def test_debit_without_a_mandate_is_a_failed_attempt(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.api.customers.create()
    method = account.api.payment_methods.attach(bank_account(account).id, {"customer": customer.id})
    invoice = account.invoice(customer, 1000, currency="eur", default_payment_method=method.id)

    account.api.invoices.finalize_invoice(invoice.id, {"auto_advance": True})

    invoice = account.api.invoices.retrieve(invoice.id)
    assert (invoice.status, invoice.attempted, invoice.attempt_count) == ("open", True, 1)
    assert invoice.next_payment_attempt == sandbox.now() + 3 * 86_400


def test_debit_refused_by_the_bank_is_sent_again_by_the_schedule(account: Account, sandbox: SandboxProcess) -> None:
    subscription = subscription_by_debit(account, SUCCEEDS_LATER)
    sandbox.advance("2026-10-04T00:00:00Z")
    refusing = account.api.payment_methods.attach(
        bank_account(account, FAILS_LATER).id, {"customer": subscription.customer}
    )
    account.api.setup_intents.create(
        {
            "customer": subscription.customer,
            "payment_method": refusing.id,
            "payment_method_types": ["sepa_debit"],
            "mandate_data": MANDATE,
            "confirm": True,
        }
    )
    settings = {"default_payment_method": refusing.id}
    account.api.customers.update(subscription.customer, {"invoice_settings": settings})

    sandbox.advance("2026-11-04T01:00:00Z")  # sent at 1:00 on the first, answered three days later

    invoice = account.api.invoices.list({"subscription": subscription.id}).data[0]
    assert (invoice.status, invoice.attempt_count) == ("open", 1)
    assert invoice.next_payment_attempt == sandbox.now() + 3 * 86_400
    assert account.api.subscriptions.retrieve(subscription.id).status == "past_due"
    sandbox.advance("2026-11-10T01:00:00Z")
    assert account.api.invoices.retrieve(invoice.id).attempt_count == 2


def test_bank_transfer_in_two_parts(account: Account) -> None:
    customer = account.api.customers.create()
    intent = account.api.payment_intents.create(
        {
            "amount": 3000,
            "currency": "usd",
            "customer": customer.id,
            "payment_method_types": ["customer_balance"],
            "payment_method_data": {"type": "customer_balance"},
            "payment_method_options": {
                "customer_balance": {"funding_type": "bank_transfer", "bank_transfer": {"type": "us_bank_transfer"}}
            },
            "confirm": True,
        }
    )
    assert intent.next_action.display_bank_transfer_instructions.amount_remaining == 3000
    funding = account.api.test_helpers.customers.fund_cash_balance

    funding(customer.id, {"amount": 1000, "currency": "usd"})
    partly = account.api.payment_intents.retrieve(intent.id)
    assert partly.next_action.display_bank_transfer_instructions.amount_remaining == 2000
    funding(customer.id, {"amount": 2500, "currency": "usd"})

    assert account.api.payment_intents.retrieve(intent.id).status == "succeeded"
    assert account.api.customers.cash_balance.retrieve(customer.id).available["usd"] == 500
    moves = account.api.customers.cash_balance_transactions.list(customer.id).data
    assert [(move.type, move.net_amount, move.ending_balance) for move in moves[::-1]] == [
        ("funded", 1000, 1000),
        ("applied_to_payment", -1000, 0),
        ("funded", 2500, 2500),
        ("applied_to_payment", -2000, 500),
    ]
    assert account.event_types() == [
        "customer.created",
        "payment_intent.created",
        "payment_intent.requires_action",
        "customer_cash_balance_transaction.created",
        "customer_cash_balance_transaction.created",
        "payment_intent.partially_funded",
        "customer_cash_balance_transaction.created",
        "customer_cash_balance_transaction.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "cash_balance.funds_available",
    ]


def test_canceled_payment_gives_the_cash_back(account: Account) -> None:
    customer = account.api.customers.create()
    account.api.test_helpers.customers.fund_cash_balance(customer.id, {"amount": 1000, "currency": "usd"})
    intent = account.api.payment_intents.create(
        {
            "amount": 3000,
            "currency": "usd",
            "customer": customer.id,
            "payment_method_types": ["customer_balance"],
            "payment_method_data": {"type": "customer_balance"},
            "confirm": True,
        }
    )
    assert account.api.customers.cash_balance.retrieve(customer.id).available["usd"] == 0

    account.api.payment_intents.cancel(intent.id)

    assert account.api.customers.cash_balance.retrieve(customer.id).available["usd"] == 1000
