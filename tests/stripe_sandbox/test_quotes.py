"""Quotes: what they come to, their way to acceptance, and what they become."""

from typing import Any

import pytest
import stripe

from tests.sandbox.client import SandboxProcess
from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.flows import send

DAY_SECONDS = 86_400


def quote(account: Account, *prices: Any, quantity: int = 1, **fields: Any) -> Any:
    items = [{"price": price.id, "quantity": quantity} for price in prices or [account.price()]]
    return account.api.quotes.create({"line_items": items, **fields})


def one_time_price(account: Account, unit_amount: int = 5000) -> Any:
    return account.api.prices.create(
        {"currency": "usd", "unit_amount": unit_amount, "product_data": {"name": "Installation"}}
    )


def test_quote_becomes_a_subscription(account: Account) -> None:
    customer = account.customer()
    made = quote(account, quantity=10, customer=customer.id, subscription_data={"metadata": {"from": "quote"}})
    assert (made.status, made.number, made.amount_total) == ("draft", None, 20000)
    assert made.expires_at == made.created + 30 * DAY_SECONDS

    final = account.api.quotes.finalize_quote(made.id)
    assert (final.status, final.number) == ("open", f"QT-{customer.invoice_prefix}-0001-1")
    accepted = account.api.quotes.accept(made.id, {"expand": ["subscription", "invoice"]})

    subscription = accepted.subscription
    assert (accepted.status, subscription.status, subscription.metadata["from"]) == ("accepted", "active", "quote")
    assert (accepted.invoice.id, accepted.invoice.amount_paid) == (subscription.latest_invoice, 20000)
    assert accepted.status_transitions.accepted_at == account.sandbox.now()
    types = account.event_types()
    assert types[-1] == "quote.accepted"
    assert [name for name in types if name.startswith("quote.")] == [
        "quote.created",
        "quote.finalized",
        "quote.accepted",
    ]


def test_quote_of_one_time_items_becomes_a_draft(account: Account) -> None:
    customer = account.customer()
    made = quote(account, one_time_price(account), customer=customer.id)
    account.api.quotes.finalize_quote(made.id)

    accepted = account.api.quotes.accept(made.id, {"expand": ["invoice"]})

    invoice = accepted.invoice
    assert (accepted.subscription, invoice.status, invoice.total) == (None, "draft", 5000)
    assert (invoice.billing_reason, invoice.parent.quote_details.quote) == ("quote_accept", made.id)
    assert account.api.invoices.pay(invoice.id).status == "paid"


def test_what_is_due_at_once_and_later(account: Account) -> None:
    made = quote(
        account,
        account.price(),
        one_time_price(account),
        customer=account.customer().id,
        subscription_data={"trial_period_days": 14},
    )

    assert (made.amount_subtotal, made.amount_total) == (7000, 7000)
    assert made.computed.upfront.amount_total == 5000
    recurring = made.computed.recurring
    assert (recurring.amount_total, recurring.interval, recurring.interval_count) == (2000, "month", 1)
    upfront = account.api.quotes.computed_upfront_line_items.list(made.id).data
    assert [item.amount_total for item in upfront] == [0, 5000]
    account.api.quotes.finalize_quote(made.id)
    accepted = account.api.quotes.accept(made.id, {"expand": ["subscription", "invoice"]})
    assert (accepted.subscription.status, accepted.invoice.total) == ("trialing", 5000)


def test_discount_and_tax_of_a_quote_are_those_of_its_invoice(account: Account) -> None:
    coupon = account.api.coupons.create({"percent_off": 10, "duration": "once"})
    rate = account.api.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": False})
    made = quote(
        account,
        customer=account.customer().id,
        discounts=[{"coupon": coupon.id}],
        default_tax_rates=[rate.id],
    )

    # 2000 less 200, and 19 % of 1800; later without the coupon, which applies once: 2000 and 380
    assert (made.total_details.amount_discount, made.total_details.amount_tax, made.amount_total) == (200, 342, 2142)
    assert made.computed.recurring.amount_total == 2380
    assert account.api.coupons.retrieve(coupon.id).times_redeemed == 0
    account.api.quotes.finalize_quote(made.id)
    accepted = account.api.quotes.accept(made.id, {"expand": ["invoice"]})
    assert accepted.invoice.total == 2142
    assert account.api.coupons.retrieve(coupon.id).times_redeemed == 1


