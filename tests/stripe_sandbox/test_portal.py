"""The customer portal: what its configuration allows, and what customers do there by themselves."""

from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.payer import Payer

REASONS = ["too_expensive", "other"]


def configuration(account: Account, **features: Any) -> Any:
    return account.api.billing_portal.configurations.create({"features": features})


def portal(account: Account, customer: Any, **fields: Any) -> Any:
    return account.api.billing_portal.sessions.create({"customer": customer.id, **fields})


def test_default_configuration_is_there_when_needed(account: Account, sandbox: SandboxProcess) -> None:
    session = portal(account, account.customer(), return_url="https://shop.example")

    [default] = account.api.billing_portal.configurations.list({"is_default": True}).data
    assert (session.configuration, session.url) == (default.id, f"{sandbox.address}/pay/portal/{session.id}")
    assert default.features.subscription_cancel.enabled is True
    assert account.event_types()[-1] == "billing_portal.session.created"
    assert "https://shop.example" in Payer(sandbox).page(session.url).text


def test_configuration_keeps_what_it_was_given(account: Account) -> None:
    made = account.api.billing_portal.configurations.create(
        {
            "business_profile": {"headline": "Hello", "terms_of_service_url": "https://shop.example/terms"},
            "features": {"invoice_history": {"enabled": True}},
            "name": "First",
        }
    )
    assert (made.is_default, made.features.subscription_cancel.enabled) == (False, False)

    updated = account.api.billing_portal.configurations.update(
        made.id, {"metadata": {"a": "b"}, "features": {"subscription_cancel": {"enabled": True}}, "name": ""}
    )

    assert (updated.business_profile.headline, updated.name, updated.metadata["a"]) == ("Hello", None, "b")
    assert (updated.features.invoice_history.enabled, updated.features.subscription_cancel.enabled) == (True, True)
    assert account.event_types()[-2:] == [
        "billing_portal.configuration.created",
        "billing_portal.configuration.updated",
    ]


