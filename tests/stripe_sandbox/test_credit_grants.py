"""Billing credits: grants, their balance, and what they take off metered lines."""

from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.account import Account
from tests.stripe_sandbox.test_meters import DAY, START, meter_of, metered_price, use

METERED = {"scope": {"price_type": "metered"}}


def grant_to(account: Account, customer: Any, value: int, **fields: Any) -> Any:
    return account.api.billing.credit_grants.create(
        {
            "customer": customer.id,
            "amount": {"type": "monetary", "monetary": {"currency": "usd", "value": value}},
            "applicability_config": METERED,
            **fields,
        }
    )


def left(account: Account, customer: Any, grant: Any = None) -> list[int]:
    """The balances that the summary shows: of one grant, or of all."""
    which = {"type": "credit_grant", "credit_grant": grant.id} if grant is not None else None
    summary = account.api.billing.credit_balance_summary.retrieve(
        {
            "customer": customer.id,
            "filter": which or {"type": "applicability_scope", "applicability_scope": {"price_type": "metered"}},
        }
    )
    assert [item.ledger_balance.monetary.value for item in summary.balances] == [
        item.available_balance.monetary.value for item in summary.balances
    ]
    return [item.available_balance.monetary.value for item in summary.balances]


def moves(account: Account, customer: Any) -> list[tuple[str, int]]:
    """Type and signed value of each transaction, oldest first."""
    found = []
    for item in account.api.billing.credit_balance_transactions.list({"customer": customer.id}).data[::-1]:
        side, sign = (item.credit, 1) if item.type == "credit" else (item.debit, -1)
        found.append((side.type, sign * side.amount.monetary.value))
    return found


def used(account: Account, customer: Any, quantity: int, **terms: Any) -> Any:
    """A monthly subscription to calls at 3 cents, with `quantity` of them in October; then the invoice for it."""
    price = metered_price(account, meter_of(account), **terms)
    account.api.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    use(account, customer, quantity)
    account.sandbox.advance("2026-11-01T02:00:00Z")
    return account.invoices(customer)[0]


def test_grant_is_credited(account: Account) -> None:
    customer = account.customer()

    grant = grant_to(account, customer, 1000, name="Welcome", category="promotional")

    assert (grant.priority, grant.effective_at, grant.expires_at) == (50, START, None)
    assert left(account, customer) == [1000]
    assert moves(account, customer) == [("credits_granted", 1000)]
    assert account.event_types()[-2:] == ["billing.credit_grant.created", "billing.credit_balance_transaction.created"]
    assert [item.id for item in account.api.billing.credit_grants.list({"customer": customer.id}).data] == [grant.id]


def test_credits_pay_for_usage(account: Account) -> None:
    customer = account.customer()
    grant = grant_to(account, customer, 1000)

    invoice = used(account, customer, 500)  # 15.00

    assert (invoice.subtotal, invoice.total, invoice.amount_paid) == (1500, 500, 500)
    (spent,) = invoice.total_pretax_credit_amounts
    assert (spent.amount, spent.type) == (1000, "credit_balance_transaction")
    assert [item.amount for item in invoice.lines.data[0].pretax_credit_amounts] == [1000]
    transaction = account.api.billing.credit_balance_transactions.retrieve(spent.credit_balance_transaction)
    assert transaction.credit_grant == grant.id
    applied = transaction.debit.credits_applied
    assert (applied.invoice, applied.invoice_line_item) == (invoice.id, invoice.lines.data[0].id)
    assert left(account, customer) == [0]


def test_credits_beyond_the_usage_stay(account: Account) -> None:
    customer = account.customer()
    grant_to(account, customer, 1000)

    invoice = used(account, customer, 200)  # 6.00

    assert (invoice.total, invoice.status) == (0, "paid")
    assert moves(account, customer) == [("credits_granted", 1000), ("credits_applied", -600)]
    assert left(account, customer) == [400]


def test_credits_do_not_pay_for_what_is_licensed(account: Account) -> None:
    customer = account.customer()
    grant_to(account, customer, 1000)

    subscription = account.subscription(customer, unit_amount=2000)

    assert account.api.invoices.retrieve(subscription.latest_invoice).total == 2000
    assert left(account, customer) == [1000]


def test_order_of_grants(account: Account) -> None:
    customer = account.customer()
    last = grant_to(account, customer, 100, priority=60)
    paid = grant_to(account, customer, 100)
    promotional = grant_to(account, customer, 100, category="promotional")
    ending = grant_to(account, customer, 100, expires_at=START + 60 * DAY)
    first = grant_to(account, customer, 100, priority=0)

    used(account, customer, 150)  # 4.50: four grants and a half

    assert [left(account, customer, grant) for grant in (first, ending, promotional, paid, last)] == [
        [0],
        [0],
        [0],
        [0],
        [50],
    ]
    order = [
        item.credit_grant
        for item in account.api.billing.credit_balance_transactions.list({"customer": customer.id}).data[::-1]
        if item.type == "debit"
    ]
    assert order == [first.id, ending.id, promotional.id, paid.id, last.id]