def test_discount_of_an_item(account: Account) -> None:
    coupon = account.api.coupons.create({"amount_off": 300, "currency": "usd", "duration": "forever"})
    made = account.api.quotes.create(
        {
            "customer": account.customer().id,
            "line_items": [
                {"price": account.price().id, "quantity": 1, "discounts": [{"coupon": coupon.id}]},
                {"price": account.price().id, "quantity": 1},
            ],
        }
    )

    items = account.api.quotes.line_items.list(made.id).data
    assert [item.amount_total for item in items] == [1700, 2000]
    assert made.computed.recurring.amount_total == 3700
    account.api.quotes.finalize_quote(made.id)
    assert account.api.quotes.accept(made.id, {"expand": ["invoice"]}).invoice.total == 3700


def test_draft_is_changed_until_it_is_final(account: Account) -> None:
    made = quote(account, description="First")

    changed = account.api.quotes.update(
        made.id,
        {
            "customer": account.customer().id,
            "description": "",
            "header": "Offer",
            "line_items": [{"price": account.price(3000).id, "quantity": 2}],
        },
    )
    assert (changed.description, changed.header, changed.amount_total) == (None, "Offer", 6000)
    account.api.quotes.finalize_quote(made.id)

    with pytest.raises(stripe.InvalidRequestError, match="only its expiry"):
        account.api.quotes.update(made.id, {"header": "Other"})


def test_quote_ends_without_an_answer(account: Account, sandbox: SandboxProcess) -> None:
    made = quote(account, customer=account.customer().id)
    later = quote(account, expires_at=sandbox.now() + 60 * DAY_SECONDS)

    sandbox.advance(made.expires_at)

    ended = account.api.quotes.retrieve(made.id)
    assert (ended.status, ended.status_transitions.canceled_at) == ("canceled", made.expires_at)
    assert account.event_types()[-1] == "quote.canceled"
    assert account.api.quotes.retrieve(later.id).status == "draft"


def test_steps_out_of_order_are_refused(account: Account) -> None:
    made = quote(account)
    for step in (account.api.quotes.accept, account.api.quotes.finalize_quote):
        with pytest.raises(stripe.InvalidRequestError):
            step(made.id)  # neither open, nor with a customer

    account.api.quotes.cancel(made.id)

    for step in (account.api.quotes.accept, account.api.quotes.finalize_quote, account.api.quotes.cancel):
        with pytest.raises(stripe.InvalidRequestError, match="`canceled`"):
            step(made.id)


def test_quotes_are_found_by_customer_and_status(account: Account) -> None:
    customer = account.customer()
    made = quote(account, customer=customer.id)
    quote(account)

    assert [found.id for found in account.api.quotes.list({"customer": customer.id}).data] == [made.id]
    assert len(account.api.quotes.list({"status": "draft"}).data) == 2


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"customer": "cus_none"}, "customer"),
        ({"line_items": [{"price": "price_none"}]}, "line_items[0][price]"),
        ({"discounts": [{"coupon": "none"}]}, "discounts[0][coupon]"),
        ({"expires_at": 1}, "expires_at"),
        ({"from_quote": {"quote": "qt_none"}}, "from_quote"),
        ({"transfer_data": {"destination": "acct_1"}}, "transfer_data"),
    ],
)
def test_quote_that_cannot_be(account: Account, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        quote(account, **fields)

    assert refusal.value.param == param
    assert account.api.quotes.list().data == []


def test_quote_as_pdf_is_left_out(account: Account, sandbox: SandboxProcess) -> None:
    made = quote(account)

    status, refused = send(sandbox, "GET", f"/v1/quotes/{made.id}/pdf")

    assert (status, refused["error"]["code"]) == (400, "sandbox_not_implemented")