def test_customer_cancels_with_a_reason_and_thinks_better(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    cancel = {"enabled": True, "cancellation_reason": {"enabled": True, "options": REASONS}}
    session = portal(account, customer, configuration=configuration(account, subscription_cancel=cancel).id)
    payer = Payer(sandbox)
    assert "too expensive" in payer.page(session.url).text

    payer.submit(session.url, do="cancel", subscription=subscription.id, feedback="too_expensive")

    ending = account.api.subscriptions.retrieve(subscription.id)
    assert (ending.cancel_at_period_end, ending.cancellation_details.feedback) == (True, "too_expensive")
    payer.submit(session.url, do="keep", subscription=subscription.id)
    assert account.api.subscriptions.retrieve(subscription.id).cancel_at_period_end is False


def test_customer_cancels_at_once_where_that_is_allowed(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    cancel = {"enabled": True, "mode": "immediately"}
    session = portal(account, customer, configuration=configuration(account, subscription_cancel=cancel).id)

    Payer(sandbox).submit(session.url, do="cancel", subscription=subscription.id)

    assert account.api.subscriptions.retrieve(subscription.id).status == "canceled"


def test_customer_changes_the_card(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(
        customer, default_payment_method=customer.invoice_settings.default_payment_method
    )
    session = portal(account, customer)
    payer = Payer(sandbox)

    assert "declined" in payer.submit(session.url, do="card", method="4000 0000 0000 0002").text
    payer.submit(session.url, do="card", method="5555 5555 5555 4444")

    default = account.api.customers.retrieve(
        customer.id, {"expand": ["invoice_settings.default_payment_method"]}
    ).invoice_settings.default_payment_method
    assert default.card.brand == "mastercard"
    assert account.api.subscriptions.retrieve(subscription.id).default_payment_method == default.id


def test_new_card_that_asks_for_authentication(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    session = portal(account, customer)
    payer = Payer(sandbox)

    page = payer.submit(session.url, do="card", method="4000 0025 0000 3155")

    former = customer.invoice_settings.default_payment_method
    settings = account.api.customers.retrieve(customer.id).invoice_settings
    assert settings.default_payment_method == former
    payer.authenticate(page)
    settings = account.api.customers.retrieve(customer.id).invoice_settings
    assert settings.default_payment_method != former


def test_customer_switches_to_another_plan(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    better = account.price(5000)
    update = {
        "enabled": True,
        "default_allowed_updates": ["price"],
        "products": [{"product": better.product, "prices": [better.id]}],
        "proration_behavior": "none",
    }
    session = portal(account, customer, configuration=configuration(account, subscription_update=update).id)
    [item] = subscription["items"].data
    payer = Payer(sandbox)

    fixed = payer.submit(
        session.url, do="switch", subscription=subscription.id, item=item.id, price=better.id, quantity="3"
    )
    assert "does not allow another quantity" in fixed.text
    payer.submit(session.url, do="switch", subscription=subscription.id, item=item.id, price=better.id)

    [after] = account.api.subscriptions.retrieve(subscription.id)["items"].data
    assert (after.id, after.price.id, after.quantity) == (item.id, better.id, 1)


def test_customer_changes_own_data_as_far_as_allowed(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer(name="Ada")
    update = {"enabled": True, "allowed_updates": ["email"]}
    session = portal(account, customer, configuration=configuration(account, customer_update=update).id)
    payer = Payer(sandbox)

    payer.submit(session.url, do="customer", email="ada@example.com")
    refused = payer.submit(session.url, do="customer", name="Grace")

    after = account.api.customers.retrieve(customer.id)
    assert (after.email, after.name, refused.status) == ("ada@example.com", "Ada", 400)


def test_portal_shows_the_invoices(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    account.subscription(customer)
    [invoice] = account.invoices(customer)

    page = Payer(sandbox).page(portal(account, customer).url)

    assert f"/pay/invoices/{invoice.id}" in page.text
    assert invoice.number in page.text


def test_flow_to_change_the_card_leads_back(account: Account, sandbox: SandboxProcess) -> None:
    flow = {
        "type": "payment_method_update",
        "after_completion": {"type": "redirect", "redirect": {"return_url": "https://shop.example/back"}},
    }
    session = portal(account, account.customer(), flow_data=flow)

    page = Payer(sandbox).submit(session.url, do="card", method="5555 5555 5555 4444")

    assert page.redirected_to == "https://shop.example/back"


def test_flow_to_confirm_one_change(account: Account, sandbox: SandboxProcess) -> None:
    customer = account.customer()
    subscription = account.subscription(customer)
    better = account.price(5000)
    update = {
        "enabled": True,
        "default_allowed_updates": ["price", "quantity"],
        "products": [{"product": better.product, "prices": [better.id]}],
        "proration_behavior": "none",
    }
    [item] = subscription["items"].data
    confirm = {"subscription": subscription.id, "items": [{"id": item.id, "price": better.id, "quantity": 2}]}
    session = portal(
        account,
        customer,
        configuration=configuration(account, subscription_update=update).id,
        flow_data={"type": "subscription_update_confirm", "subscription_update_confirm": confirm},
    )
    payer = Payer(sandbox)
    assert "2 × Pro at 50.00 USD a month" in payer.page(session.url).text

    payer.submit(session.url, do="switch", subscription=subscription.id, item=item.id, price=better.id, quantity="2")

    [after] = account.api.subscriptions.retrieve(subscription.id)["items"].data
    assert (after.price.id, after.quantity) == (better.id, 2)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"customer": "cus_none"}, "customer"),
        ({"configuration": "bpc_none"}, "configuration"),
        ({"flow_data": {"type": "subscription_cancel"}}, "flow_data[subscription_cancel]"),
        (
            {"flow_data": {"type": "subscription_update", "subscription_update": {"subscription": "sub_1"}}},
            "flow_data[type]",
        ),
        ({"on_behalf_of": "acct_1"}, "on_behalf_of"),
    ],
)
def test_session_that_cannot_be(account: Account, fields: dict[str, Any], param: str) -> None:
    customer = account.customer()

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        account.api.billing_portal.sessions.create({"customer": customer.id, **fields})

    assert refusal.value.param == param


def test_updates_need_products(account: Account) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        configuration(account, subscription_update={"enabled": True, "default_allowed_updates": ["price"]})

    assert refusal.value.param == "features[subscription_update][products]"