def test_credits_come_after_discounts_and_before_taxes(account: Account) -> None:
    coupon = account.api.coupons.create({"percent_off": 50, "duration": "forever"})
    rate = account.api.tax_rates.create({"display_name": "VAT", "percentage": 10, "inclusive": False})
    customer = account.customer()
    grant_to(account, customer, 250)
    price = metered_price(account, meter_of(account))
    account.api.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": price.id}],
            "discounts": [{"coupon": coupon.id}],
            "default_tax_rates": [rate.id],
        }
    )
    use(account, customer, 500)

    account.sandbox.advance("2026-11-01T02:00:00Z")

    invoice = account.invoices(customer)[0]
    # 15.00, half of it off: 7.50; 2.50 of credits: 5.00; and 10 % tax on that.
    assert (invoice.subtotal, invoice.total_excluding_tax, invoice.total) == (1500, 500, 550)
    assert [(item.type, item.amount) for item in invoice.total_pretax_credit_amounts] == [
        ("discount", 750),
        ("credit_balance_transaction", 250),
    ]
    assert [tax.taxable_amount for tax in invoice.total_taxes] == [500]


def test_grant_for_one_price(account: Account) -> None:
    customer = account.customer()
    calls = metered_price(account, meter_of(account))
    tokens = metered_price(account, meter_of(account, "tokens"))
    grant_to(account, customer, 1000, applicability_config={"scope": {"prices": [{"id": tokens.id}]}})
    account.api.subscriptions.create({"customer": customer.id, "items": [{"price": calls.id}, {"price": tokens.id}]})
    use(account, customer, 100)
    use(account, customer, 50, event_name="tokens")

    account.sandbox.advance("2026-11-01T02:00:00Z")

    assert account.invoices(customer)[0].total == 300
    assert moves(account, customer)[1:] == [("credits_applied", -150)]


def test_credits_expire(account: Account) -> None:
    customer = account.customer()
    grant_to(account, customer, 1000, expires_at=START + DAY)

    account.sandbox.advance(START + DAY)

    assert moves(account, customer) == [("credits_granted", 1000), ("credits_expired", -1000)]
    assert left(account, customer) == []


def test_expiry_can_be_moved(account: Account) -> None:
    customer = account.customer()
    grant = grant_to(account, customer, 1000, expires_at=START + DAY)

    account.api.billing.credit_grants.update(grant.id, {"expires_at": START + 3 * DAY})
    account.sandbox.advance(START + 2 * DAY)
    assert left(account, customer) == [1000]
    account.api.billing.credit_grants.update(grant.id, {"expires_at": ""})
    account.sandbox.advance(START + 9 * DAY)

    assert left(account, customer) == [1000]


def test_grant_is_ended_at_once(account: Account) -> None:
    customer = account.customer()
    grant = grant_to(account, customer, 1000)
    account.sandbox.advance(START + DAY)

    ended = account.api.billing.credit_grants.expire(grant.id)

    assert ended.expires_at == START + DAY
    assert moves(account, customer)[-1] == ("credits_expired", -1000)
    with pytest.raises(stripe.InvalidRequestError, match="expired"):
        account.api.billing.credit_grants.expire(grant.id)


def test_unused_grant_is_voided(account: Account) -> None:
    customer = account.customer()
    grant = grant_to(account, customer, 1000)

    voided = account.api.billing.credit_grants.void_grant(grant.id)

    assert voided.voided_at == START
    assert moves(account, customer)[-1] == ("credits_voided", -1000)
    assert "billing.credit_grant.updated" in account.event_types()


def test_used_grant_is_not_voided(account: Account) -> None:
    customer = account.customer()
    grant = grant_to(account, customer, 1000)
    used(account, customer, 100)

    with pytest.raises(stripe.InvalidRequestError, match="cannot be voided"):
        account.api.billing.credit_grants.void_grant(grant.id)


def test_voided_invoice_gives_credits_back(account: Account) -> None:
    customer = account.customer("pm_card_chargeCustomerFail")
    grant_to(account, customer, 1000)
    invoice = used(account, customer, 500)
    assert (invoice.status, left(account, customer)) == ("open", [0])

    account.api.invoices.void_invoice(invoice.id)

    assert moves(account, customer)[-1] == ("credits_application_invoice_voided", 1000)
    assert left(account, customer) == [1000]


def test_grant_of_another_currency_or_a_later_day_is_left_alone(account: Account) -> None:
    customer = account.customer()
    euros = {"type": "monetary", "monetary": {"currency": "eur", "value": 1000}}
    grant_to(account, customer, 1000, amount=euros)
    grant_to(account, customer, 1000, effective_at=START + 90 * DAY)

    assert used(account, customer, 500).total == 1500


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"amount": {"type": "monetary"}}, "amount[monetary]"),
        ({"amount": {"type": "monetary", "monetary": {"currency": "usd", "value": 0}}}, "amount[monetary][value]"),
        ({"priority": 101}, "priority"),
        ({"expires_at": START}, "expires_at"),
        (
            {"applicability_config": {"scope": {"price_type": "metered", "prices": [{"id": "price_none"}]}}},
            "applicability_config[scope]",
        ),
    ],
)
def test_refused_grants(account: Account, fields: dict[str, Any], param: str) -> None:
    customer = account.customer()

    with pytest.raises(stripe.InvalidRequestError) as refused:
        grant_to(account, customer, 1000, **fields)

    assert refused.value.param == param
    assert account.api.billing.credit_grants.list().data == []


def test_grant_needs_metered_prices(account: Account) -> None:
    price = account.price()

    with pytest.raises(stripe.InvalidRequestError, match="metered prices"):
        grant_to(account, account.customer(), 1000, applicability_config={"scope": {"prices": [{"id": price.id}]}})
