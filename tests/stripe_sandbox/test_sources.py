"""The old API: tokens, cards as a customer's sources, charges without an intent."""

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account


def test_customer_made_with_a_token_pays_by_its_card(account: Account) -> None:
    customer = account.api.customers.create({"source": "tok_visa", "expand": ["sources"]})

    [card] = customer.sources.data
    assert (customer.default_source, card.object, card.brand, card.last4) == (card.id, "card", "Visa", "4242")
    assert account.event_types() == ["customer.source.created", "customer.created"]
    subscription = account.subscription(customer)
    assert subscription.status == "active"
    [charge] = account.api.charges.list().data
    assert (charge.payment_method, charge.amount) == (card.id, 2000)


def test_sources_of_a_customer(account: Account) -> None:
    customer = account.api.customers.create()
    sources = account.api.customers.payment_sources

    first = sources.create(customer.id, {"source": "tok_visa", "metadata": {"kind": "main"}})
    second = sources.create(customer.id, {"source": "tok_mastercard"})
    assert account.api.customers.retrieve(customer.id).default_source == first.id
    assert [card.id for card in sources.list(customer.id).data] == [second.id, first.id]
    changed = sources.update(customer.id, first.id, {"exp_year": "2031", "name": "Ada"})
    assert (changed.exp_year, changed.name, changed.metadata["kind"]) == (2031, "Ada", "main")

    assert sources.delete(customer.id, first.id).deleted is True

    assert account.api.customers.retrieve(customer.id).default_source == second.id
    assert [name for name in account.event_types() if "source" in name] == [
        "customer.source.created",
        "customer.source.created",
        "customer.source.updated",
        "customer.source.deleted",
    ]
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        sources.retrieve(customer.id, first.id)
    assert refusal.value.code == "resource_missing"


def test_new_source_takes_the_place_of_the_default_one(account: Account) -> None:
    customer = account.api.customers.create({"source": "tok_visa"})

    changed = account.api.customers.update(customer.id, {"source": "tok_amex", "expand": ["sources"]})

    [card] = changed.sources.data
    assert (card.brand, changed.default_source) == ("American Express", card.id)
    assert account.event_types()[-3:] == ["customer.source.created", "customer.source.deleted", "customer.updated"]


def test_card_in_its_last_month_is_told(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.api.customers.create({"source": "tok_visa"})
    card = {"exp_month": "11", "exp_year": "2026"}
    account.api.customers.payment_sources.update(customer.id, customer.default_source, card)

    sandbox.advance("2026-10-30T23:59:59Z")
    assert account.event_types()[-1] == "customer.source.updated"
    sandbox.advance("2026-11-01T00:00:00Z")

    assert account.event_types()[-1] == "customer.source.expiring"


def test_token_is_used_once(account: Account) -> None:
    token = account.api.tokens.create({"card": {"number": "4242424242424242", "exp_month": "5", "exp_year": "2030"}})
    customer = account.api.customers.create({"source": token.id})

    assert account.api.tokens.retrieve(token.id).used is True
    assert account.api.customers.payment_sources.list(customer.id).data[0].exp_month == 5
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.customers.create({"source": token.id})
    assert refusal.value.code == "token_already_used"
    assert len(account.api.customers.list().data) == 1


def test_declined_token_makes_no_customer(account: Account) -> None:
    with pytest.raises(stripe.CardError):
        account.api.customers.create({"source": "tok_chargeDeclined"})

    assert account.api.customers.list().data == []


def test_charge_without_an_intent(account: Account) -> None:
    charge = account.api.charges.create({"amount": 1000, "currency": "usd", "source": "tok_visa"})

    assert (charge.status, charge.payment_intent, charge.paid) == ("succeeded", None, True)
    transaction = account.api.balance_transactions.retrieve(charge.balance_transaction)
    assert transaction.net == 941  # 1000 - 59
    assert account.event_types() == ["charge.succeeded"]
    assert account.api.refunds.create({"charge": charge.id}).amount == 1000


def test_charge_of_a_customer_is_held_and_captured(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.api.customers.create({"source": "tok_visa"})
    held = account.api.charges.create({"amount": 1000, "currency": "usd", "customer": customer.id, "capture": False})
    left = account.api.charges.create({"amount": 500, "currency": "usd", "customer": customer.id, "capture": False})
    assert (held.captured, held.balance_transaction) == (False, None)

    captured = account.api.charges.capture(held.id, {"amount": 600})

    assert (captured.amount_captured, captured.amount_refunded) == (600, 400)
    sandbox.advance("2026-10-08T00:00:00Z")
    expired = account.api.charges.retrieve(left.id)
    assert (expired.captured, expired.refunded) == (False, True)
    assert "charge.expired" in account.event_types()


@pytest.mark.parametrize(
    ("token", "code"),
    [("tok_chargeDeclined", "card_declined"), ("tok_threeDSecure2Required", "authentication_required")],
)
def test_charge_that_fails(account: Account, token: str, code: str) -> None:
    with pytest.raises(stripe.CardError) as refusal:
        account.api.charges.create({"amount": 1000, "currency": "usd", "source": token})

    [charge] = account.api.charges.list().data
    assert (refusal.value.code, charge.status, charge.failure_code) == (code, "failed", code)
    assert account.event_types() == ["charge.failed"]


def test_source_is_shown_as_the_payment_method_it_can_be(account: Account) -> None:
    customer = account.api.customers.create({"source": "tok_mastercard"})

    shown = account.api.payment_methods.retrieve(customer.default_source)

    assert (shown.type, shown.card.brand, shown.customer) == ("card", "mastercard", customer.id)
