"""Payment links: an address behind which everybody gets a checkout session."""

from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.payer import Payer


def one_time_link(account: Account, **fields: Any) -> Any:
    price = account.api.prices.create({"currency": "usd", "unit_amount": 1500, "product_data": {"name": "Keyboard"}})
    return account.api.payment_links.create({"line_items": [{"price": price.id, "quantity": 2}], **fields})


def sessions(account: Account, link: Any) -> list[Any]:
    return list(account.api.checkout.sessions.list({"payment_link": link.id}).data)


def test_link_sells_to_everybody_who_opens_it(account: Account, sandbox: SandboxProcess) -> None:
    link = one_time_link(account, metadata={"campaign": "autumn"})
    assert (link.url, link.active, link.currency) == (f"{sandbox.address}/pay/links/{link.id}", True, "usd")
    payer = Payer(sandbox)

    for _ in range(2):
        address = payer.page(link.url).redirected_to
        assert address is not None
        landed = payer.pay(address)

    paid = sessions(account, link)
    assert [session.payment_status for session in paid] == ["paid", "paid"]
    assert (paid[0].amount_total, paid[0].metadata["campaign"]) == (3000, "autumn")
    assert "Thank you" in payer.page(landed).text


def test_link_to_a_subscription(account: Account, sandbox: SandboxProcess) -> None:
    link = account.api.payment_links.create(
        {
            "line_items": [{"price": account.price().id, "quantity": 1}],
            "subscription_data": {"trial_period_days": 7, "metadata": {"from": "link"}},
        }
    )
    payer = Payer(sandbox)

    payer.pay(str(payer.page(f"{link.url}?client_reference_id=order-7").redirected_to))

    [session] = sessions(account, link)
    subscription = account.api.subscriptions.retrieve(session.subscription)
    assert (session.client_reference_id, link.customer_creation) == ("order-7", "always")
    assert (subscription.status, subscription.metadata["from"]) == ("trialing", "link")


def test_link_leads_on_when_it_is_done(account: Account, sandbox: SandboxProcess) -> None:
    redirect = {"url": "https://shop.example/done?s={CHECKOUT_SESSION_ID}"}
    link = one_time_link(account, after_completion={"type": "redirect", "redirect": redirect})
    payer = Payer(sandbox)

    landed = payer.pay(str(payer.page(link.url).redirected_to))

    [session] = sessions(account, link)
    assert landed == f"https://shop.example/done?s={session.id}"


def test_inactive_link_says_so(account: Account, sandbox: SandboxProcess) -> None:
    link = one_time_link(account, inactive_message="Sold out")

    updated = account.api.payment_links.update(link.id, {"active": False})

    page = Payer(sandbox).page(link.url)
    assert (updated.active, page.status, "Sold out" in page.text) == (False, 410, True)
    assert account.event_types()[-2:] == ["payment_link.created", "payment_link.updated"]
    assert account.api.payment_links.list({"active": True}).data == []


def test_link_for_a_number_of_buyers(account: Account, sandbox: SandboxProcess) -> None:
    link = one_time_link(account, restrictions={"completed_sessions": {"limit": 1}})
    payer = Payer(sandbox)

    payer.pay(str(payer.page(link.url).redirected_to))

    assert account.api.payment_links.retrieve(link.id).restrictions.completed_sessions.count == 1
    assert payer.page(link.url).status == 410


def test_quantity_of_a_link_changes(account: Account) -> None:
    link = one_time_link(account)
    [item] = account.api.payment_links.line_items.list(link.id).data

    account.api.payment_links.update(link.id, {"line_items": [{"id": item.id, "quantity": 5}]})

    [after] = account.api.payment_links.line_items.list(link.id).data
    assert (after.id, after.quantity, after.amount_total) == (item.id, 5, 7500)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"line_items": [{"price": "price_none", "quantity": 1}]}, "line_items[0][price]"),
        ({"subscription_data": {"trial_period_days": 3}}, "subscription_data"),
        ({"automatic_tax": {"enabled": True}}, "automatic_tax[enabled]"),
        ({"on_behalf_of": "acct_1"}, "on_behalf_of"),
    ],
)
def test_link_that_cannot_be(account: Account, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        one_time_link(account, **fields)

    assert refusal.value.param == param
    assert account.api.payment_links.list().data == []
