"""Legacy plans: the same objects as recurring prices, under their older name."""

from decimal import Decimal
from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.account import Account


def plan_of(account: Account, **fields: Any) -> Any:
    return account.api.plans.create(
        {"currency": "usd", "interval": "month", "amount": 2000, "product": {"name": "Pro"}, **fields}
    )


def test_plan_is_a_price_by_the_same_id(account: Account) -> None:
    plan = plan_of(account, nickname="Monthly", trial_period_days=7, transform_usage={"divide_by": 10, "round": "up"})

    price = account.api.prices.retrieve(plan.id)
    assert (plan.amount, plan.amount_decimal, plan.usage_type) == (2000, Decimal(2000), "licensed")
    assert (plan.trial_period_days, plan.transform_usage.divide_by) == (7, 10)
    assert (price.unit_amount, price.nickname, price.product) == (2000, "Monthly", plan.product)
    assert price.recurring.interval == "month"
    assert account.event_types() == ["product.created", "plan.created", "price.created"]


def test_price_is_a_plan_by_the_same_id(account: Account) -> None:
    price = account.price(1500, interval="year")

    plan = account.api.plans.retrieve(price.id)

    assert (plan.object, plan.amount, plan.interval) == ("plan", 1500, "year")
    assert [item.id for item in account.api.plans.list({"product": price.product}).data] == [price.id]


def test_plan_with_an_id_of_its_own(account: Account) -> None:
    plan = plan_of(account, id="gold")

    assert plan.id == "gold"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        plan_of(account, id="gold")
    assert refused.value.code == "resource_already_exists"
    subscription = account.api.subscriptions.create({"customer": account.customer().id, "items": [{"price": "gold"}]})
    assert account.api.invoices.retrieve(subscription.latest_invoice).total == 2000


def test_tiered_plan(account: Account) -> None:
    tiers = [{"up_to": 10, "flat_amount": 1000}, {"up_to": "inf", "unit_amount": 50}]
    plan = account.api.plans.create(
        {
            "currency": "usd",
            "interval": "month",
            "product": {"name": "Pro"},
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": tiers,
            "expand": ["tiers"],
        }
    )

    assert [tier.up_to for tier in plan.tiers] == [10, None]
    assert "tiers" not in account.api.plans.retrieve(plan.id)


def test_change_is_told_of_plan_and_price(account: Account) -> None:
    plan = plan_of(account)

    account.api.plans.update(plan.id, {"nickname": "Gold"})
    account.api.plans.update(plan.id, {"trial_period_days": 14})

    told = [event for event in account.api.events.list().data if event.type.endswith(".updated")][::-1]
    assert [(event.type, event.data.previous_attributes.to_dict()) for event in told] == [
        ("plan.updated", {"nickname": None}),
        ("price.updated", {"nickname": None}),
        ("plan.updated", {"trial_period_days": None}),
    ]
    assert account.api.prices.retrieve(plan.id).nickname == "Gold"


def test_deleted_plan_keeps_its_subscriptions(account: Account) -> None:
    plan = plan_of(account)
    customer = account.customer()
    account.api.subscriptions.create({"customer": customer.id, "items": [{"price": plan.id}]})

    assert account.api.plans.delete(plan.id).deleted

    for resource in (account.api.plans, account.api.prices):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            resource.retrieve(plan.id)
        assert refused.value.http_status == 404
    with pytest.raises(stripe.InvalidRequestError):
        account.api.subscriptions.create({"customer": customer.id, "items": [{"price": plan.id}]})
    assert account.event_types()[-2:] == ["plan.deleted", "price.deleted"]
    account.sandbox.advance("2026-11-01T02:00:00Z")
    assert [invoice.total for invoice in account.invoices(customer)] == [2000, 2000]


def test_one_time_price_is_no_plan(account: Account) -> None:
    product = account.api.products.create({"name": "Mug"})
    price = account.api.prices.create({"product": product.id, "currency": "usd", "unit_amount": 900})

    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.api.plans.retrieve(price.id)
    assert refused.value.http_status == 404
    assert account.api.plans.list().data == []
