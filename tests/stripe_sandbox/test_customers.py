"""Customers: what is kept about them, their balance and its transactions, delinquency, and their end."""

from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account


def final(account: Account, customer: Any, *amounts: int, **fields: Any) -> Any:
    draft = account.invoice(customer, *amounts, **fields)
    return account.api.invoices.finalize_invoice(draft.id, {"auto_advance": False})


def moves(account: Account, customer: Any) -> list[tuple[str, int, int]]:
    """Type, amount and ending balance of the customer's transactions, oldest first."""
    transactions = account.api.customers.balance_transactions.list(customer.id, {"limit": 100}).data
    return [(one.type, one.amount, one.ending_balance) for one in reversed(transactions)]


def test_names_and_what_invoices_show(account: Account) -> None:
    settings = {"footer": "Thanks", "custom_fields": [{"name": "PO", "value": "7"}]}
    customer = account.api.customers.create(
        {"business_name": "ACME", "individual_name": "Ada", "invoice_settings": settings, "preferred_locales": ["de"]}
    )

    invoice = account.invoice(customer, 100)

    assert (customer.business_name, customer.individual_name) == ("ACME", "Ada")
    assert (invoice.footer, invoice.custom_fields[0].value) == ("Thanks", "7")
    assert account.api.customers.update(customer.id, {"business_name": ""}).business_name == ""


@pytest.mark.parametrize("parameter", ["tax", "cash_balance"])
def test_what_is_not_kept_is_refused(account: Account, parameter: str) -> None:
    given = {"tax": {"ip_address": "1.1.1.1"}, "cash_balance": {"settings": {"reconciliation_mode": "manual"}}}

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.customers.create({parameter: given[parameter]})

    assert (refusal.value.code, refusal.value.param) == ("sandbox_not_implemented", parameter)


def test_every_way_a_balance_moves(account: Account) -> None:
    customer = account.customer(balance=-1000)
    account.api.customers.update(customer.id, {"balance": -400})
    account.api.customers.balance_transactions.create(customer.id, {"amount": 100, "currency": "usd"})
    voided = final(account, customer, 700)
    account.api.invoices.void_invoice(voided.id)
    credited = account.api.invoices.pay(final(account, customer, 2300).id)
    account.api.credit_notes.create({"invoice": credited.id, "amount": 50, "credit_amount": 50})
    final(account, customer, 80)

    assert moves(account, customer) == [
        ("initial", -1000, -1000),
        ("adjustment", 600, -400),
        ("adjustment", 100, -300),
        ("applied_to_invoice", 300, 0),
        ("unapplied_from_invoice", -300, -300),
        ("applied_to_invoice", 300, 0),
        ("credit_note", -50, -50),
        ("applied_to_invoice", 50, 0),
        ("invoice_too_small", 30, 30),
    ]
    assert account.balance(customer) == 30


def test_what_is_above_the_largest_charge_is_owed(account: Account) -> None:
    customer = account.customer()

    invoice = final(account, customer, 100_000_500)

    assert (invoice.total, invoice.amount_due, invoice.ending_balance) == (100_000_500, 99_999_999, 501)
    assert moves(account, customer) == [("invoice_too_large", 501, 501)]


def test_voiding_takes_back_what_was_above_the_largest_charge(account: Account) -> None:
    customer = account.customer()
    invoice = final(account, customer, 100_000_500)

    account.api.invoices.void_invoice(invoice.id)

    assert moves(account, customer) == [("invoice_too_large", 501, 501), ("unapplied_from_invoice", -501, 0)]


def test_a_transactions_texts_can_be_changed(account: Account) -> None:
    customer = account.customer()
    made = account.api.customers.balance_transactions.create(
        customer.id, {"amount": 5, "currency": "usd", "description": "first", "metadata": {"a": "1"}}
    )

    changed = account.api.customers.balance_transactions.update(
        customer.id, made.id, {"description": "second", "metadata": {"a": "", "b": "2"}}
    )

    assert (changed.description, changed.metadata.to_dict(), changed.amount) == ("second", {"b": "2"}, 5)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.customers.balance_transactions.retrieve(account.customer().id, made.id)
    assert refusal.value.http_status == 404


def test_a_first_bill_gives_the_currency(account: Account) -> None:
    customer = account.customer()
    account.invoice(customer, 100, currency="eur")

    assert account.api.customers.retrieve(customer.id).currency == "eur"
    [told] = account.api.events.list({"type": "customer.updated"}).data
    assert told.data.previous_attributes.to_dict() == {"currency": None}


def test_delinquent_until_the_next_good_news(account: Account) -> None:
    customer = account.customer("pm_card_chargeCustomerFail")
    failing = account.invoice(customer, 1000)
    account.api.invoices.finalize_invoice(failing.id, {"auto_advance": True})

    assert account.api.customers.retrieve(customer.id).delinquent
    account.api.invoices.mark_uncollectible(failing.id)
    assert not account.api.customers.retrieve(customer.id).delinquent


def test_an_invoice_sent_and_not_paid_in_time(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    invoice = final(account, customer, 1000, collection_method="send_invoice", days_until_due=5)

    sandbox.advance("2026-10-05T23:59:59Z")
    assert not account.api.customers.retrieve(customer.id).delinquent
    sandbox.advance("2026-10-06T00:00:00Z")
    assert account.api.customers.retrieve(customer.id).delinquent

    account.api.invoices.pay(invoice.id)
    assert not account.api.customers.retrieve(customer.id).delinquent


def test_the_end_of_a_customer_with_everything_open(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    account.api.invoice_items.create({"customer": customer.id, "amount": 300, "currency": "usd"})
    draft = account.invoice(customer, 100, auto_advance=True)
    opened = final(account, customer, 1000)

    assert account.api.customers.delete(customer.id).deleted
    sandbox.advance("2026-12-01T00:00:00Z")

    assert account.api.customers.retrieve(customer.id).deleted
    assert account.api.subscriptions.retrieve(subscription.id).status == "canceled"
    assert account.api.invoice_items.list({"pending": True}).data == []
    assert account.api.invoices.retrieve(draft.id).status == "draft"
    assert account.api.invoices.retrieve(opened.id).status == "open"
    with pytest.raises(stripe.InvalidRequestError, match="was deleted"):
        account.api.invoices.finalize_invoice(draft.id)
